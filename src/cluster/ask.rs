//! One question to an API server at a time, for commands: as whom, and for how long at most.
//!
//! A refusal keeps what the API server said. It decides nothing and asks nothing twice.

use std::time::Duration;

use kube::Client;
use serde_json::Value;

use super::explain::chain;

/// Longer than an API server waits for webhooks with their default timeout.
const ANSWER: Duration = Duration::from_secs(20);

/// A request as `kube` makes it.
pub type Asked = axum::http::Request<Vec<u8>>;

/// Whom to ask, and as whom.
pub struct Asker {
    client: Client,
    user: Option<String>,
}

/// There is no API server to ask, or it does not know the caller.
#[derive(Debug, thiserror::Error)]
#[error(
    "the cluster cannot be asked: {0}; is the API server reachable from here, and the kubeconfig right?"
)]
pub struct Unreachable(pub String);

/// Why there is no answer. Closed: whoever asks has to say what each means to him.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such object, or no such resource.
    Absent,
    /// A right is missing, or an admission check says no.
    Forbidden(String),
    /// The API server does not know the caller.
    Unknown(String),
    /// What was known of the object is not what it is now.
    Stale(String),
    /// Another status, or an answer of no use.
    Failed(String),
    /// Nobody answered.
    Unreachable(String),
}

impl Refusal {
    /// In words.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::Absent => "it is not there".to_owned(),
            Self::Forbidden(why)
            | Self::Unknown(why)
            | Self::Stale(why)
            | Self::Failed(why)
            | Self::Unreachable(why) => why,
        }
    }
}

impl Asker {
    /// With `user`, as that user.
    #[must_use]
    pub fn new(client: Client, user: Option<String>) -> Self {
        Self { client, user }
    }

    /// The answer to a request.
    pub async fn ask(
        &self,
        request: Result<Asked, kube::core::request::Error>,
    ) -> Result<Value, Refusal> {
        let failed = |error: &(dyn std::error::Error + 'static)| Refusal::Failed(chain(error));
        let mut request = request.map_err(|error| failed(&error))?;
        if let Some(user) = &self.user {
            let value = user.parse().map_err(|_| {
                Refusal::Failed(format!(
                    "`--as {user}` cannot be sent: it is no header's value"
                ))
            })?;
            request.headers_mut().insert("impersonate-user", value);
        }
        let answer = tokio::time::timeout(ANSWER, self.client.request::<Value>(request));
        match answer.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(kube::Error::Api(status))) => Err(match status.code {
                401 => {
                    Refusal::Unknown("the API server does not know these credentials".to_owned())
                }
                403 => Refusal::Forbidden(status.message.clone()),
                404 => Refusal::Absent,
                409 => Refusal::Stale(status.message.clone()),
                code => Refusal::Failed(format!("the API server says {code}: {}", status.message)),
            }),
            Ok(Err(error @ kube::Error::SerdeError(_))) => Err(failed(&error)),
            Ok(Err(error)) => Err(Refusal::Unreachable(chain(&error))),
            Err(_) => Err(Refusal::Unreachable(format!(
                "no answer within {} s",
                ANSWER.as_secs()
            ))),
        }
    }
}
