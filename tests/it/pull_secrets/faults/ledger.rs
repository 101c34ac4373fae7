//! Everything that becomes of a credential's Secrets in all namespaces, as a watch of the tests' own sees it → what was lost,
//! what was overwritten, and a row of the table.
//!
//! It believes the API server alone. What a test does by hand it tells, so that it is not held against the controller.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, Event, watcher};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::super::{Estate, logins};
use super::waiting::Waited;
use crate::plane::{RUNTIME, wait_until};

/// Where the rows of the table are collected; the run of all tests begins with none.
const TABLE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/credential-faults.txt");

/// A Secret at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    uid: String,
    /// Whether the controller has ever applied it.
    applied: bool,
    /// Whether what it holds is what the controller has written.
    by_us: bool,
    /// Its logins, each once, without the registries they are for. None: a kubelet could not read it.
    value: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Change {
    Is(Seen),
    Gone,
}

impl Change {
    fn holds(&self, value: &str) -> bool {
        matches!(self, Self::Is(seen) if seen.value.as_deref() == Some(value))
    }
}

#[derive(Default)]
struct Book {
    /// By namespace, oldest first.
    changes: BTreeMap<String, Vec<Change>>,
    is_synced: bool,
}

/// A running book of one credential; it ends when it is dropped.
pub(super) struct Ledger {
    book: Arc<Mutex<Book>>,
    /// Where the test itself has Secrets go.
    excused: Mutex<BTreeSet<String>>,
    watch: JoinHandle<()>,
}

/// What a row says.
pub(super) struct Row<'r> {
    pub(super) fault: &'r str,
    /// All values that there were, oldest first, as `user:password`.
    pub(super) values: &'r [&'r str],
    /// Where a copy with the last of them has to stand.
    pub(super) wanted: &'r [String],
    pub(super) waited: Option<Waited>,
    pub(super) happened: &'r str,
}

impl Ledger {
    /// Begins to write down what becomes of a credential.
    pub(super) fn of(estate: &Estate<'_>, credential: &str) -> Self {
        let book = Arc::new(Mutex::new(Book::default()));
        let api = Api::<Secret>::all(estate.admin().client.clone());
        let config =
            Config::default().fields(&format!("metadata.name={}", estate.name(credential)));
        let watch = RUNTIME.spawn({
            let book = Arc::clone(&book);
            async move {
                let mut changes = pin!(watcher(api, config).default_backoff());
                let mut listed = None;
                while let Some(change) = changes.next().await {
                    let mut book = book.lock().unwrap();
                    match change {
                        Ok(Event::Init) => listed = Some(BTreeSet::new()),
                        Ok(Event::InitApply(secret)) => {
                            let namespace = namespace(&secret);
                            listed.get_or_insert_default().insert(namespace);
                            book.take(&secret);
                        }
                        Ok(Event::InitDone) => {
                            book.only(&listed.take().unwrap_or_default());
                            book.is_synced = true;
                        }
                        Ok(Event::Apply(secret)) => book.take(&secret),
                        Ok(Event::Delete(secret)) => book.gone(&namespace(&secret)),
                        // The API server is down: it is asked again.
                        Err(_) => {}
                    }
                }
            }
        });
        let ledger = Self {
            book,
            excused: Mutex::default(),
            watch,
        };
        wait_until("the ledger is open", || {
            ledger.book.lock().unwrap().is_synced
        });
        ledger
    }

    /// What stands in this namespace may go, or be of others: the test does it.
    pub(super) fn excuse(&self, namespace: &str) {
        self.excused.lock().unwrap().insert(namespace.to_owned());
    }

    /// In how many namespaces a copy with this value stands now.
    pub(super) fn count(&self, value: &str) -> usize {
        let book = self.book.lock().unwrap();
        let last = book.changes.values().filter_map(|changes| changes.last());
        last.filter(|change| change.holds(value)).count()
    }

    /// Waits until a copy with this value stands in so many namespaces.
    pub(super) fn until(&self, number: usize, value: &str) {
        let mut count = 0;
        let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until(&format!("{number} copies of {value}"), || {
                count = self.count(value);
                count >= number
            });
        }));
        assert!(waited.is_ok(), "{count} of {number} copies are {value}");
    }

    /// Ends it and writes the row: nothing may have been lost, overwritten or held for too long.
    #[track_caller]
    pub(super) fn end(self, row: &Row<'_>) {
        self.watch.abort();
        let excused = self.excused.lock().unwrap();
        let book = self.book.lock().unwrap();
        let mut found = Found::default();
        for (namespace, changes) in &book.changes {
            found.look(namespace, changes, row.values, excused.contains(namespace));
        }
        let last = row.values.last().copied().unwrap_or_default();
        for namespace in row.wanted {
            let change = book
                .changes
                .get(namespace)
                .and_then(|changes| changes.last());
            if !change.is_some_and(|change| change.holds(last)) {
                found.lost.push(format!("{namespace} ends with {change:?}"));
            }
        }
        let (held, late, longest) = row.waited.as_ref().map_or((0, 0, String::new()), |waited| {
            let longest = waited.longest.as_secs_f64();
            (
                waited.held,
                waited.late.len(),
                format!(", a Pod held for {longest:.1} s at most"),
            )
        });
        let line = format!(
            "{:<58} | {:>6} | {:>4} | {:>11} | {:>9} | {:>13} | {}{longest}\n",
            row.fault,
            book.reached(last),
            found.lost.len(),
            found.overwritten.len(),
            held,
            late,
            row.happened,
        );
        let mut table = OpenOptions::new();
        let mut table = table.create(true).append(true).open(TABLE).unwrap();
        table.write_all(line.as_bytes()).unwrap();
        println!("{line}");
        assert_eq!(found.lost, [""; 0], "lost");
        assert_eq!(found.overwritten, [""; 0], "overwritten");
        if let Some(waited) = &row.waited {
            assert_eq!(waited.late, [""; 0], "held for too long");
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl Book {
    fn take(&mut self, secret: &Secret) {
        let managers = secret.metadata.managed_fields.iter().flatten();
        let ours = managers.filter(|entry| {
            entry.manager.as_deref() == Some("pullpass")
                && entry.operation.as_deref() == Some("Apply")
        });
        let fields: Vec<_> = ours.filter_map(|entry| entry.fields_v1.as_ref()).collect();
        let object = serde_json::to_value(secret).unwrap();
        let seen = Seen {
            uid: secret.metadata.uid.clone().unwrap_or_default(),
            applied: !fields.is_empty(),
            by_us: fields
                .iter()
                .any(|fields| fields.0["f:data"]["f:.dockerconfigjson"] != Value::Null),
            value: logins(&object).map(|logins| {
                let logins = logins.iter().filter_map(|login| login.split_once(' '));
                let each: BTreeSet<_> = logins.map(|(_, login)| login).collect();
                each.into_iter().collect::<Vec<_>>().join(" ")
            }),
        };
        let changes = self.changes.entry(namespace(secret)).or_default();
        let change = Change::Is(seen);
        if changes.last() != Some(&change) {
            changes.push(change);
        }
    }

    fn gone(&mut self, namespace: &str) {
        let changes = self.changes.entry(namespace.to_owned()).or_default();
        if changes.last() != Some(&Change::Gone) {
            changes.push(Change::Gone);
        }
    }

    /// In how many namespaces this value ever stood.
    fn reached(&self, value: &str) -> usize {
        let all = self.changes.values();
        all.filter(|changes| changes.iter().any(|change| change.holds(value)))
            .count()
    }

    /// What was not listed is gone.
    fn only(&mut self, listed: &BTreeSet<String>) {
        let known: Vec<_> = self.changes.keys().cloned().collect();
        for namespace in known
            .iter()
            .filter(|namespace| !listed.contains(*namespace))
        {
            self.gone(namespace);
        }
    }
}

/// What the controller may not have done.
#[derive(Default)]
struct Found {
    lost: Vec<String>,
    overwritten: Vec<String>,
}

impl Found {
    fn look(&mut self, namespace: &str, changes: &[Change], values: &[&str], excused: bool) {
        let age = |seen: &Seen| {
            let held = seen.value.as_ref()?;
            values.iter().position(|value| held == value)
        };
        let mut before: Option<&Seen> = None;
        let mut newest = None;
        for change in changes {
            let Change::Is(seen) = change else {
                if !excused {
                    self.lost.push(format!("{namespace} lost {before:?}"));
                }
                before = None;
                continue;
            };
            // It stood there before the controller came to it.
            if before.is_some_and(|b| b.uid == seen.uid && !b.applied && seen.applied) {
                self.overwritten
                    .push(format!("{namespace}: {before:?} was adopted"));
            }
            if seen.by_us {
                let age = age(seen);
                if age.is_none() || age < newest {
                    self.overwritten
                        .push(format!("{namespace}: {before:?} by {seen:?}"));
                }
                newest = newest.max(age);
            }
            before = Some(seen);
        }
    }
}

fn namespace(secret: &Secret) -> String {
    secret.metadata.namespace.clone().unwrap_or_default()
}
