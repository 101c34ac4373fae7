//! One connection, from its first byte to its last: asleep most of the time, awake for requests.
//!
//! A connection that waits costs little: no buffer, no HTTP state, only its socket and TLS keys.
//! It wakes when bytes come, and only so many are awake at once; the others' bytes wait in the
//! kernel. So thousands of open connections fit in little memory, whatever they send. It knows
//! no path and decides no answer.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tokio_rustls::server::TlsStream;

use super::activity::{Activity, Order, Phase, Watched};
use super::connections::{Port, Stage, finishing};
use super::routes::closing;
use super::tls::{self, Tls};
use crate::metrics::HandshakeError;

/// hyper's buffer of a connection: a head is a few hundred bytes, a body goes on as it comes.
const BUFFER: usize = 16 * 1024;

/// A connection stays awake this long for the next request, while less than half of those that
/// may be awake are.
const LINGER: Duration = Duration::from_secs(1);

/// A connection that waits for others to fall asleep asks for help this often.
const PRESS: Duration = Duration::from_millis(100);

/// Asks the client of an idle connection to go, when the server ends.
///
/// To close the connection would lose a request that is written at that moment: whoever posts it
/// cannot know whether it was read, so that Go's client, and with it the API server, fails with
/// `EOF` rather than post it again. An interim answer leaves the end to the client. One without a
/// request closes the connection, as data there is no answer to anything (RFC 9112, 9.2), and Go
/// does so under the lock under which a request takes the connection: such a request has not been
/// written, and is sent on another one. To one with a request it says nothing (RFC 9110, 15.2),
/// and the answer follows, with `Connection: close`. The words are for the logs of clients.
const FAREWELL: &[u8] = b"HTTP/1.1 100 pullpass shuts down\r\n\r\n";

/// Serves a connection until either side ends it.
///
/// Each part of its life is boxed: a connection carries the room of the part that it is in, and
/// not of the largest.
pub(super) async fn serve(port: Arc<Port>, stream: TcpStream, activity: Arc<Activity>) {
    let _open = port.metrics.as_ref().map(|metrics| metrics.connection());
    // Answers are small and whole: waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    if let (Some(tls), Some(metrics)) = (&port.tls, &port.metrics)
        && tls.current().is_none()
    {
        return metrics.handshake_failed(HandshakeError::NoCertificate);
    }
    let stream = Watched::new(stream, &activity);
    let Some(awake) = Box::pin(wake(&port, &stream, &activity)).await else {
        return timed_out(&port);
    };
    let Some(tls) = &port.tls else {
        activity.enter(Phase::Idle);
        return Box::pin(requests(&port, stream, awake, &activity)).await;
    };
    if let Some(stream) = Box::pin(handshake(&port, tls, stream, &activity)).await {
        activity.enter(Phase::Idle);
        Box::pin(requests(&port, stream, awake, &activity)).await;
    }
}

/// The TLS handshake. What comes of it is boxed, as it is moved from hand to hand.
async fn handshake<'a>(
    port: &Port,
    tls: &Tls,
    stream: Watched<'a, TcpStream>,
    activity: &Activity,
) -> Option<Box<TlsStream<Watched<'a, TcpStream>>>> {
    activity.enter(Phase::Handshake);
    // Seen before, and never taken away.
    let accepting = tls.accept(stream)?;
    match in_time(port, activity, accepting).await {
        Some(Ok(stream)) => return Some(Box::new(stream)),
        Some(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            if let Some(metrics) = &port.metrics {
                metrics.handshake_failed(tls::reason(&error));
            }
        }
        None => timed_out(port),
    }
    None
}

fn timed_out(port: &Port) {
    if let (Some(_), Some(metrics)) = (&port.tls, &port.metrics) {
        metrics.handshake_failed(HandshakeError::Timeout);
    }
}

/// What `work` comes to, or nothing when the phase is over in time or the connection must end.
async fn in_time<F: Future>(port: &Port, activity: &Activity, work: F) -> Option<F::Output> {
    let due = activity.due(&port.limits).unwrap_or_else(Instant::now);
    // What is dropped half done is cut off: that is the point.
    tokio::select! {
        biased;
        done = work => Some(done),
        _ = activity.order() => None,
        () = sleep_until(due) => None,
    }
}

/// Waits for bytes and then for a place among those that are awake.
async fn wake<'a, S: Socket>(
    port: &'a Port,
    socket: &S,
    activity: &Activity,
) -> Option<SemaphorePermit<'a>> {
    let waking = async {
        // An error is for the one who reads to find.
        let _ = socket.tcp().readable().await;
        if let Ok(permit) = port.awake.try_acquire() {
            return Some(permit);
        }
        loop {
            // Waiting anew costs the place in the line, and the line is short.
            tokio::select! {
                biased;
                permit = port.awake.acquire() => return permit.ok(),
                () = sleep(PRESS) => port.pressed.notify_one(),
            }
        }
    };
    in_time(port, activity, waking).await.flatten()
}

/// Requests and naps in turn, then a goodbye.
async fn requests<'a, S: Socket>(
    port: &'a Port,
    stream: S,
    mut awake: SemaphorePermit<'a>,
    activity: &Activity,
) {
    let mut stream = Prefixed {
        prefix: Bytes::new(),
        io: stream,
        activity,
    };
    loop {
        let (rest, end) = Box::pin(http(port, stream, activity)).await;
        drop(awake);
        stream = rest;
        match end {
            End::CutOff => return,
            End::Over => break,
            End::Nap => match Box::pin(nap(port, &mut stream, activity)).await {
                Some(permit) => awake = permit,
                None => break,
            },
        }
    }
    activity.enter(Phase::Closing);
    // Without it, a client could take the end for an attack.
    let _ = timeout(port.limits.close_time, stream.shutdown()).await;
}

/// Waits for the next request. When the server ends, its client is asked to go, and is waited for:
/// it may have sent one.
async fn nap<'a, S: Socket>(
    port: &'a Port,
    stream: &mut Prefixed<'_, S>,
    activity: &Activity,
) -> Option<SemaphorePermit<'a>> {
    let mut stage = port.stage.clone();
    // Dropped is only a place in the line of those that wake.
    tokio::select! {
        biased;
        awake = wake(port, &stream.io, activity) => return awake,
        () = finishing(&mut stage) => {}
    }
    if activity.leaves() {
        let asking = async {
            stream.write_all(FAREWELL).await?;
            stream.flush().await
        };
        in_time(port, activity, asking).await?.ok()?;
    }
    wake(port, &stream.io, activity).await
}

/// How a time awake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Nothing to do; more may come.
    Nap,
    /// Either side ended the connection, as HTTP does.
    Over,
    /// The client was too slow, or had to give way.
    CutOff,
}

/// HTTP/1.1 until there is nothing to do.
async fn http<'a, S: Socket>(
    port: &Port,
    stream: Prefixed<'a, S>,
    activity: &'a Activity,
) -> (Prefixed<'a, S>, End) {
    let router = TowerToHyperService::new(port.router.clone());
    let service = service_fn(|request: Request<Incoming>| {
        activity.enter(Phase::Busy);
        let response = router.call(request);
        Box::pin(async move {
            let response = response.await;
            activity.enter(Phase::Answering);
            match *port.stage.borrow() {
                Stage::Serving => response,
                Stage::Draining | Stage::Finishing => response.map(closing),
            }
        })
    });
    let mut connection = http1::Builder::new()
        .max_buf_size(BUFFER)
        // It would also cut off kept-alive connections: `activity` does it instead.
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service);
    let mut timer = pin!(sleep_until(Instant::now() + LINGER));
    let mut order = pin!(activity.order());
    let mut ending = false;
    let end = poll_fn(|cx| {
        loop {
            if connection.poll_without_shutdown(cx).is_ready() {
                return Poll::Ready(End::Over);
            }
            let idle = matches!(activity.phase(), Phase::Idle | Phase::Leaving);
            if !ending && idle && !may_linger(port, activity) {
                // Flushed, and nothing to read: hyper lets go at once.
                Pin::new(&mut connection).graceful_shutdown();
                match connection.poll_without_shutdown(cx) {
                    Poll::Ready(Ok(())) => return Poll::Ready(End::Nap),
                    Poll::Ready(Err(_)) => return Poll::Ready(End::Over),
                    // Not as idle as it looked: it ends with what it is doing.
                    Poll::Pending => ending = true,
                }
            }
            match order.as_mut().poll(cx) {
                Poll::Ready(Order::Drop) => return Poll::Ready(End::CutOff),
                Poll::Ready(Order::Finish) => {
                    order.set(activity.order());
                    ending = true;
                    Pin::new(&mut connection).graceful_shutdown();
                    continue;
                }
                Poll::Pending => {}
            }
            ready!(overdue(timer.as_mut(), port, activity, cx));
            if ending || activity.phase() != Phase::Idle {
                return Poll::Ready(End::CutOff);
            }
        }
    })
    .await;
    let parts = connection.into_parts();
    // Copied: the few bytes that may be left would keep the whole buffer.
    let prefix = Bytes::copy_from_slice(&parts.read_buf);
    let io = parts.io.into_inner().io;
    (
        Prefixed {
            prefix,
            io,
            activity,
        },
        end,
    )
}

/// Whether an idle connection may stay awake for the next request: waking costs a little, so it
/// may for a moment, while there are places. On the way down it sleeps, where it is told of the end.
fn may_linger(port: &Port, activity: &Activity) -> bool {
    *port.stage.borrow() == Stage::Serving
        && port.awake.available_permits() * 2 >= port.limits.awake
        && Instant::now() < activity.since() + LINGER
}

/// Ready when the phase has lasted too long. The timer is moved only when it would come too late,
/// or has come too early: not for each request.
fn overdue(
    mut timer: Pin<&mut Sleep>,
    port: &Port,
    activity: &Activity,
    cx: &mut Context<'_>,
) -> Poll<()> {
    let due = || match activity.phase() {
        Phase::Idle => Some(activity.since() + LINGER),
        _ => activity.due(&port.limits),
    };
    if let Some(due) = due()
        && due < timer.deadline()
    {
        timer.as_mut().reset(due);
    }
    loop {
        ready!(timer.as_mut().poll(cx));
        let now = Instant::now();
        // A body has its own time; it is looked after later.
        let due = due().unwrap_or(now + port.limits.response_time);
        if due <= now {
            return Poll::Ready(());
        }
        timer.as_mut().reset(due);
    }
}

/// A stream that stands on a TCP socket.
trait Socket: AsyncRead + AsyncWrite + Unpin {
    fn tcp(&self) -> &TcpStream;
}

impl Socket for Watched<'_, TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.inner()
    }
}

impl Socket for Box<TlsStream<Watched<'_, TcpStream>>> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0.inner()
    }
}

/// A stream with bytes that were read from it already: the beginning of a pipelined request.
///
/// It tells the activity of bytes too: those that came along with the end of the handshake passed
/// the socket before there was a request to start.
struct Prefixed<'a, S> {
    prefix: Bytes,
    io: S,
    activity: &'a Activity,
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.prefix.is_empty() {
            ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        } else {
            let n = buf.remaining().min(self.prefix.len());
            buf.put_slice(&self.prefix.split_to(n));
        }
        if buf.filled().len() > before {
            self.activity.bytes_came();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<'_, S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
