//! A request's body, read whole within the limits of size, time and memory, or thrown away.
//!
//! All bodies in flight share two budgets. A large one gets its part at once or is refused, so
//! that its sender can go to another replica. A small one waits for its turn: what it takes is
//! taken as bytes arrive, so a client that only announces a body holds up nobody. It never looks
//! at what a body says.

use axum::body::{Body, Bytes, HttpBody as _};
use http_body_util::BodyExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::limits::Limits;

/// The least that a body of more than one piece gets.
const FIRST_PIECE: usize = 4096;

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// Larger than a body may be.
    TooLarge,
    /// Too many large bodies are in flight.
    Busy,
    /// It did not come in time.
    TooSlow,
    /// The client stopped in the middle, or broke the transfer coding.
    Broken,
}

/// The budgets that all bodies of a server share.
#[derive(Debug)]
pub(super) struct Bodies {
    limits: Limits,
    large: Semaphore,
    small: Semaphore,
    /// The one small body that may go beyond the budget. Without it, bodies that all have a part
    /// and all need more would wait for each other until their time is over.
    beyond: Semaphore,
}

/// What one body holds of the budgets.
#[derive(Default)]
struct Share<'a> {
    bytes: usize,
    is_large: bool,
    permits: Option<SemaphorePermit<'a>>,
    beyond: Option<SemaphorePermit<'a>>,
}

/// A whole body; its share of the budget goes back when it is dropped.
pub(super) struct Whole<'a> {
    pub(super) bytes: Bytes,
    _share: Share<'a>,
}

impl Bodies {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            large: Semaphore::new(limits.large_bodies),
            small: Semaphore::new(limits.small_bodies),
            beyond: Semaphore::new(1),
            limits,
        }
    }

    /// The whole body. On an error the rest of it is still to be read, or discarded.
    pub(super) async fn read(&self, body: &mut Body) -> Result<Whole<'_>, Unread> {
        match timeout(self.limits.body_time, self.read_in_time(body)).await {
            Ok(result) => result,
            Err(_) => Err(Unread::TooSlow),
        }
    }

    async fn read_in_time(&self, body: &mut Body) -> Result<Whole<'_>, Unread> {
        let announced = body
            .size_hint()
            .exact()
            .map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        if announced.is_some_and(|n| n > self.limits.body) {
            return Err(Unread::TooLarge);
        }
        let mut share = Share::default();
        let mut whole = Vec::new();
        if let Some(n) = announced.filter(|&n| n > self.limits.large_body) {
            // Refused now rather than half read.
            self.enlarge(&mut share, n).await?;
            whole.reserve_exact(n);
        }
        while let Some(frame) = body.frame().await {
            let Ok(piece) = frame.map_err(|_| Unread::Broken)?.into_data() else {
                continue;
            };
            if whole.is_empty() && announced == Some(piece.len()) {
                self.enlarge(&mut share, piece.len()).await?;
                return Ok(Whole {
                    bytes: piece,
                    _share: share,
                });
            }
            let needed = whole.len() + piece.len();
            if needed > self.limits.body {
                return Err(Unread::TooLarge);
            }
            if needed > share.bytes {
                // Twice what came, so that what is held is bounded by what was sent, and the
                // copying by the size.
                let end = announced.unwrap_or(self.limits.body);
                let room = (2 * needed).clamp(FIRST_PIECE.min(end), end).max(needed);
                self.enlarge(&mut share, room).await?;
                whole.reserve_exact(room - whole.len());
            }
            whole.extend_from_slice(&piece);
        }
        Ok(Whole {
            bytes: Bytes::from(whole),
            _share: share,
        })
    }

    /// Makes the share `bytes` large, if it is not yet.
    async fn enlarge<'a>(&'a self, share: &mut Share<'a>, bytes: usize) -> Result<(), Unread> {
        if bytes <= share.bytes {
            return Ok(());
        }
        if bytes > self.limits.large_body && !share.is_large {
            // Its part of the small budget goes back at the end of this block.
            let permits = self.try_large(bytes)?;
            *share = Share {
                bytes,
                is_large: true,
                permits: Some(permits),
                beyond: None,
            };
            return Ok(());
        }
        let more = bytes - share.bytes;
        if share.is_large {
            share.add(self.try_large(more)?);
        } else if share.beyond.is_none() {
            let more = u32::try_from(more).map_err(|_| Unread::TooLarge)?;
            // Both arms can be dropped at any point: a waiting place is all that is lost.
            tokio::select! {
                biased;
                Ok(permits) = self.small.acquire_many(more) => share.add(permits),
                Ok(permit) = self.beyond.acquire() => share.beyond = Some(permit),
                else => return Err(Unread::Busy),
            }
        }
        share.bytes = bytes;
        Ok(())
    }

    fn try_large(&self, bytes: usize) -> Result<SemaphorePermit<'_>, Unread> {
        let bytes = u32::try_from(bytes).map_err(|_| Unread::TooLarge)?;
        self.large.try_acquire_many(bytes).map_err(|_| Unread::Busy)
    }

    /// Reads what is left of a refused body, within limits, so that a client that writes its
    /// whole request before it reads gets to see the answer.
    pub(super) async fn discard(&self, body: &mut Body) {
        let mut seen = 0;
        let rest = async {
            while let Some(Ok(frame)) = body.frame().await {
                seen += frame.data_ref().map_or(0, Bytes::len);
                if seen > self.limits.discard {
                    break;
                }
            }
        };
        // Too slow is the same as too long: the answer goes out and the connection is closed.
        let _ = timeout(self.limits.discard_time, rest).await;
    }
}

impl<'a> Share<'a> {
    fn add(&mut self, more: SemaphorePermit<'a>) {
        match &mut self.permits {
            Some(permits) => permits.merge(more),
            None => self.permits = Some(more),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Poll};
    use std::time::Duration;

    use axum::body::HttpBody;
    use http_body_util::Full;
    use hyper::body::{Frame, SizeHint};
    use tokio::task::JoinSet;

    use super::*;

    /// A body in pieces, with or without its length announced; it may stop before its end.
    struct Pieces {
        left: VecDeque<usize>,
        announced: Option<u64>,
        stalls: bool,
        waited: bool,
    }

    impl HttpBody for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            // Each piece comes a little later than the one before.
            self.waited = !self.waited;
            if self.waited {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match self.left.pop_front() {
                Some(n) => Poll::Ready(Some(Ok(Frame::data(vec![b'x'; n].into())))),
                None if self.stalls => Poll::Pending,
                None => Poll::Ready(None),
            }
        }

        fn size_hint(&self) -> SizeHint {
            self.announced
                .map_or_else(SizeHint::default, SizeHint::with_exact)
        }
    }

    fn body(pieces: &[usize], announced: bool) -> Body {
        let announced = announced.then(|| pieces.iter().sum::<usize>() as u64);
        Body::new(Pieces {
            left: pieces.iter().copied().collect(),
            announced,
            stalls: false,
            waited: false,
        })
    }

    fn stalling(pieces: &[usize], announced: Option<u64>) -> Body {
        Body::new(Pieces {
            left: pieces.iter().copied().collect(),
            announced,
            stalls: true,
            waited: false,
        })
    }

    fn limits() -> Limits {
        Limits {
            body: 20_000,
            large_body: 1000,
            large_bodies: 64_000,
            small_bodies: 2000,
            discard: 5000,
            body_time: Duration::from_millis(100),
            discard_time: Duration::from_millis(100),
            ..Limits::default()
        }
    }

    #[tokio::test]
    async fn a_body_is_whole_or_refused_for_its_size() {
        for (pieces, announced, want, why) in [
            (&[][..], true, Ok(0), "nothing is a body too"),
            (&[10], true, Ok(10), "one piece, as most are"),
            (&[400, 500], true, Ok(900), "two pieces, announced"),
            (&[400, 500], false, Ok(900), "two pieces, length unknown"),
            (
                &[900, 900],
                false,
                Ok(1800),
                "one that turns out to be large",
            ),
            (&[900; 20], false, Ok(18_000), "one that grows and grows"),
            (&[20_000], true, Ok(20_000), "the largest"),
            (
                &[10_000, 10_000],
                false,
                Ok(20_000),
                "the largest, length unknown",
            ),
            (&[20_001], true, Err(Unread::TooLarge), "a byte more"),
            (
                &[10_000, 10_001],
                false,
                Err(Unread::TooLarge),
                "a byte more, length unknown",
            ),
        ] {
            let bodies = Bodies::new(limits());
            let got = bodies
                .read(&mut body(pieces, announced))
                .await
                .map(|w| w.bytes.len());
            assert_eq!(got, want, "{why}");
            assert_eq!(
                bodies.large.available_permits(),
                64_000,
                "{why}: all was given back"
            );
            assert_eq!(
                bodies.small.available_permits(),
                2000,
                "{why}: all was given back"
            );
        }
    }

    #[tokio::test]
    async fn large_bodies_share_a_budget_and_are_refused_beyond_it() {
        let bodies = Bodies::new(limits());
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(bodies.read(&mut body(&[20_000], true)).await.ok().unwrap());
        }
        for announced in [true, false] {
            let got = bodies
                .read(&mut body(&[5000], announced))
                .await
                .map(|w| w.bytes.len());
            assert_eq!(
                got,
                Err(Unread::Busy),
                "60 kB are out and 5 do not fit in 64"
            );
        }
        assert!(
            bodies.read(&mut body(&[900], true)).await.is_ok(),
            "a small one is not hindered"
        );
        drop(held);
        assert!(
            bodies.read(&mut body(&[5000], true)).await.is_ok(),
            "there is room again"
        );
    }

    #[tokio::test]
    async fn small_bodies_wait_for_each_other_and_never_for_ever() {
        let bodies = Bodies::new(limits());
        let first = bodies.read(&mut body(&[1000], true)).await;
        let second = bodies.read(&mut body(&[1000], true)).await;
        let beyond = bodies.read(&mut body(&[1000], true)).await;
        assert!(
            first.is_ok() && second.is_ok() && beyond.is_ok(),
            "one goes beyond the budget"
        );
        let mut waiting = body(&[1000], true);
        let waiting = bodies.read(&mut waiting);
        let free = async {
            tokio::task::yield_now().await;
            drop(first);
        };
        let (got, ()) = tokio::join!(waiting, free);
        assert!(got.is_ok(), "the next waits until one is done");
    }

    /// The old danger: each has a part, each waits for the rest, and none goes on.
    #[tokio::test]
    async fn bodies_that_all_have_a_part_and_need_more_come_through() {
        let bodies = Arc::new(Bodies::new(Limits {
            body: 100_000,
            large_body: 100_000,
            small_bodies: 40_000,
            ..Limits::default()
        }));
        let mut reads = JoinSet::new();
        for _ in 0..10 {
            let bodies = Arc::clone(&bodies);
            reads.spawn(async move {
                bodies
                    .read(&mut body(&[1000; 30], true))
                    .await
                    .map(|w| w.bytes.len())
            });
        }
        while let Some(read) = reads.join_next().await {
            assert_eq!(read.unwrap(), Ok(30_000));
        }
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_given_up_and_holds_up_nobody() {
        let bodies = Bodies::new(limits());
        let mut slow: Vec<_> = (0..10).map(|_| stalling(&[], Some(1000))).collect();
        let slow = slow.iter_mut().map(|b| bodies.read(b)).map(Box::pin);
        let mut slow: Vec<_> = slow.collect();
        for read in &mut slow {
            let mut context = Context::from_waker(std::task::Waker::noop());
            assert!(read.as_mut().poll(&mut context).is_pending());
        }
        assert!(
            bodies.read(&mut body(&[900], true)).await.is_ok(),
            "announcing takes nothing"
        );
        for read in slow {
            assert_eq!(read.await.map(|w| w.bytes.len()), Err(Unread::TooSlow));
        }
    }

    #[tokio::test]
    async fn discarding_ends_by_itself() {
        let bodies = Bodies::new(limits());
        bodies
            .discard(&mut Body::new(Full::new(Bytes::from_static(b"short"))))
            .await;
        bodies.discard(&mut body(&[1000; 1000], false)).await;
        bodies.discard(&mut stalling(&[10], None)).await;
    }
}
