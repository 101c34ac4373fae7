//! One port: accepts connections, and has the last word on which of them live.
//!
//! It owns the connections' tasks: at most so many, the longest idle one gives way, and when the
//! port closes each is joined or cut off. What is said on a connection it never sees.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use super::activity::{Activity, Phase};
use super::connection;
use super::limits::Limits;
use super::tls::Tls;
use crate::metrics::Metrics;

/// Before the next try when nobody could give way, or the system had no socket for us.
const RETRY: Duration = Duration::from_millis(10);

/// When the server ends and no connection is open, one more may come in this time: the kernel may
/// have taken it already.
const LAST: Duration = Duration::from_millis(10);

/// ENFILE and EMFILE, the same numbers on every Unix: no file descriptor is left, in the system or for
/// this process.
const NO_DESCRIPTOR: [i32; 2] = [23, 24];

/// A client that brings its handshake, head or body in this time is not slow.
const SLOW: Duration = Duration::from_secs(1);

/// How far the server is on its way down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Not on its way.
    Serving,
    /// Still serving, one request for each connection.
    Draining,
    /// Nobody should send requests here any more: each connection ends as soon as it loses none.
    Finishing,
}

/// What a port serves, and to how many.
pub(super) struct Port {
    pub(super) router: Router,
    /// Without it the port speaks plain HTTP.
    pub(super) tls: Option<Arc<Tls>>,
    /// Counts connections and handshakes, if anybody wants to know.
    pub(super) metrics: Option<Arc<Metrics>>,
    pub(super) connections: usize,
    pub(super) limits: Limits,
    pub(super) stage: watch::Receiver<Stage>,
    /// A place for each connection that may be awake.
    pub(super) awake: Semaphore,
    /// Told when a connection waits for such a place.
    pub(super) pressed: Notify,
}

/// The open connections of a port.
#[derive(Default)]
struct Open {
    tasks: JoinSet<()>,
    activities: HashMap<Id, Arc<Activity>>,
}

impl Open {
    fn start(&mut self, port: &Arc<Port>, stream: TcpStream) {
        let activity = Arc::new(Activity::new());
        let serving = connection::serve(Arc::clone(port), stream, Arc::clone(&activity));
        let task = self.tasks.spawn(serving);
        self.activities.insert(task.id(), activity);
    }

    fn ended(&mut self, joined: &Result<(Id, ()), JoinError>) {
        let id = match joined {
            Ok((id, ())) => *id,
            Err(error) => {
                if error.is_panic() {
                    tracing::error!("a connection ended by a panic");
                }
                error.id()
            }
        };
        self.activities.remove(&id);
    }

    /// Tells one connection to make room: of the idle ones the longest idle; if there is none, of
    /// those that have not brought a whole request yet the slowest.
    fn make_room(&self) -> bool {
        let idle = |phase| matches!(phase, Phase::Idle | Phase::Leaving);
        let rank = |activity: &Activity| (!idle(activity.phase()), activity.since());
        let mut candidates: Vec<_> = self
            .activities
            .values()
            .filter(|a| {
                matches!(
                    a.phase(),
                    Phase::Idle | Phase::Leaving | Phase::Opening | Phase::Handshake | Phase::Head
                )
            })
            .map(|a| (rank(a), a))
            .collect();
        candidates.sort_unstable_by_key(|(rank, _)| *rank);
        candidates.iter().any(|(_, activity)| activity.give_way())
    }

    /// Cuts off the slowest connection that is awake, if it is slow: a place that it does not
    /// use is one that others wait for.
    fn relieve(&self) {
        let slowest = self
            .activities
            .values()
            .filter(|a| matches!(a.phase(), Phase::Handshake | Phase::Head | Phase::Busy))
            .min_by_key(|a| a.since());
        if let Some(activity) = slowest.filter(|a| a.since() + SLOW < Instant::now()) {
            tracing::debug!("too many connections are awake, the slowest is cut off");
            activity.cut_off();
        }
    }
}

/// Serves the port until the stage is [`Stage::Finishing`], and from then on until nobody is left.
///
/// Whoever is in the middle of something has the time that it always has, and whoever still comes
/// is served too: only a client that comes later than the last one leaves is refused. It takes the
/// finish time at most.
pub(super) async fn run(listener: TcpListener, port: Port) {
    let port = Arc::new(port);
    let mut stage = port.stage.clone();
    let mut open = Open::default();
    // Accepted beyond the limit: it waits until another one is gone.
    let mut waiting: Option<TcpStream> = None;
    let mut leaving = false;
    // When what is left is cut off.
    let mut end: Option<Instant> = None;
    loop {
        // Each arm can be dropped: joining, accepting and watching lose nothing.
        tokio::select! {
            biased;
            () = finishing(&mut stage), if end.is_none() => {
                end = Some(Instant::now() + port.limits.finish_time);
            }
            () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => break,
            Some(joined) = open.tasks.join_next_with_id() => {
                open.ended(&joined);
                leaving = false;
                if let Some(stream) = waiting.take_if(|_| open.tasks.len() < port.connections) {
                    open.start(&port, stream);
                }
            }
            () = sleep(RETRY), if waiting.is_some() && !leaving => leaving = open.make_room(),
            () = port.pressed.notified() => open.relieve(),
            accepted = listener.accept(), if waiting.is_none() => match accepted {
                Ok((stream, _)) if open.tasks.len() < port.connections => {
                    open.start(&port, stream);
                }
                Ok((stream, _)) => {
                    waiting = Some(stream);
                    leaving = open.make_room();
                }
                Err(error) => refused(&error, &open).await,
            },
            () = sleep(LAST), if end.is_some() && open.tasks.is_empty() => break,
        }
    }
    drop((listener, waiting));
    if !open.tasks.is_empty() {
        tracing::warn!(
            connections = open.tasks.len(),
            "cut off what did not finish in time"
        );
        open.tasks.shutdown().await;
    }
}

/// Waits until the drain is over.
pub(super) async fn finishing(stage: &mut watch::Receiver<Stage>) {
    // Without a sender the server itself is gone.
    let _ = stage.wait_for(|stage| *stage == Stage::Finishing).await;
}

/// A connection could not be accepted.
async fn refused(error: &io::Error, open: &Open) {
    match Refusal::of(error) {
        // Nothing to wait for.
        Refusal::ClientGone => return,
        Refusal::NoDescriptor => {
            tracing::warn!(%error, "cannot accept a connection; the limit on open files is too low");
            // One idle connection less gives a descriptor back.
            open.make_room();
        }
        // No connection of ours would be better off without another one.
        Refusal::Other => tracing::warn!(%error, "cannot accept a connection"),
    }
    sleep(RETRY).await;
}

/// Why a connection could not be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// Before we came.
    ClientGone,
    NoDescriptor,
    Other,
}

impl Refusal {
    fn of(error: &io::Error) -> Self {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset};
        match error.raw_os_error() {
            Some(code) if NO_DESCRIPTOR.contains(&code) => Self::NoDescriptor,
            _ if matches!(error.kind(), ConnectionAborted | ConnectionReset) => Self::ClientGone,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn only_a_lack_of_descriptors_costs_an_idle_connection() {
        for (code, name, want, why) in [
            (
                23,
                "ENFILE",
                Refusal::NoDescriptor,
                "the system has none left",
            ),
            (24, "EMFILE", Refusal::NoDescriptor, "nor has this process"),
            (103, "ECONNABORTED", Refusal::ClientGone, "it went"),
            (104, "ECONNRESET", Refusal::ClientGone, "it went"),
            (1, "EPERM", Refusal::Other, "a firewall's word"),
            (71, "EPROTO", Refusal::Other, "an error of that connection"),
            (100, "ENETDOWN", Refusal::Other, "an error of the network"),
            (
                105,
                "ENOBUFS",
                Refusal::Other,
                "memory is short, not places",
            ),
        ] {
            let error = io::Error::from_raw_os_error(code);
            assert_eq!(Refusal::of(&error), want, "{name}: {why}");
        }
    }
}
