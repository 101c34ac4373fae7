//! One port: accepts connections, serves HTTP/1.1 on each, and ends every one in time.
//!
//! It owns the connections' tasks: at most so many, the longest idle one gives way, and when the
//! port closes each is joined or cut off. It knows no path and no certificate.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};

use super::activity::{Activity, Order, Phase, Watched};
use super::limits::Limits;
use super::routes::closing;
use super::tls::{self, Tls};
use crate::metrics::{HandshakeError, Metrics};

/// hyper's buffer of a connection: a head is a few hundred bytes, a body goes on as it comes.
const BUFFER: usize = 16 * 1024;

/// Before the next try when nobody could give way, or the system had no socket for us.
const RETRY: Duration = Duration::from_millis(10);

/// How far the server is on its way down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Not on its way.
    Serving,
    /// Still serving, one request for each connection.
    Draining,
    /// Only what is in flight.
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
        let task = self
            .tasks
            .spawn(serve(Arc::clone(port), stream, Arc::clone(&activity)));
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
        let rank = |activity: &Activity| (activity.phase() != Phase::Idle, activity.since());
        let mut candidates: Vec<_> = self
            .activities
            .values()
            .filter(|a| matches!(a.phase(), Phase::Idle | Phase::Handshake | Phase::Head))
            .map(|a| (rank(a), a))
            .collect();
        candidates.sort_unstable_by_key(|(rank, _)| *rank);
        candidates.iter().any(|(_, activity)| activity.give_way())
    }
}

/// Serves the port until the stage is [`Stage::Finishing`], then lets what is in flight finish.
pub(super) async fn run(listener: TcpListener, port: Port) {
    let port = Arc::new(port);
    let mut stage = port.stage.clone();
    let mut open = Open::default();
    // Accepted beyond the limit: it waits until another one is gone.
    let mut waiting: Option<TcpStream> = None;
    let mut leaving = false;
    loop {
        // Each arm can be dropped: joining, accepting and watching lose nothing.
        tokio::select! {
            biased;
            () = finishing(&mut stage) => break,
            Some(joined) = open.tasks.join_next_with_id() => {
                open.ended(&joined);
                leaving = false;
                if let Some(stream) = waiting.take_if(|_| open.tasks.len() < port.connections) {
                    open.start(&port, stream);
                }
            }
            () = sleep(RETRY), if waiting.is_some() && !leaving => leaving = open.make_room(),
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
        }
    }
    drop((listener, waiting));
    for activity in open.activities.values() {
        activity.finish();
    }
    let all = async { while open.tasks.join_next().await.is_some() {} };
    if timeout(port.limits.finish_time, all).await.is_err() {
        tracing::warn!(
            connections = open.tasks.len(),
            "cut off what did not finish in time"
        );
        open.tasks.shutdown().await;
    }
}

async fn finishing(stage: &mut watch::Receiver<Stage>) {
    // Without a sender the server itself is gone.
    let _ = stage.wait_for(|stage| *stage == Stage::Finishing).await;
}

/// A connection could not be accepted.
async fn refused(error: &io::Error, open: &Open) {
    // The client was gone before we came: nothing to wait for.
    if matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    ) {
        return;
    }
    // Most likely there are no file descriptors left; one idle connection less gives one.
    tracing::warn!(%error, "cannot accept a connection; the limit on open files may be too low");
    open.make_room();
    sleep(RETRY).await;
}

/// One connection, from its first byte to its last.
async fn serve(port: Arc<Port>, stream: TcpStream, activity: Arc<Activity>) {
    let _open = port.metrics.as_ref().map(|metrics| metrics.connection());
    // Answers are small and whole: waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let stream = Watched::new(stream, &activity);
    let Some(tls) = &port.tls else {
        return http(&port, stream, &activity).await;
    };
    match in_time(&port.limits, &activity, tls.accept(stream)).await {
        // Boxed: the handshake's state is gone when the connection's begins.
        Some(Ok(stream)) => Box::pin(http(&port, stream, &activity)).await,
        Some(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            count(&port, tls::reason(&error));
        }
        None if activity.phase() == Phase::Handshake => count(&port, HandshakeError::Timeout),
        None => {}
    }
}

fn count(port: &Port, reason: HandshakeError) {
    if let Some(metrics) = &port.metrics {
        metrics.handshake_failed(reason);
    }
}

/// The handshake's result, or nothing when its time is over or it was told to end.
async fn in_time<F: Future>(limits: &Limits, activity: &Activity, work: F) -> Option<F::Output> {
    let due = activity.due(limits).unwrap_or_else(Instant::now);
    // Dropping the handshake half done is how it is cut off.
    tokio::select! {
        biased;
        done = work => Some(done),
        _ = activity.order() => None,
        () = sleep_until(due) => None,
    }
}

/// HTTP/1.1 on a connection until either side ends it.
async fn http<Io>(port: &Port, io: Io, activity: &Activity)
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    activity.enter(Phase::Idle);
    let router = TowerToHyperService::new(port.router.clone());
    let service = service_fn(|request: Request<Incoming>| {
        activity.enter(Phase::Busy);
        let response = router.call(request);
        async move {
            let response = response.await;
            let response = match *port.stage.borrow() {
                Stage::Serving => response,
                Stage::Draining | Stage::Finishing => response.map(closing),
            };
            activity.enter(Phase::Answering);
            response
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .max_buf_size(BUFFER)
            // It would also cut off kept-alive connections: `activity` does it instead.
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(io), service)
    );
    let mut timer = pin!(sleep_until(Instant::now() + port.limits.idle_time));
    let mut order = pin!(activity.order());
    poll_fn(|cx| {
        loop {
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let end = match order.as_mut().poll(cx) {
                Poll::Ready(end) => {
                    order.set(activity.order());
                    end
                }
                Poll::Pending => ready!(overdue(timer.as_mut(), activity, &port.limits, cx)),
            };
            match end {
                Order::Drop => return Poll::Ready(()),
                Order::Finish => connection.as_mut().graceful_shutdown(),
            }
        }
    })
    .await;
}

/// Ready when the connection's phase has lasted too long. The timer is moved only when it would
/// come too late, or has come too early: not for each request.
fn overdue(
    mut timer: std::pin::Pin<&mut Sleep>,
    activity: &Activity,
    limits: &Limits,
    cx: &mut Context<'_>,
) -> Poll<Order> {
    if let Some(due) = activity.due(limits)
        && due < timer.deadline()
    {
        timer.as_mut().reset(due);
    }
    loop {
        ready!(timer.as_mut().poll(cx));
        let now = Instant::now();
        let due = activity.due(limits).unwrap_or(now + limits.response_time);
        if due <= now {
            return Poll::Ready(activity.expire());
        }
        timer.as_mut().reset(due);
    }
}
