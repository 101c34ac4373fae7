//! A proxy of the tests between a controller and a real API server: it answers some writes itself, as an API server would on
//! a bad day, and counts the calls.
//!
//! It is no API server: what it does not answer itself is answered by the real one, byte by byte, watches included.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::plane::{Plane, RUNTIME, User};

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The real one's.
    Real,
    /// This status, and the write does not reach the API server.
    Instead(u16),
    /// This status though the write was carried out.
    Lost(u16),
    /// No answer at all: the connection is cut.
    Cut,
}

/// Whether the n-th write of Secrets, ConfigMaps and Pods has another answer.
type Rule = Box<dyn Fn(usize) -> Answer + Send>;

/// A proxy; it ends when it is dropped.
pub(super) struct Between {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    client: kube::Client,
    rule: Mutex<Rule>,
    /// Of everything but watches, and what was answered.
    calls: Mutex<Vec<(Instant, String, u16)>>,
}

impl Between {
    pub(super) fn start(plane: &Plane, rule: impl Fn(usize) -> Answer + Send + 'static) -> Self {
        let client = plane.stranger();
        let listener = RUNTIME.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            client,
            rule: Mutex::new(Box::new(rule)),
            calls: Mutex::default(),
        });
        let accepting = RUNTIME.spawn(accept(listener, Arc::clone(&shared)));
        Self {
            address,
            shared,
            accepting,
        }
    }

    /// A kubeconfig of this user that leads here.
    pub(super) fn kubeconfig(&self, user: &User) -> std::path::PathBuf {
        let text = std::fs::read_to_string(&user.kubeconfig).unwrap();
        let mut config: Value = serde_json::from_str(&text).unwrap();
        config["clusters"][0]["cluster"] = json!({"server": format!("http://{}", self.address)});
        let path = user
            .kubeconfig
            .with_extension(format!("{}.between", self.address.port()));
        std::fs::write(&path, config.to_string()).unwrap();
        path
    }

    /// From now on writes are answered so, counted anew.
    pub(super) fn answers(&self, rule: impl Fn(usize) -> Answer + Send + 'static) {
        *self.shared.rule.lock().unwrap() = Box::new(rule);
        self.shared.calls.lock().unwrap().clear();
    }

    /// All writes since then: what was written, and what was answered; 0 is no answer.
    pub(super) fn writes(&self) -> Vec<(String, u16)> {
        let calls = self.shared.calls.lock().unwrap();
        let writes = calls.iter().filter(|(_, what, _)| !what.starts_with("GET"));
        writes
            .map(|(_, what, status)| (what.clone(), *status))
            .collect()
    }

    /// When each was made.
    pub(super) fn timed(&self) -> Vec<(Instant, String)> {
        let calls = self.shared.calls.lock().unwrap();
        let writes = calls.iter().filter(|(_, what, _)| !what.starts_with("GET"));
        writes.map(|(at, what, _)| (*at, what.clone())).collect()
    }

    /// The most calls within any one second.
    pub(super) fn rush(&self) -> usize {
        let calls = self.shared.calls.lock().unwrap();
        let within = |(from, _, _): &(Instant, String, u16)| {
            let second = |(at, _, _): &&(Instant, String, u16)| {
                at.checked_duration_since(*from)
                    .is_some_and(|after| after < Duration::from_secs(1))
            };
            calls.iter().filter(second).count()
        };
        calls.iter().map(within).max().unwrap_or_default()
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let shared = Arc::clone(&shared);
                async move { shared.answer(request).await }
            });
            // A side that goes away ends it.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// Makes hyper cut the connection.
#[derive(Debug)]
struct CutOff;

impl std::fmt::Display for CutOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut off")
    }
}

impl std::error::Error for CutOff {}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, CutOff> {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let path = uri.path().to_owned();
        let is_watch = uri.query().is_some_and(|query| query.contains("watch="));
        let written = ["/secrets/", "/configmaps/", "/pods/"];
        let is_write = method != Method::GET && written.iter().any(|part| path.contains(part));
        let number = {
            let mut calls = self.calls.lock().unwrap();
            let number = calls
                .iter()
                .filter(|(_, what, _)| !what.starts_with("GET"))
                .count();
            if !is_watch {
                calls.push((Instant::now(), format!("{method} {path}"), 0));
            }
            calls.len().checked_sub(1).map(|place| (place, number))
        };
        let answer = match (is_write, number) {
            (true, Some((_, number))) => (self.rule.lock().unwrap())(number + 1),
            _ => Answer::Real,
        };
        let response = match answer {
            Answer::Cut => Err(CutOff),
            Answer::Instead(status) => Ok(refusal(status)),
            Answer::Lost(status) => self.pass(request).await.map(|_| refusal(status)),
            Answer::Real => self.pass(request).await,
        };
        if let (false, Some((place, _)), Ok(response)) = (is_watch, number, &response) {
            let mut calls = self.calls.lock().unwrap();
            if let Some(call) = calls.get_mut(place) {
                call.2 = response.status().as_u16();
            }
        }
        response
    }

    async fn pass(&self, request: Request<Incoming>) -> Result<Response<Body>, CutOff> {
        let (mut head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| CutOff)?.to_bytes();
        head.headers.remove("host");
        let request = Request::from_parts(head, Body::from(body.to_vec()));
        let answer = self.client.send(request).await.map_err(|_| CutOff)?;
        let (mut head, body) = answer.into_parts();
        // It belongs to the other connection.
        for name in ["connection", "transfer-encoding", "content-length"] {
            head.headers.remove(name);
        }
        head.version = hyper::Version::HTTP_11;
        Ok(Response::from_parts(head, body))
    }
}

/// A refusal as API servers word it.
fn refusal(code: u16) -> Response<Body> {
    let (reason, message) = match code {
        409 => (
            "Conflict",
            "the object has been modified; please apply your changes to the latest version",
        ),
        429 => (
            "TooManyRequests",
            "the server has received too many requests and has asked us to try again later",
        ),
        503 => (
            "ServiceUnavailable",
            "the server is currently unable to handle the request",
        ),
        _ => ("InternalError", "etcdserver: request timed out"),
    };
    let mut status = json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "code": code, "reason": reason, "message": message,
    });
    let mut response = Response::builder()
        .status(code)
        .header("content-type", "application/json");
    if code == 429 {
        status["details"] = json!({"retryAfterSeconds": 2});
        response = response.header("retry-after", "2");
    }
    response
        .body(Body::from(status.to_string().into_bytes()))
        .unwrap()
}
