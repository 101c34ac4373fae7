//! What one connection is doing, since when, and until when it may.
//!
//! hyper's own head timeout also runs while a connection is idle between two requests, so it
//! cannot tell a slow head from a kept-alive connection. Here the socket's reads and writes are
//! watched instead: the first byte after an idle time starts a head, a flushed answer ends a
//! request. It watches bytes come and go and never looks at them.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::limits::Limits;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing has come yet.
    Opening,
    /// The TLS handshake.
    Handshake,
    /// Waiting for a request.
    Idle,
    /// As idle, and its client was asked to go: it does, or its request was on the way already.
    Leaving,
    /// Reading a request's head.
    Head,
    /// Reading the body and answering; the body has its own time.
    Busy,
    /// Sending the answer.
    Answering,
    /// Saying goodbye.
    Closing,
}

impl Phase {
    const BITS: u32 = 3;

    const fn code(self) -> u64 {
        match self {
            Self::Handshake => 0,
            Self::Idle => 1,
            Self::Head => 2,
            Self::Busy => 3,
            Self::Answering => 4,
            Self::Closing => 5,
            Self::Opening => 6,
            Self::Leaving => 7,
        }
    }

    const fn of(code: u64) -> Self {
        match code & ((1 << Self::BITS) - 1) {
            0 => Self::Handshake,
            1 => Self::Idle,
            2 => Self::Head,
            3 => Self::Busy,
            4 => Self::Answering,
            6 => Self::Opening,
            7 => Self::Leaving,
            _ => Self::Closing,
        }
    }
}

/// How a connection was told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// With a goodbye.
    Finish,
    /// Now.
    Drop,
}

/// A connection's phase and the moment it began, in one word that others may read at any time.
#[derive(Debug)]
pub(super) struct Activity {
    start: Instant,
    /// Milliseconds from `start`, then [`Phase::BITS`] bits of phase.
    word: AtomicU64,
    /// An [`Order`]: 0 none, 1 finish, 2 drop.
    order: AtomicU8,
    wake: Notify,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            word: AtomicU64::new(Phase::Opening.code()),
            order: AtomicU8::new(0),
            wake: Notify::new(),
        }
    }

    fn now(&self, phase: Phase) -> u64 {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        (millis << Phase::BITS) | phase.code()
    }

    pub(super) fn phase(&self) -> Phase {
        Phase::of(self.word.load(Ordering::Relaxed))
    }

    /// When the phase began.
    pub(super) fn since(&self) -> Instant {
        self.start + Duration::from_millis(self.word.load(Ordering::Relaxed) >> Phase::BITS)
    }

    /// The phase changes, now.
    pub(super) fn enter(&self, phase: Phase) {
        self.word.store(self.now(phase), Ordering::Relaxed);
    }

    /// The phase changes, unless it is not `from` any more.
    fn pass(&self, from: Phase, to: Phase) -> bool {
        let word = self.word.load(Ordering::Relaxed);
        Phase::of(word) == from
            && self
                .word
                .compare_exchange(word, self.now(to), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Bytes came from the client; if it was idle, a head begins.
    pub(super) fn bytes_came(&self) {
        let _ = self.pass(Phase::Idle, Phase::Head) || self.pass(Phase::Leaving, Phase::Head);
    }

    /// Whether the connection was idle, and counts from now on as one whose client is asked to go.
    pub(super) fn leaves(&self) -> bool {
        self.pass(Phase::Idle, Phase::Leaving)
    }

    /// When the phase must be over; `None` while the request has a time of its own.
    pub(super) fn due(&self, limits: &Limits) -> Option<Instant> {
        let time = match self.phase() {
            // Both together have the one time.
            Phase::Opening | Phase::Handshake => return Some(self.start + limits.handshake_time),
            Phase::Idle => limits.idle_time,
            Phase::Leaving => limits.leave_time,
            Phase::Head => limits.head_time,
            Phase::Busy => return None,
            Phase::Answering => limits.response_time,
            Phase::Closing => limits.close_time,
        };
        Some(self.since() + time)
    }

    /// Makes the connection give its place to another, if it has no request in flight.
    pub(super) fn give_way(&self) -> bool {
        let order = match self.phase() {
            phase @ (Phase::Idle | Phase::Leaving) => {
                self.pass(phase, Phase::Closing).then_some(Order::Finish)
            }
            phase @ (Phase::Opening | Phase::Handshake | Phase::Head) => {
                self.pass(phase, Phase::Closing).then_some(Order::Drop)
            }
            Phase::Busy | Phase::Answering | Phase::Closing => None,
        };
        order.inspect(|&order| self.tell(order)).is_some()
    }

    /// Ends the connection now, whatever it is doing.
    pub(super) fn cut_off(&self) {
        self.tell(Order::Drop);
    }

    fn tell(&self, order: Order) {
        let code = match order {
            Order::Finish => 1,
            Order::Drop => 2,
        };
        self.order.fetch_max(code, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Waits for an order. Can be dropped at any point: an order that came is not lost.
    pub(super) async fn order(&self) -> Order {
        self.wake.notified().await;
        if self.order.load(Ordering::Relaxed) == 1 {
            Order::Finish
        } else {
            Order::Drop
        }
    }
}

/// A socket whose reads and writes tell its [`Activity`]. It stands below TLS, so that a record
/// that never becomes whole counts as a head too.
#[derive(Debug)]
pub(super) struct Watched<'a, Io> {
    io: Io,
    activity: &'a Activity,
}

impl<'a, Io> Watched<'a, Io> {
    pub(super) fn new(io: Io, activity: &'a Activity) -> Self {
        Self { io, activity }
    }

    pub(super) fn inner(&self) -> &Io {
        &self.io
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Watched<'_, Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.activity.bytes_came();
        }
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Watched<'_, Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.activity.pass(Phase::Answering, Phase::Idle);
        Poll::Ready(Ok(()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_keeps_its_code() {
        use Phase::{Answering, Busy, Closing, Handshake, Head, Idle, Leaving, Opening};
        for phase in [
            Opening, Handshake, Idle, Leaving, Head, Busy, Answering, Closing,
        ] {
            assert_eq!(Phase::of(phase.code()), phase);
        }
    }

    #[test]
    fn each_phase_has_its_own_time() {
        let limits = Limits::default();
        for (phase, want, why) in [
            (Phase::Opening, Some(10), "silence is a slow handshake"),
            (Phase::Handshake, Some(10), "the contract's"),
            (Phase::Idle, Some(120), "longer than the API server's 90 s"),
            (Phase::Leaving, Some(5), "far longer than a round trip"),
            (Phase::Head, Some(10), "the contract's"),
            (Phase::Busy, None, "the body has a time of its own"),
            (
                Phase::Answering,
                Some(10),
                "a client that never reads must not stay",
            ),
            (Phase::Closing, Some(1), "a goodbye is a courtesy"),
        ] {
            let activity = Activity::new();
            activity.enter(phase);
            let due = activity
                .due(&limits)
                .map(|due| (due - activity.since()).as_secs());
            assert_eq!(due, want, "{phase:?}: {why}");
        }
    }

    #[test]
    fn only_a_connection_without_a_request_gives_way() {
        for (phase, want, why) in [
            (Phase::Idle, true, "it waits for work"),
            (Phase::Leaving, true, "it was to go anyway"),
            (Phase::Opening, true, "it has not said anything yet"),
            (Phase::Handshake, true, "it has not asked anything yet"),
            (Phase::Head, true, "its request is not there yet"),
            (Phase::Busy, false, "a request is in flight"),
            (Phase::Answering, false, "an answer is in flight"),
            (Phase::Closing, false, "it goes already"),
        ] {
            let activity = Activity::new();
            activity.enter(phase);
            assert_eq!(activity.give_way(), want, "{phase:?}: {why}");
        }
    }

    #[tokio::test]
    async fn bytes_start_a_head_only_after_an_idle_time() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        for (phase, want, why) in [
            (Phase::Idle, Phase::Head, "the first byte of a head"),
            (Phase::Leaving, Phase::Head, "it was on its way already"),
            (Phase::Handshake, Phase::Handshake, "a hello is no request"),
            (Phase::Busy, Phase::Busy, "a body"),
            (Phase::Closing, Phase::Closing, "too late"),
        ] {
            let activity = Activity::new();
            let (mut client, server) = tokio::io::duplex(64);
            let mut server = Watched::new(server, &activity);
            activity.enter(phase);
            client.write_all(b"x").await.unwrap();
            server.read_u8().await.unwrap();
            assert_eq!(activity.phase(), want, "{why}");
        }
    }
}
