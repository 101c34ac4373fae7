//! Accounts and regions → logins for their registries, by Amazon ECR's GetAuthorizationToken.
//!
//! The AWS SDK finds the identity (environment, profile, web identity, Pod Identity or container, instance
//! metadata), signs and retries. A token is of a principal and a region: it opens every registry there that
//! the principal may read, so each region is asked once, whatever the number of accounts. Who may read what is
//! not checked here: a registry says it at the first pull.

mod failure;

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_sdk_ecr::Client;
use aws_sdk_ecr::config::{RuntimeComponents, SharedCredentialsProvider, SharedHttpClient};
use aws_sdk_ecr::operation::get_authorization_token::GetAuthorizationTokenOutput;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::try_join_all;
use tokio::sync::Mutex;

use self::failure::Call;
use super::outgoing::Way;
use super::{Answer, FetchError, OutgoingError};
use crate::docker_config::{Entry, Login};
use crate::hosts::ecr::hosts;

/// How often the SDK tries one call, the first time included. The caller's own retries come after that.
const ATTEMPTS: u32 = 2;
/// The session of a role that is assumed, as CloudTrail shows it.
const SESSION: &str = "pullpass";

/// Asks Amazon ECR.
pub(super) struct Ecr {
    http: SharedHttpClient,
    /// One try of one call.
    timeout: Duration,
    identities: Mutex<HashMap<Identity, SdkConfig>>,
}

/// What an SDK configuration is made for; it keeps the credentials that it found until they expire.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Identity {
    /// Whose STS is asked.
    region: Box<str>,
    role: Option<Box<str>>,
}

/// A region's token.
#[derive(Debug, PartialEq, Eq)]
struct Token {
    login: Login,
    expires: SystemTime,
}

impl Ecr {
    /// Makes the client of all calls. It calls nobody and looks for no identity.
    pub(super) fn new(way: Way) -> Result<Self, OutgoingError> {
        let timeout = way.timeout;
        Ok(Self {
            http: http_client(way)?,
            timeout,
            identities: Mutex::default(),
        })
    }

    /// Asks each region once, all at a time. One that fails fails the whole: half a Secret would fail the
    /// pulls of the other half.
    pub(super) async fn fetch(
        &self,
        accounts: &[Box<str>],
        regions: &[Box<str>],
        role: Option<&str>,
    ) -> Result<Answer, FetchError> {
        let identity = Identity {
            region: regions.first().cloned().unwrap_or_default(),
            role: role.map(Into::into),
        };
        let issued = SystemTime::now();
        let config = self.config(&identity).await;
        let asked = regions
            .iter()
            .map(|region| self.token(&config, region, role));
        let tokens = match try_join_all(asked).await {
            Ok(tokens) => tokens,
            Err(error) => {
                // What was found may be why: the next fetch looks for an identity anew.
                self.identities.lock().await.remove(&identity);
                return Err(error);
            }
        };
        let entries = regions.iter().zip(&tokens).flat_map(|(region, token)| {
            let keys = accounts.iter().flat_map(|account| hosts(account, region));
            keys.map(|key| Entry {
                key,
                login: token.login.clone(),
            })
        });
        Ok(Answer {
            entries: entries.collect(),
            issued,
            expires: tokens.iter().map(|token| token.expires).min(),
        })
    }

    async fn token(
        &self,
        config: &SdkConfig,
        region: &str,
        role: Option<&str>,
    ) -> Result<Token, FetchError> {
        let config = aws_sdk_ecr::config::Builder::from(config)
            .region(Region::new(region.to_owned()))
            .build();
        let call = Call {
            region,
            role,
            timeout: self.timeout,
        };
        // `registryIds` is deprecated: it changes nothing of what the token is good for.
        let answer = Client::from_conf(config)
            .get_authorization_token()
            .send()
            .await;
        let answer = answer.map_err(|error| failure::explain(&error, &call))?;
        read(&answer, SystemTime::now(), &call)
    }

    /// The configuration that is kept for this identity. Making one reads the environment and the profile,
    /// and calls nobody.
    async fn config(&self, identity: &Identity) -> SdkConfig {
        let mut identities = self.identities.lock().await;
        if let Some(config) = identities.get(identity) {
            return config.clone();
        }
        let region = Region::new(String::from(&*identity.region));
        // To the SDK the search of an identity is a part of a call, and of each attempt: it may be two calls
        // of STS. So one try is bounded where it leaves, connecting included, and the whole of it here.
        let identity_timeout = self.timeout * 2 * ATTEMPTS;
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(self.timeout)
            .read_timeout(self.timeout)
            .operation_timeout(identity_timeout + self.timeout * ATTEMPTS);
        let cache = IdentityCache::lazy().load_timeout(identity_timeout);
        let mut config = aws_config::defaults(BehaviorVersion::latest())
            .http_client(self.http.clone())
            .region(region.clone())
            .timeout_config(timeouts.build())
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .identity_cache(cache.build());
        if let Ok(name) = AppName::new("pullpass") {
            config = config.app_name(name);
        }
        let mut config = config.load().await;
        if let Some(role) = &identity.role {
            let provider = AssumeRoleProvider::builder(String::from(&**role))
                .session_name(SESSION)
                .region(region)
                .configure(&config)
                .build()
                .await;
            let provider = SharedCredentialsProvider::new(provider);
            config = config.into_builder().credentials_provider(provider).build();
        }
        identities.insert(identity.clone(), config.clone());
        config
    }
}

impl fmt::Debug for Ecr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ecr").finish_non_exhaustive()
    }
}

/// The one HTTP client, for ECR, STS and whoever gives an identity. Only HTTPS goes through the proxy.
fn http_client(way: Way) -> Result<SharedHttpClient, OutgoingError> {
    let mut trusted = TrustStore::default();
    if let Some(pem) = way.authorities {
        trusted = trusted.with_pem_certificate(pem);
    }
    let context = TlsContext::builder().with_trust_store(trusted).build();
    let context = context.map_err(|_| OutgoingError::Tls)?;
    let proxy = match way.proxy {
        None => ProxyConfig::disabled(),
        Some(proxy) => {
            let config = ProxyConfig::https(proxy.expose().clone());
            let config = config.map_err(|_| OutgoingError::Proxy {
                variable: "HTTPS_PROXY",
            })?;
            match proxy.except() {
                Some(hosts) => config.no_proxy(hosts),
                None => config,
            }
        }
    };
    Ok(
        Builder::new().build_with_connector_fn(move |settings, components| {
            let mut connector = Connector::builder()
                .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
                .tls_context(context.clone())
                .proxy_config(proxy.clone());
            connector.set_connector_settings(settings.cloned());
            connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
            connector.build()
        }),
    )
}

/// The token of an answer: base64 of `AWS:password`.
fn read(
    answer: &GetAuthorizationTokenOutput,
    now: SystemTime,
    call: &Call<'_>,
) -> Result<Token, FetchError> {
    let bad = |why: &str| FetchError::BadAnswer {
        call: call.to_string(),
        why: why.to_owned(),
    };
    let data = answer.authorization_data();
    let data = data
        .first()
        .ok_or_else(|| bad("it has no authorization data"))?;
    let token = data
        .authorization_token()
        .ok_or_else(|| bad("it has no token"))?;
    let text = STANDARD
        .decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let text = text.ok_or_else(|| bad("its token is no text in base64"))?;
    let (username, password) = match text.split_once(':') {
        Some((username, password)) if !username.is_empty() && !password.is_empty() => {
            (username, password)
        }
        _ => return Err(bad("its token is no `user:password`")),
    };
    let expires = data
        .expires_at()
        .and_then(|at| SystemTime::try_from(*at).ok());
    let expires = expires.ok_or_else(|| bad("it does not say when its token expires"))?;
    if let Ok(ago) = now.duration_since(expires) {
        return Err(FetchError::Expired {
            call: call.to_string(),
            ago,
        });
    }
    Ok(Token {
        login: Login {
            username: username.to_owned(),
            password: password.to_owned().into(),
        },
        expires,
    })
}
