//! Policy and object files → the table in force, looked at again and again while the server runs.
//!
//! Good files replace the table whole; bad or unreadable ones leave it as it is, counted and logged
//! once. It answers no request.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};

use crate::cli::input::{self, InputError, Stamp};
use crate::diagnostic::{Diagnostic, Severity, Source};
use crate::load::{LoadOptions, Loaded, load};
use crate::metrics::{Metrics, PolicyReload};
use crate::policy::table as policy;
use crate::server::health::{State, Switch};
use crate::snapshot::Snapshot;

/// Files are looked at this often: an edit is in force within two seconds.
const POLL: Duration = Duration::from_secs(1);
/// Just behind a change the next look comes sooner: an editor may have written half of it.
const AGAIN: Duration = Duration::from_millis(100);
/// Files that change while they are read are read again, this often in a row.
const READS: usize = 3;

/// Where the table comes from.
pub(super) struct Files {
    pub(super) policies: Vec<PathBuf>,
    pub(super) objects: Vec<PathBuf>,
    pub(super) options: LoadOptions,
}

/// The texts of the files at one moment.
pub(super) struct Texts {
    policies: Vec<Arc<Source>>,
    objects: Vec<Arc<Source>>,
    stamp: Vec<Stamp>,
    /// Whether the files stood still while they were read.
    still: bool,
}

impl Texts {
    /// Equal for equal names and texts in equal order.
    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for sources in [&self.policies, &self.objects] {
            digest.update((sources.len() as u64).to_le_bytes());
            for part in sources
                .iter()
                .flat_map(|source| [source.name(), source.text()])
            {
                digest.update((part.len() as u64).to_le_bytes());
                digest.update(part);
            }
        }
        digest.finalize().into()
    }
}

/// What is known of the files from the looks before.
#[derive(Clone)]
pub(super) struct Seen {
    stamp: Vec<Stamp>,
    /// Whether they were read once more after they stood still: clocks of file systems tick
    /// coarsely, and an edit just behind a look may leave no trace in the stamp.
    settled: bool,
    /// Of the texts judged last; none when the files could not be read.
    digest: Option<[u8; 32]>,
    /// What was told of unreadable files, so that it is told once.
    trouble: Option<String>,
}

impl Seen {
    /// After the first load.
    pub(super) fn first(texts: &Texts) -> Self {
        Self {
            stamp: texts.stamp.clone(),
            settled: false,
            digest: Some(texts.digest()),
            trouble: None,
        }
    }
}

impl Files {
    /// Reads every file. A mounted directory is swapped as a whole, and a look between two of its
    /// files must not mix them: equal stamps before and after the reading show one state.
    pub(super) fn read(&self) -> Result<Texts, InputError> {
        let mut tries = 1;
        loop {
            let stamp = self.stamp();
            let read = self.read_once();
            let still = self.stamp() == stamp;
            if still || tries == READS {
                let [policies, objects] = read?;
                return Ok(Texts {
                    policies,
                    objects,
                    stamp,
                    still,
                });
            }
            tries += 1;
        }
    }

    /// The texts of the policies, and of the objects.
    fn read_once(&self) -> Result<[Vec<Arc<Source>>; 2], InputError> {
        Ok([
            input::read_all(&self.policies)?,
            input::read_all(&self.objects)?,
        ])
    }

    pub(super) fn load(&self, texts: &Texts) -> Loaded {
        load(&texts.policies, &texts.objects, &self.options)
    }

    /// Sizes, times and identities of the files: cheap to compare, other after every edit.
    fn stamp(&self) -> Vec<Stamp> {
        let mut stamp = input::stamp(&self.policies);
        stamp.extend(input::stamp(&self.objects));
        stamp
    }

    /// New texts since the last look, or why there are none to be had; nothing when all is as before.
    fn look(&self, mut seen: Seen) -> (Seen, Option<Result<Texts, InputError>>) {
        let stamp = self.stamp();
        if stamp == seen.stamp && seen.settled {
            return (seen, None);
        }
        seen.settled = stamp == seen.stamp;
        match self.read() {
            Ok(texts) => {
                seen.stamp.clone_from(&texts.stamp);
                seen.trouble = None;
                if !texts.still {
                    seen.settled = false;
                    return (seen, None);
                }
                let digest = Some(texts.digest());
                if seen.digest == digest {
                    return (seen, None);
                }
                seen.digest = digest;
                (seen, Some(Ok(texts)))
            }
            Err(error) => {
                // What comes next is news, even if it is what was there before; and it may come
                // without a new stamp.
                seen.digest = None;
                seen.settled = false;
                let told = seen.trouble.replace(error.to_string());
                let news = told != seen.trouble;
                (seen, news.then_some(Err(error)))
            }
        }
    }
}

/// The table in force, and all that is told of it.
pub(super) struct InForce {
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) readiness: Switch,
}

impl InForce {
    /// Follows the files for ever; its end is a bug, which whoever serves has to notice.
    pub(super) async fn follow(self, files: Files, mut seen: Seen) {
        let files = Arc::new(files);
        loop {
            let moving = !seen.settled && seen.trouble.is_none();
            tokio::time::sleep(if moving { AGAIN } else { POLL }).await;
            let (reader, before) = (Arc::clone(&files), seen.clone());
            // Reading and compiling a large table takes a while; requests are answered meanwhile.
            let look = tokio::task::spawn_blocking(move || reader.look(before));
            let Ok((after, news)) = look.await else {
                return;
            };
            seen = after;
            match news {
                None => {}
                Some(Err(error)) => {
                    self.metrics.policy_reload_failed();
                    tracing::error!(
                        %error,
                        "the policies cannot be read; the table in force stays"
                    );
                }
                Some(Ok(texts)) => {
                    let reader = Arc::clone(&files);
                    let load = tokio::task::spawn_blocking(move || reader.load(&texts));
                    if let Ok(loaded) = load.await {
                        self.judge(loaded);
                    } else {
                        self.metrics.policy_reload_failed();
                        tracing::error!("reading the policies panicked; the table in force stays");
                    }
                }
            }
        }
    }

    fn judge(&self, loaded: Loaded) {
        if loaded.has_error() || loaded.policies == 0 {
            self.keep(&loaded);
            return;
        }
        let now = Arc::new(loaded.snapshot);
        self.snapshot.store(Arc::clone(&now));
        tell(
            &self.metrics,
            &now.table,
            loaded.foreign,
            &loaded.diagnostics,
        );
        self.readiness.set(State::ready(summary(&now.table)));
    }

    /// Tells why new files are not taken; the table in force stays.
    fn keep(&self, refused: &Loaded) {
        let in_force = self.snapshot.load();
        let table = &in_force.table;
        if refused.rejected > 0 {
            self.metrics.policy_reloaded(PolicyReload {
                digest: table.digest(),
                loaded: table.policies().len(),
                rejected: refused.rejected,
                rules: table.rules(),
                at: SystemTime::now(),
            });
        } else {
            self.metrics.policy_reload_failed();
        }
        let errors = refused
            .diagnostics
            .iter()
            .filter(|d| d.severity() == Severity::Error);
        for error in errors {
            tracing::error!(%error, "policy");
        }
        let why = if refused.has_error() {
            "they have errors"
        } else {
            "there is no RegistryPolicy in them"
        };
        tracing::error!(
            why,
            rejected = refused.rejected,
            digest = table.digest(),
            "the new policies are not taken; the table in force stays"
        );
    }
}

/// What `/readyz?verbose` says of the table.
pub(super) fn summary(table: &policy::Table) -> String {
    format!(
        "{} policies, {} rules, digest {}",
        table.policies().len(),
        table.rules(),
        table.digest()
    )
}

/// Counts and logs a table that is in force from now on, with the warnings about it.
pub(super) fn tell(
    metrics: &Metrics,
    table: &policy::Table,
    foreign: usize,
    warnings: &[Diagnostic],
) {
    let policies = table.policies().len();
    metrics.policy_reloaded(PolicyReload {
        digest: table.digest(),
        loaded: policies,
        rejected: 0,
        rules: table.rules(),
        at: SystemTime::now(),
    });
    for warning in warnings {
        tracing::warn!(%warning, "policy");
    }
    tracing::info!(
        policies,
        rules = table.rules(),
        digest = table.digest(),
        foreign,
        "policies loaded"
    );
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn files(path: &Path) -> Files {
        Files {
            policies: vec![path.to_owned()],
            objects: Vec::new(),
            options: LoadOptions::default(),
        }
    }

    /// As the kubelet mounts a ConfigMap: every file is a link through `..data`, which is swapped.
    fn swap(at: &Path, version: usize) {
        let data = format!("..{version}");
        fs::create_dir(at.join(&data)).unwrap();
        for file in ["a.yaml", "b.yaml"] {
            fs::write(at.join(&data).join(file), version.to_string()).unwrap();
        }
        symlink(&data, at.join("..next")).unwrap();
        fs::rename(at.join("..next"), at.join("..data")).unwrap();
    }

    #[test]
    fn files_that_stood_still_are_all_of_one_version() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        swap(at, 0);
        for file in ["a.yaml", "b.yaml"] {
            symlink(format!("..data/{file}"), at.join(file)).unwrap();
        }
        let (files, done) = (files(at), AtomicBool::new(false));
        std::thread::scope(|threads| {
            threads.spawn(|| {
                (1..300).for_each(|version| swap(at, version));
                done.store(true, Ordering::Relaxed);
            });
            let mut seen = 0;
            while !done.load(Ordering::Relaxed) {
                let texts = files.read().unwrap();
                if texts.still {
                    seen += 1;
                    let [a, b] = &texts.policies[..] else {
                        panic!("two files");
                    };
                    assert_eq!(a.text(), b.text(), "a mixture");
                }
            }
            assert!(seen > 0, "nothing ever stood still");
        });
    }

    #[test]
    fn what_is_told_of_a_look_follows_from_what_was_seen() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("policy.yaml");
        fs::write(&file, "one").unwrap();
        let files = files(&file);
        let mut seen = Seen::first(&files.read().unwrap());
        let mut look = |why: &str| {
            let (after, news) = files.look(seen.clone());
            seen = after;
            let told = match news {
                None => "nothing".to_owned(),
                Some(Ok(texts)) => texts.policies[0].text().to_owned(),
                Some(Err(error)) => error.to_string(),
            };
            (told, why.to_owned())
        };
        let is = |(told, why): (String, String), want: &str| {
            assert!(told.contains(want), "{why}: {told}");
        };
        is(look("as it was loaded"), "nothing");
        fs::write(&file, "two").unwrap();
        is(look("an edit"), "two");
        is(look("no edit since"), "nothing");
        is(look("settled"), "nothing");
        fs::remove_file(&file).unwrap();
        is(look("it is gone"), "no such file");
        is(look("which was told"), "nothing");
        fs::write(&file, "two").unwrap();
        is(
            look("back as it was: news, since it was told to be gone"),
            "two",
        );
    }

    #[test]
    fn an_edit_before_the_first_look_is_news() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("policy.yaml");
        fs::write(&file, "one").unwrap();
        let files = files(&file);
        let seen = Seen::first(&files.read().unwrap());
        fs::write(&file, "two").unwrap();
        assert!(files.look(seen).1.is_some());
    }
}
