//! An API server that misbehaves as told: it answers lists and watches of a webhook from memory, without TLS.
//!
//! A real one shows what it does; this one shows what to a real one cannot be done at will: objects of a wrong shape,
//! watches that end in each way, refusals, silence.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

use serde_json::{Value, json};

use crate::plane::wait_until;
use crate::webhook::server::{Place, Server};

/// pullpass's own namespace there.
pub(super) const OWN: &str = "pullpass-system";

/// It listens until the test binary ends; what it says can be changed at any time.
pub(super) struct Fake {
    address: SocketAddr,
    state: Arc<State>,
}

/// A request for a list or a watch.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) watch: bool,
    /// Where the watch is to begin.
    pub(super) version: String,
    pub(super) at: Instant,
}

/// What becomes of the next requests for a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mood {
    #[default]
    Answers,
    /// It takes requests and says nothing.
    Silent,
    /// Lists and watches get this status.
    Refuses(u16),
    /// Lists are answered, watches get this status.
    RefusesWatches(u16),
}

#[derive(Default)]
struct State {
    resources: Mutex<HashMap<String, Resource>>,
    changed: Condvar,
}

#[derive(Default)]
struct Resource {
    items: Vec<Value>,
    version: u64,
    mood: Mood,
    watchers: Vec<TcpStream>,
    asked: Vec<Asked>,
}

impl Fake {
    /// One that holds nothing.
    pub(super) fn start() -> Self {
        let address = Self::reserve();
        Self::start_at(address)
    }

    /// An address at which nobody listens, nor will by chance: others use 127.0.0.1.
    pub(super) fn reserve() -> SocketAddr {
        let listener = TcpListener::bind("127.77.0.1:0").unwrap();
        listener.local_addr().unwrap()
    }

    pub(super) fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let state = Arc::new(State::default());
        // Its threads live as long as the webhook keeps its connections.
        std::thread::spawn({
            let state = Arc::clone(&state);
            move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    let state = Arc::clone(&state);
                    std::thread::spawn(move || state.serve(&stream));
                }
            }
        });
        Self { address, state }
    }

    /// Starts a webhook that asks an API server at this address.
    pub(super) fn webhook_of(address: SocketAddr) -> Server {
        let place = Place::with("");
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": {"server": format!("http://{address}")}}],
            "users": [{"name": "nobody", "user": {}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "nobody"}}],
        });
        place.put("kubeconfig", &kubeconfig.to_string());
        place.start(&["--kubeconfig", "kubeconfig", "--namespace", OWN])
    }

    pub(super) fn webhook(&self) -> Server {
        Self::webhook_of(self.address)
    }

    /// From now on lists of a resource have these objects: `status` are the ConfigMaps in which a controller says what
    /// stands, `configmaps` those with policies.
    pub(super) fn holds(&self, resource: &str, items: &[Value]) {
        self.change(resource, |resource| resource.items = items.to_vec());
    }

    pub(super) fn becomes(&self, resource: &str, mood: Mood) {
        self.change(resource, |resource| resource.mood = mood);
    }

    /// Sends an event to whoever watches, once somebody does. The object gets a version of its own; lists are as before.
    pub(super) fn sends(&self, resource: &str, kind: &str, object: &Value) {
        self.until_watched(resource);
        self.change(resource, |resource| {
            resource.version += 1;
            let mut object = object.clone();
            if kind != "ERROR" {
                object["metadata"]["resourceVersion"] = json!(resource.version.to_string());
            }
            let event = format!("{}\n", json!({"type": kind, "object": object}));
            for watcher in &mut resource.watchers {
                // It may have gone: then it will list anew.
                let _ = write!(watcher, "{:x}\r\n{event}\r\n", event.len());
            }
        });
    }

    /// Ends the watches in the middle of a line.
    pub(super) fn cuts(&self, resource: &str) {
        self.until_watched(resource);
        self.change(resource, |resource| {
            for mut watcher in resource.watchers.drain(..) {
                let _ = write!(watcher, "ff\r\n{{\"type\":\"MODI");
                let _ = watcher.shutdown(Shutdown::Both);
            }
        });
    }

    pub(super) fn until_watched(&self, resource: &str) {
        wait_until(&format!("{resource} are watched"), || {
            let resources = self.state.lock();
            resources
                .get(resource)
                .is_some_and(|resource| !resource.watchers.is_empty())
        });
    }

    /// All requests for a resource, the oldest first.
    pub(super) fn asked(&self, resource: &str) -> Vec<Asked> {
        let resources = self.state.lock();
        let resource = resources.get(resource);
        resource.map_or_else(Vec::new, |resource| resource.asked.clone())
    }

    fn change(&self, resource: &str, change: impl FnOnce(&mut Resource)) {
        change(self.state.lock().entry(resource.to_owned()).or_default());
        self.state.changed.notify_all();
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Resource>> {
        self.resources.lock().unwrap()
    }

    /// Answers requests until one is a watch, which has the connection for itself.
    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        let mut input = BufReader::new(stream.try_clone()?);
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if input.read_line(&mut head)? == 0 {
                    return Ok(());
                }
            }
            let target = head.split(' ').nth(1).unwrap_or_default();
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            // What a controller says is asked for beside the policies, by a label of its own.
            let name = if query.contains("labelSelector=pullpass.dev%2Fstatus") {
                "status"
            } else {
                path.rsplit('/').next().unwrap_or_default()
            };
            let value = |key: &str| {
                let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
                pairs.find_map(|(k, v)| (k == key).then(|| v.to_owned()))
            };
            let asked = Asked {
                watch: value("watch").is_some(),
                version: value("resourceVersion").unwrap_or_default(),
                at: Instant::now(),
            };
            if !self.answer(stream, name, asked)? {
                return Ok(());
            }
        }
    }

    /// Whether the connection can take a next request.
    fn answer(&self, mut stream: &TcpStream, name: &str, asked: Asked) -> io::Result<bool> {
        let watch = asked.watch;
        let mut resources = self.lock();
        resources
            .entry(name.to_owned())
            .or_default()
            .asked
            .push(asked);
        let mut resources = self
            .changed
            .wait_while(resources, |all| {
                all.get(name).is_some_and(|r| r.mood == Mood::Silent)
            })
            .unwrap();
        let resource = resources.entry(name.to_owned()).or_default();
        let (status, body) = match resource.mood {
            Mood::Refuses(status) => (status, refusal(status)),
            Mood::RefusesWatches(status) if watch => (status, refusal(status)),
            _ if watch => {
                stream.write_all(WATCH.as_bytes())?;
                resource.watchers.push(stream.try_clone()?);
                return Ok(false);
            }
            _ => {
                resource.version += 1;
                let list = json!({
                    "apiVersion": "v1", "kind": "List", "items": resource.items,
                    "metadata": {"resourceVersion": resource.version.to_string()},
                });
                (200, list)
            }
        };
        let body = body.to_string();
        let mut answer = format!("HTTP/1.1 {status} x\r\ncontent-type: application/json\r\n");
        write!(answer, "content-length: {}\r\n\r\n{body}", body.len()).unwrap();
        stream.write_all(answer.as_bytes())?;
        Ok(true)
    }
}

const WATCH: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";

/// An error as an API server words it.
pub(super) fn refusal(code: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "code": code, "reason": "Told", "message": format!("told to say {code}"),
    })
}
