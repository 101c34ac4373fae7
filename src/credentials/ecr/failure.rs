//! An error of the AWS SDK → what happened, which right is missing, what to do.
//!
//! Of what AWS says, codes are always told, and messages only of errors that are known to quote nothing but
//! names: others hold the request as it was signed, with the session's token.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ecr::error::{ConnectorError, ProvideErrorMetadata, SdkError};
use aws_sdk_ecr::operation::get_authorization_token::GetAuthorizationTokenError;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;

use super::ATTEMPTS;
use crate::admission::line::one_line;
use crate::credentials::FetchError;

/// As much of a foreign text as a message quotes.
const MAX_TEXT: usize = 400;
/// No word is as long but a token; ARNs have 2048 characters at most and about 80 in practice.
const MAX_WORD: usize = 200;

/// One GetAuthorizationToken.
pub(super) struct Call<'a> {
    pub(super) region: &'a str,
    /// The role that was to be assumed for it.
    pub(super) role: Option<&'a str>,
    pub(super) timeout: Duration,
}

impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`ecr:GetAuthorizationToken` in `{}`", self.region)
    }
}

pub(super) fn explain(error: &SdkError<GetAuthorizationTokenError>, call: &Call<'_>) -> FetchError {
    if let SdkError::ServiceError(context) = error {
        let help = match call.role {
            Some(role) => format!("grant `ecr:GetAuthorizationToken` on `*` to `{role}`"),
            None => "grant `ecr:GetAuthorizationToken` on `*` to the controller's role".to_owned(),
        };
        let status = context.raw().status().as_u16();
        return refused(call.to_string(), context.err(), Some(status), help);
    }
    if let Some(identity) = last::<CredentialsError>(error) {
        return no_identity(error, identity, call);
    }
    let call_text = call.to_string();
    match error {
        SdkError::TimeoutError(_) => timeout(call_text, call),
        SdkError::ResponseError(_) => FetchError::BadAnswer {
            call: call_text,
            why: "nothing that AWS says; is there a proxy or a portal in between?".to_owned(),
        },
        SdkError::DispatchFailure(failure) if failure.is_timeout() => timeout(call_text, call),
        _ => FetchError::Unreachable {
            call: call_text,
            why: root(error),
        },
    }
}

/// Why there are no credentials to sign with.
fn no_identity(
    error: &SdkError<GetAuthorizationTokenError>,
    identity: &CredentialsError,
    call: &Call<'_>,
) -> FetchError {
    if let Some(error) = last::<AssumeRoleWithWebIdentityError>(error) {
        let call = format!(
            "`sts:AssumeRoleWithWebIdentity`, the first step of {call} by the service account's role,"
        );
        let help = "let that role's trust policy name the cluster's OIDC provider and the controller's \
                    service account";
        return refused(call, error, None, help.to_owned());
    }
    let role = call.role.unwrap_or_default();
    let step = format!("`sts:AssumeRole` of `{role}`, the first step of {call},");
    if let Some(error) = last::<AssumeRoleError>(error) {
        let help = format!(
            "allow the controller's own role `sts:AssumeRole` on `{role}`, and let the trust policy of \
             that one name it"
        );
        return refused(step, error, None, help);
    }
    // Inside: the search itself counts as a failed connection to the SDK.
    if let Some(connector) = last::<ConnectorError>(identity) {
        if connector.is_timeout() {
            return timeout(format!("an identity for {call}"), call);
        }
        return FetchError::Unreachable {
            call: format!("the search of an identity for {call}"),
            why: root(identity),
        };
    }
    let why = match identity {
        CredentialsError::CredentialsNotLoaded(_) => {
            "neither the environment nor a profile, a web identity, Pod Identity or an instance's \
             metadata gives any"
                .to_owned()
        }
        CredentialsError::ProviderTimedOut(details) => format!(
            "nobody gave any within {} s",
            details.timeout_duration().as_secs()
        ),
        other => root(other),
    };
    FetchError::NoIdentity {
        call: call.to_string(),
        why,
        help: "give the controller's service account a role, by IRSA or by EKS Pod Identity"
            .to_owned(),
    }
}

/// What a service of AWS says itself.
fn refused(
    call: String,
    error: &impl ProvideErrorMetadata,
    status: Option<u16>,
    help: String,
) -> FetchError {
    let Some(code) = error.code() else {
        let status = status.map(|status| format!("with HTTP status {status}, "));
        return FetchError::BadAnswer {
            call,
            why: format!(
                "{}nothing that AWS says; is there a proxy or a portal in between?",
                status.unwrap_or_default()
            ),
        };
    };
    let why = match error.message() {
        Some(message) if is_harmless(code) => {
            format!("`{}`: {}", plain(code), plain(message))
        }
        _ => format!("`{}`", plain(code)),
    };
    match code {
        code if is_throttling(code) => FetchError::Throttled { call, why },
        code if code.starts_with("AccessDenied") || is_untrusted(code) => {
            FetchError::Denied { call, why, help }
        }
        code if is_unknown(code) => FetchError::NoIdentity {
            call,
            why,
            help: "AWS does not accept what it was signed with: are the keys current, and the clock right?"
                .to_owned(),
        },
        _ => FetchError::Failed { call, why },
    }
}

fn timeout(what: String, call: &Call<'_>) -> FetchError {
    FetchError::Timeout {
        call: what,
        why: format!("{ATTEMPTS} tries of {} s", call.timeout.as_secs_f32()),
    }
}

fn is_throttling(code: &str) -> bool {
    code.contains("Throttl")
        || matches!(
            code,
            "TooManyRequestsException"
                | "RequestLimitExceeded"
                | "SlowDown"
                | "LimitExceededException"
        )
}

/// STS knows who it is, and does not trust him.
fn is_untrusted(code: &str) -> bool {
    matches!(code, "InvalidIdentityToken" | "IDPRejectedClaim")
}

/// Who signed is nobody that AWS knows, or did not sign well.
fn is_unknown(code: &str) -> bool {
    matches!(
        code,
        "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidAccessKeyId"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "IncompleteSignature"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "RequestExpired"
            | "NotAuthorized"
            | "OptInRequired"
    )
}

/// Whether the message is known to quote names alone.
fn is_harmless(code: &str) -> bool {
    code.starts_with("AccessDenied") || is_throttling(code) || is_untrusted(code) || {
        matches!(
            code,
            "InvalidParameterException"
                | "ServerException"
                | "ValidationError"
                | "RegionDisabledException"
                | "IDPCommunicationError"
        )
    }
}

/// A foreign text in one line, without what might be a token.
fn plain(text: &str) -> String {
    let words = text
        .split_whitespace()
        .map(|word| if word.len() > MAX_WORD { "…" } else { word });
    one_line(&words.collect::<Vec<_>>().join(" "), MAX_TEXT)
}

/// The innermost cause, which says most.
fn root(error: &(dyn Error + 'static)) -> String {
    let innermost = chain(error).last();
    plain(&innermost.map(ToString::to_string).unwrap_or_default())
}

/// The innermost cause of a kind.
fn last<'e, E: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e E> {
    chain(error).filter_map(|cause| cause.downcast_ref()).last()
}

fn chain<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&cause| cause.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_text_is_one_line_without_what_might_be_a_token() {
        let token = "A".repeat(MAX_WORD + 1);
        for (text, want, why) in [
            (
                "User: arn:aws:iam::1:user/x is not",
                "User: arn:aws:iam::1:user/x is not",
                "as it is",
            ),
            ("two\n  lines\t", "two lines", "in one line"),
            (
                &format!("token {token} is bad"),
                "token … is bad",
                "without long words",
            ),
            (
                "\u{1b}[31mred",
                "\\u{1b}[31mred",
                "nothing that a terminal acts on",
            ),
        ] {
            assert_eq!(plain(text), want, "{why}");
        }
        assert!(
            plain(&"word ".repeat(1000)).len() <= MAX_TEXT,
            "and bounded"
        );
    }

    #[test]
    fn errors_that_quote_a_request_are_told_by_their_code_alone() {
        for code in [
            "InvalidSignatureException",
            "SignatureDoesNotMatch",
            "SomethingNew",
        ] {
            assert!(!is_harmless(code), "{code}");
        }
    }
}
