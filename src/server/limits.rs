//! How much and how long: every bound that the server keeps, with where its number comes from.
//!
//! Only numbers. Tests make them smaller; nothing else does.

use std::time::Duration;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The largest review. The API server escapes `<`, `>` and `&` to six bytes each, so a stored Pod
/// of 1.5 MB (etcd's limit) makes a review of 9 MB, and an update carries two.
pub const BODY: usize = 20 * MIB;
/// From here on a body counts as large.
pub const LARGE_BODY: usize = MIB;
/// What all large bodies in flight may hold together: three of the largest.
pub const LARGE_BODIES: usize = 64 * MIB;
/// What all other bodies in flight may hold together; beyond it they wait for each other. About
/// 800 reviews of ordinary size, twice what an API server has in flight by default.
pub const SMALL_BODIES: usize = 8 * MIB;
/// How much of a refused body is read so that its sender comes to read the answer.
pub const DISCARD: usize = 32 * MIB;
/// For how long.
pub const DISCARD_TIME: Duration = Duration::from_secs(5);
/// From the accepted connection to the end of the TLS handshake.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// From the first byte of a request to the end of its head.
pub const HEAD_TIME: Duration = Duration::from_secs(10);
/// From the end of the head to the end of the body.
pub const BODY_TIME: Duration = Duration::from_secs(10);
/// For a client to take its answer.
pub const RESPONSE_TIME: Duration = Duration::from_secs(10);
/// For a connection without a request. kube-apiserver closes after 90 s, so that it and not we
/// close: a request sent into our close would fail.
pub const IDLE_TIME: Duration = Duration::from_mins(2);
/// For a client without a request to go once it was asked to. A Go program does within a round
/// trip, as soon as it has a moment to look.
pub const LEAVE_TIME: Duration = Duration::from_secs(5);
/// For a connection that we close to say goodbye.
pub const CLOSE_TIME: Duration = Duration::from_secs(1);
/// Connections on the admission port. kube-apiserver keeps 25 idle ones for each of its replicas.
pub const CONNECTIONS: usize = 4096;
/// Connections that may be in the middle of something at once; each takes up to about 50 kB then,
/// while one that waits takes a tenth. kube-apiserver has at most 400 requests that write in
/// flight, and what is in flight here is over within a millisecond.
pub const AWAKE: usize = 256;
/// Connections on the admin port: two probes and a few scrapers.
pub const ADMIN_CONNECTIONS: usize = 64;
/// For connections that are open when the drain is over, and those that still come; with the
/// default drain less than a Pod's usual grace of 30 s.
pub const FINISH_TIME: Duration = Duration::from_secs(15);
/// Between two looks at the certificate files. The kubelet itself brings a changed Secret within
/// about a minute.
pub const CERTIFICATE_POLL: Duration = Duration::from_secs(2);
/// Between two calls of ourselves.
pub const SELF_CALL: Duration = Duration::from_secs(5);

/// The bounds of one server; [`Limits::default`] is the contract's.
#[derive(Clone, Debug)]
#[expect(
    missing_docs,
    reason = "each is told at the constant that is its default"
)]
pub struct Limits {
    pub body: usize,
    pub large_body: usize,
    pub large_bodies: usize,
    pub small_bodies: usize,
    pub discard: usize,
    pub discard_time: Duration,
    pub handshake_time: Duration,
    pub head_time: Duration,
    pub body_time: Duration,
    pub response_time: Duration,
    pub idle_time: Duration,
    pub leave_time: Duration,
    pub close_time: Duration,
    pub connections: usize,
    pub awake: usize,
    pub admin_connections: usize,
    pub finish_time: Duration,
    pub certificate_poll: Duration,
    pub self_call: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: BODY,
            large_body: LARGE_BODY,
            large_bodies: LARGE_BODIES,
            small_bodies: SMALL_BODIES,
            discard: DISCARD,
            discard_time: DISCARD_TIME,
            handshake_time: HANDSHAKE_TIME,
            head_time: HEAD_TIME,
            body_time: BODY_TIME,
            response_time: RESPONSE_TIME,
            idle_time: IDLE_TIME,
            leave_time: LEAVE_TIME,
            close_time: CLOSE_TIME,
            connections: CONNECTIONS,
            awake: AWAKE,
            admin_connections: ADMIN_CONNECTIONS,
            finish_time: FINISH_TIME,
            certificate_poll: CERTIFICATE_POLL,
            self_call: SELF_CALL,
        }
    }
}
