//! An answer that lacked something → the answer, or a short wait for the watch to bring what it lacked.
//!
//! A watch can be a few milliseconds behind the API server, so a Pod may come before its account. A name
//! is awaited for 250 ms at most, once a minute, then it counts as missing. Nothing here asks the API
//! server, and a flood of unknown names costs a bounded memory and bounded places.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::published::Published;
use crate::admission::{Answer, Lack};
use crate::server::Reply;

/// How long a name is awaited: a hundred times what a watch was seen to be late.
const PATIENCE: Duration = Duration::from_millis(250);
/// A name that was awaited in vain is not awaited again for so long.
const ONCE_IN: Duration = Duration::from_mins(1);
/// Names that are remembered; beyond them the oldest is forgotten, and may be awaited again.
const NAMES: usize = 4096;
/// Requests that wait at once. The others find what they lack to be missing: a quarter of the
/// connections that may be awake, so that waiting never holds up those who need not wait.
const WAITING: usize = 64;

/// Who waits for what.
#[derive(Debug)]
pub struct Waits {
    published: Arc<Published>,
    memory: Mutex<Memory>,
    places: Arc<Semaphore>,
}

impl Waits {
    /// Waits for what this snapshot's successors bring.
    #[must_use]
    pub fn new(published: Arc<Published>) -> Self {
        Self {
            published,
            memory: Mutex::default(),
            places: Arc::new(Semaphore::new(WAITING)),
        }
    }

    /// The answer, or a wait for what it lacked. Those who lack the same name share its 250 ms.
    pub fn reply(&self, answer: Answer) -> Reply {
        if answer.lacks.is_empty() {
            return Reply::Now(answer);
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            tracing::debug!(lacks = ?answer.lacks, "too many requests wait already");
            return Reply::Now(answer);
        };
        let now = Instant::now();
        // Nothing in there panics half-way: what it holds is good whoever held it last.
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let mut awaited = Vec::new();
        let mut until = now;
        for lack in &answer.lacks {
            let end = memory.begun(lack, now) + PATIENCE;
            if end > now {
                awaited.push(lack.clone());
                until = until.max(end);
            }
        }
        drop(memory);
        if awaited.is_empty() {
            return Reply::Now(answer);
        }
        let wait = wait(Arc::clone(&self.published), awaited, until, place);
        Reply::Later {
            answer,
            wait: Box::pin(wait),
        }
    }
}

/// Ends when the snapshot has all of it, or at the end of the time.
async fn wait(
    published: Arc<Published>,
    awaited: Vec<Lack>,
    until: Instant,
    _place: OwnedSemaphorePermit,
) {
    let mut changed = published.subscribe();
    let all_there = async {
        // The subscription came first: what is published after this look is heard of.
        while awaited.iter().any(|lack| lack.is_in(&published.load())) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    };
    let found = timeout_at(until, all_there).await.is_ok();
    tracing::debug!(?awaited, found, "waited for the watch");
}

/// The names that were awaited of late, and since when.
#[derive(Debug, Default)]
struct Memory {
    begun: HashMap<Arc<Lack>, Instant>,
    /// The same, the oldest in front: times only grow.
    order: VecDeque<(Arc<Lack>, Instant)>,
}

impl Memory {
    /// When the wait for a name began: now, unless it was awaited within the last minute.
    fn begun(&mut self, lack: &Lack, now: Instant) -> Instant {
        while let Some((_, begun)) = self.order.front()
            && *begun + ONCE_IN <= now
        {
            self.forget_oldest();
        }
        if let Some(begun) = self.begun.get(lack) {
            return *begun;
        }
        if self.order.len() >= NAMES {
            self.forget_oldest();
        }
        let lack = Arc::new(lack.clone());
        self.begun.insert(Arc::clone(&lack), now);
        self.order.push_back((lack, now));
        now
    }

    fn forget_oldest(&mut self) {
        if let Some((lack, _)) = self.order.pop_front() {
            self.begun.remove(&lack);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, timeout};

    use super::*;
    use crate::admission::answer;
    use crate::load::{LoadOptions, load};
    use crate::snapshot::{Account, Accounts, Coverage, Namespaces, Snapshot};

    fn snapshot(namespaces: &[&str], accounts: &[&str]) -> Snapshot {
        let policy = "apiVersion: pullpass.dev/v1\nkind: RegistryPolicy\nmetadata: {name: p}\nspec:\n  \
            rules: [{name: r, match: {images: ['*']}, inject: {serviceAccountName: x}}]\n";
        let policy = crate::diagnostic::Source::new("p.yaml", policy);
        let mut snapshot = load(&[policy], &[], &LoadOptions::default()).snapshot;
        let mut all = Namespaces::new(Coverage::Whole);
        for name in namespaces {
            all.insert(name, Vec::new());
        }
        snapshot.namespaces = all.into();
        let mut all = Accounts::new(Coverage::Whole);
        for name in accounts {
            all.insert("web", name, Account::default());
        }
        snapshot.accounts = all.into();
        snapshot
    }

    struct Edge {
        published: Arc<Published>,
        waits: Waits,
    }

    impl Edge {
        fn new(namespaces: &[&str], accounts: &[&str]) -> Self {
            let published = Arc::new(Published::new(snapshot(namespaces, accounts)));
            let waits = Waits::new(Arc::clone(&published));
            Self { published, waits }
        }

        /// The reply to a Pod of the namespace.
        fn ask(&self, namespace: &str) -> Reply {
            let review = format!(
                r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"u",
                "kind":{{"group":"","version":"v1","kind":"Pod"}},"operation":"CREATE",
                "namespace":"{namespace}","object":{{"spec":{{"containers":[{{"image":"a"}}]}}}}}}}}"#
            );
            let answer = answer(review.as_bytes(), &self.published.load()).unwrap();
            self.waits.reply(answer)
        }

        /// How long a Pod of the namespace waits, in milliseconds; `None` when not at all.
        async fn waits(&self, namespace: &str) -> Option<u128> {
            let Reply::Later { wait, .. } = self.ask(namespace) else {
                return None;
            };
            let start = Instant::now();
            wait.await;
            Some(start.elapsed().as_millis())
        }
    }

    /// Paused time goes on by itself to what is awaited next, in steps of a millisecond.
    fn is_about(took: Option<u128>, want: u128, why: &str) {
        let took = took.expect(why);
        assert!((want..want + 3).contains(&took), "{why}: {took} ms");
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_awaited_once_a_minute_and_then_counts_as_missing() {
        let edge = Edge::new(&["web"], &["default"]);
        is_about(edge.waits("web").await, 250, "the first Pod");
        assert_eq!(edge.waits("web").await, None, "it was awaited in vain");
        advance(Duration::from_secs(59)).await;
        assert_eq!(edge.waits("web").await, None, "within a minute");
        advance(Duration::from_secs(1)).await;
        is_about(edge.waits("web").await, 250, "after it");
        assert_eq!(edge.waits("web").await, None, "and again but once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_when_the_snapshot_has_everything() {
        let edge = Edge::new(&[], &[]);
        let Reply::Later { mut wait, answer } = edge.ask("web") else {
            panic!("nothing is known");
        };
        assert_eq!(answer.lacks.len(), 3, "{:?}", answer.lacks);
        for (namespaces, accounts, done, why) in [
            (&[][..], &["default"][..], false, "one of three is there"),
            (&["other"], &["default", "x"], false, "another namespace"),
            (&["web"], &["default", "x"], true, "all are"),
        ] {
            edge.published.publish(snapshot(namespaces, accounts));
            let over = timeout(Duration::from_millis(10), &mut wait).await.is_ok();
            assert_eq!(over, done, "{why}");
        }
        assert_eq!(edge.waits("web").await, None, "and nothing is lacking");
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_between_the_decision_and_the_wait_is_seen() {
        let edge = Edge::new(&["web"], &["default"]);
        let Reply::Later { wait, .. } = edge.ask("web") else {
            panic!("x is not known");
        };
        edge.published
            .publish(snapshot(&["web"], &["default", "x"]));
        let start = Instant::now();
        wait.await;
        assert!(start.elapsed().is_zero(), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn pods_of_the_same_account_share_its_time() {
        let edge = Edge::new(&["web"], &["default"]);
        let Reply::Later { wait: first, .. } = edge.ask("web") else {
            panic!("x is not known");
        };
        advance(Duration::from_millis(100)).await;
        is_about(edge.waits("web").await, 150, "the second joins the first");
        first.await;
        assert_eq!(edge.waits("web").await, None, "the third comes too late");
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_requests_wait_at_once() {
        let edge = Edge::new(&[], &["default", "x"]);
        let name = |n: usize| format!("n-{n}");
        let waiting: Vec<_> = (0..WAITING).map(|n| edge.ask(&name(n))).collect();
        assert!(waiting.iter().all(|r| matches!(r, Reply::Later { .. })));
        assert!(
            matches!(edge.ask("late"), Reply::Now(_)),
            "no place is left"
        );
        drop(waiting);
        is_about(
            edge.waits("late").await,
            250,
            "a name that found no place was not awaited yet",
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_names_is_forgotten_from_its_oldest_end() {
        let mut memory = Memory::default();
        let name = |n: usize| Lack::Namespace(format!("n-{n}").into());
        let start = Instant::now();
        for n in 0..NAMES * 3 {
            assert_eq!(memory.begun(&name(n), start), start);
            assert!(memory.begun.len() <= NAMES && memory.order.len() == memory.begun.len());
        }
        let later = start + Duration::from_secs(1);
        let last = NAMES * 3 - 1;
        assert_eq!(memory.begun(&name(last), later), start, "the newest stays");
        assert_eq!(memory.begun(&name(0), later), later, "the oldest is gone");
        memory.begun(&name(last), start + ONCE_IN + Duration::from_secs(1));
        assert_eq!(memory.begun.len(), 1, "all were forgotten in their time");
    }
}
