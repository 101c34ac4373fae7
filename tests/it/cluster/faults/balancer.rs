//! One address in front of several webhooks, as a Service is: new connections go in turn to those that were ready when
//! last looked at.
//!
//! It looks from time to time, as nodes learn of a Pod's end late: until then it sends connections to a webhook that is
//! on its way down, and refuses when that is gone already. It never ends a connection that is open.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::plane::{RUNTIME, wait_until};
use crate::webhook::client::get;
use crate::webhook::server::Server;

/// From one look at readiness to the next.
pub(super) const LOOKS: Duration = Duration::from_millis(500);

/// It serves until it is dropped.
pub(super) struct Balancer {
    pub(super) address: SocketAddr,
    ends: Arc<Ends>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Ends {
    all: Mutex<Vec<End>>,
    connections: AtomicUsize,
}

/// A webhook behind it.
struct End {
    admission: SocketAddr,
    admin: SocketAddr,
    ready: bool,
}

impl Balancer {
    /// In front of nobody yet.
    pub(super) fn start() -> Self {
        let listener = RUNTIME.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let ends = Arc::new(Ends::default());
        let looked_at = Arc::downgrade(&ends);
        std::thread::spawn(move || {
            while let Some(ends) = looked_at.upgrade() {
                ends.look();
                drop(ends);
                std::thread::sleep(LOOKS);
            }
        });
        let accepting = RUNTIME.spawn(accept(listener, Arc::clone(&ends)));
        Self {
            address,
            ends,
            accepting,
        }
    }

    /// Puts a webhook behind it, and waits until connections are sent there.
    pub(super) fn add(&self, server: &Server) {
        self.ends.all.lock().unwrap().push(End {
            admission: server.admission,
            admin: server.admin,
            ready: false,
        });
        wait_until("connections go there", || self.sends_to(server));
    }

    /// Waits until it has seen that a webhook ends, and forgets it.
    pub(super) fn leaves(&self, server: &Server) {
        wait_until("no connections go there", || !self.sends_to(server));
        let mut all = self.ends.all.lock().unwrap();
        all.retain(|end| end.admission != server.admission);
    }

    fn sends_to(&self, server: &Server) -> bool {
        let all = self.ends.all.lock().unwrap();
        all.iter()
            .any(|end| end.ready && end.admission == server.admission)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Ends {
    /// Looks at each, without being in the way of connections.
    fn look(&self) {
        let all = self.all.lock().unwrap();
        let admins: Vec<SocketAddr> = all.iter().map(|end| end.admin).collect();
        drop(all);
        for admin in admins {
            let ready = get(admin, "/readyz").is_ok_and(|answer| answer.status == 200);
            let mut all = self.all.lock().unwrap();
            let ends = all.iter_mut().filter(|end| end.admin == admin);
            ends.for_each(|end| end.ready = ready);
        }
    }

    /// Where the next connection goes.
    fn next(&self) -> Option<SocketAddr> {
        let all = self.all.lock().unwrap();
        let ready: Vec<_> = all.iter().filter(|end| end.ready).collect();
        let turn = self.connections.fetch_add(1, Ordering::Relaxed);
        let end = ready.get(turn.checked_rem(ready.len())?)?;
        Some(end.admission)
    }
}

async fn accept(listener: TcpListener, ends: Arc<Ends>) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        // To drop it is to refuse it.
        if let Some(end) = ends.next() {
            tokio::spawn(join(client, end));
        }
    }
}

/// Carries bytes both ways until both sides are done.
async fn join(mut client: TcpStream, end: SocketAddr) {
    if let Ok(mut server) = TcpStream::connect(end).await {
        for side in [&client, &server] {
            side.set_nodelay(true).unwrap();
        }
        // What one side cuts off, the other side sees.
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}
