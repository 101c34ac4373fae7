//! The admission port's paths: a POST of JSON goes to the handler, all else is told why not.
//!
//! It knows HTTP and nothing of reviews. A panic of the handler costs that request alone, and no
//! error answer repeats anything that the client sent.

use std::error::Error;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::post;
use tokio::time::Instant;

use super::body::{Bodies, Unread};
use super::limits::Limits;
use crate::admission::{Answer, Facts};
use crate::metrics::Metrics;

/// What the API server calls us for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `POST /mutate`: Pods.
    Mutate,
    /// `POST /validate`: ConfigMaps that hold policies.
    Validate,
}

/// What a handler says to a review.
pub enum Reply {
    /// The answer.
    Now(Answer),
    /// There is nothing to decide with yet: 503 and this sentence, and the `failurePolicy` says what
    /// becomes of the Pod. Better than a Pod that silently lacks what it needs.
    Unready(&'static str),
    /// An answer, and a wait after which there may be a better one: the handler is asked again.
    Later {
        /// What to say if it has been asked often enough.
        answer: Answer,
        /// Bounded by whoever made it; a client that goes away drops it.
        wait: Wait,
    },
}

/// Something to wait for.
pub type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A request waits at most this often: once for its namespace, and once for what the rules of that
/// namespace make it need.
const WAITS: usize = 2;

/// What answers reviews; the error's `Display` is the sentence of a 400.
pub trait Handler<E>:
    Fn(Endpoint, &[u8]) -> Result<Reply, E> + Clone + Send + Sync + 'static
{
}

impl<E, H: Fn(Endpoint, &[u8]) -> Result<Reply, E> + Clone + Send + Sync + 'static> Handler<E>
    for H
{
}

struct Port<H> {
    handler: H,
    bodies: Bodies,
    metrics: Arc<Metrics>,
}

pub(super) fn router<H, E>(handler: H, limits: Limits, metrics: Arc<Metrics>) -> Router
where
    H: Handler<E>,
    E: Error,
{
    let port = Arc::new(Port {
        handler,
        bodies: Bodies::new(limits),
        metrics,
    });
    Router::new()
        .route(
            "/mutate",
            post(|port, request| admit(Endpoint::Mutate, port, request)),
        )
        .route(
            "/validate",
            post(|port, request| admit(Endpoint::Validate, port, request)),
        )
        .method_not_allowed_fallback(wrong_method::<H>)
        .fallback(wrong_path::<H>)
        .with_state(port)
}

async fn admit<H, E>(
    endpoint: Endpoint,
    State(port): State<Arc<Port<H>>>,
    request: Request,
) -> Response
where
    H: Handler<E>,
    E: Error,
{
    let start = Instant::now();
    let _in_flight = port.metrics.in_flight();
    let (head, mut body) = request.into_parts();
    if !is_json(&head.headers) {
        let sentence = "the content type must be `application/json`";
        return port
            .refuse(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                sentence,
                &head.headers,
                body,
            )
            .await;
    }
    let whole = match port.bodies.read(&mut body).await {
        Ok(whole) => whole,
        Err(unread) => return port.unread(unread, &head.headers, body).await,
    };
    let answer = ask(&port.handler, endpoint, &whole.bytes).await;
    drop(whole);
    match answer {
        Told::Answer(Answer { body, facts, .. }) => {
            let took = start.elapsed();
            port.metrics.admitted(&facts, took);
            log(endpoint, &facts, took);
            let mut response = Response::new(Body::from(body));
            response.headers_mut().insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            );
            response
        }
        Told::Unready(why) => {
            tracing::warn!(?endpoint, why, "asked too early");
            sentence(StatusCode::SERVICE_UNAVAILABLE, why)
        }
        Told::NoReview(error) => {
            port.metrics.refused();
            tracing::debug!(?endpoint, reason = %error, "not a review");
            sentence(StatusCode::BAD_REQUEST, &error.to_string())
        }
        Told::Panicked => {
            port.metrics.panicked();
            sentence(
                StatusCode::INTERNAL_SERVER_ERROR,
                "pullpass failed on this request; its log says where",
            )
        }
    }
}

/// What became of asking the handler.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are answers, and a box would be an allocation for each"
)]
enum Told<E> {
    Answer(Answer),
    Unready(&'static str),
    NoReview(E),
    /// The handler, or what it waited for, did.
    Panicked,
}

/// Asks the handler, again after each wait. Where nothing is waited for, nothing is allocated.
async fn ask<H, E>(handler: &H, endpoint: Endpoint, body: &[u8]) -> Told<E>
where
    H: Handler<E>,
    E: Error,
{
    for asked in 0.. {
        // The handler holds no state of ours that a panic could leave half changed.
        let wait = match catch_unwind(AssertUnwindSafe(|| handler(endpoint, body))) {
            Ok(Ok(Reply::Later { wait, .. })) if asked < WAITS => wait,
            Ok(Ok(Reply::Now(answer) | Reply::Later { answer, .. })) => {
                return Told::Answer(answer);
            }
            Ok(Ok(Reply::Unready(why))) => return Told::Unready(why),
            Ok(Err(error)) => return Told::NoReview(error),
            Err(_) => break,
        };
        if over(wait).await.is_err() {
            break;
        }
    }
    Told::Panicked
}

/// The end of a wait. A panic in it is the request's, as one of the handler.
async fn over(mut wait: Wait) -> std::thread::Result<()> {
    poll_fn(
        |cx| match catch_unwind(AssertUnwindSafe(|| wait.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        },
    )
    .await
}

fn log(endpoint: Endpoint, facts: &Facts, took: Duration) {
    // As u128 it would be a string in JSON.
    let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    tracing::debug!(
        ?endpoint,
        uid = facts.uid,
        namespace = facts.namespace,
        pod = facts.pod,
        operation = facts.operation.as_str(),
        outcome = facts.outcome.as_str(),
        rules = facts.rules,
        held = facts.held,
        microseconds,
        "decided"
    );
}

/// `application/json`, in any case, with any parameters.
fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

async fn wrong_method<H>(State(port): State<Arc<Port<H>>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let sentence = "the method must be POST";
    let mut response = port
        .refuse(
            StatusCode::METHOD_NOT_ALLOWED,
            sentence,
            &head.headers,
            body,
        )
        .await;
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static("POST"));
    response
}

async fn wrong_path<H>(State(port): State<Arc<Port<H>>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let sentence = "no such path; reviews go to `/mutate` or `/validate`";
    port.refuse(StatusCode::NOT_FOUND, sentence, &head.headers, body)
        .await
}

impl<H> Port<H> {
    async fn unread(&self, unread: Unread, headers: &HeaderMap, body: Body) -> Response {
        match unread {
            Unread::TooLarge => {
                let sentence = "the body is larger than an admission review may be (20 MiB)";
                self.refuse(StatusCode::PAYLOAD_TOO_LARGE, sentence, headers, body)
                    .await
            }
            Unread::Busy => {
                tracing::warn!("too many large reviews at once, one was refused");
                let sentence = "too many large reviews are in flight; try again";
                self.refuse(StatusCode::SERVICE_UNAVAILABLE, sentence, headers, body)
                    .await
            }
            Unread::TooSlow => closing(sentence(
                StatusCode::REQUEST_TIMEOUT,
                "the body did not come in time",
            )),
            Unread::Broken => closing(sentence(StatusCode::BAD_REQUEST, "the body broke off")),
        }
    }

    async fn refuse(
        &self,
        status: StatusCode,
        text: &str,
        headers: &HeaderMap,
        mut body: Body,
    ) -> Response {
        if headers.contains_key(header::EXPECT) {
            // The client waits for our word before it sends the body; reading would ask for it.
            return closing(sentence(status, text));
        }
        self.bodies.discard(&mut body).await;
        sentence(status, text)
    }
}

fn sentence(status: StatusCode, text: &str) -> Response {
    let mut response = Response::new(Body::from(format!("{text}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// Ends the connection after this answer: what the client sends next is not a request.
pub(super) fn closing(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_known_by_its_media_type_alone() {
        for (value, want, why) in [
            (
                Some("application/json"),
                true,
                "as the API server writes it",
            ),
            (
                Some("application/json; charset=utf-8"),
                true,
                "with a parameter",
            ),
            (
                Some("Application/JSON ;q=1"),
                true,
                "in another case, with a space",
            ),
            (Some("application/jsonp"), false, "something longer"),
            (Some("text/json, application/json"), false, "a list"),
            (Some("text/plain"), false, "another type"),
            (Some(""), false, "empty"),
            (None, false, "absent"),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(value));
            }
            assert_eq!(is_json(&headers), want, "{value:?}: {why}");
        }
    }
}
