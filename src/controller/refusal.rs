//! An API server's refusal of a write → what is in the way, as the plans know it.
//!
//! By the codes, causes and words that API servers were seen to use. It decides nothing.

use std::time::Duration;

use kube::core::Status;

use super::apply::WriteError;
use crate::plan::secrets::Obstacle;

/// What is in the way, and for how long the API server asks to be left alone.
pub(super) fn obstacle(error: &WriteError) -> (Obstacle, Duration) {
    let Some(status) = error.status() else {
        return (Obstacle::Failed, Duration::ZERO);
    };
    let details = status.details.as_ref();
    let asked = details.map_or(0, |details| details.retry_after_seconds);
    (of(status), Duration::from_secs(asked.into()))
}

fn of(status: &Status) -> Obstacle {
    let said = status.message.as_str();
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    let going = causes.any(|cause| cause.reason == "NamespaceTerminating");
    match status.code {
        _ if going || said.contains("being terminated") => Obstacle::Terminating,
        // A namespace that is gone: its watch event is on its way.
        404 => Obstacle::Terminating,
        403 if said.contains("exceeded quota") => Obstacle::Quota,
        403 => Obstacle::Forbidden,
        409 => Obstacle::Conflict,
        422 if said.contains("is immutable when `immutable` is set") => Obstacle::Immutable,
        422 if said.contains("metadata.uid") => Obstacle::Conflict,
        // So answers an admission policy.
        422 if said.contains("denied request") => Obstacle::Forbidden,
        429 | 503 => Obstacle::Throttled,
        _ => Obstacle::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_refusal_is_known_by_what_api_servers_say() {
        use Obstacle::*;
        let terminating = json!({"causes": [{"reason": "NamespaceTerminating"}]});
        for (code, message, details, want, why) in [
            (
                409,
                "Operation cannot be fulfilled on secrets \"s\": the object has been modified",
                json!({}),
                Conflict,
                "one is there",
            ),
            (
                409,
                "Precondition failed: UID in precondition: a, UID in object meta: ",
                json!({}),
                Conflict,
                "uid mismatch",
            ),
            (
                422,
                "Secret \"s\" is invalid: metadata.uid: Invalid value: \"a\": field is immutable",
                json!({}),
                Conflict,
                "made anew",
            ),
            (
                403,
                "secrets \"s\" is forbidden: exceeded quota: q, requested: count/secrets=1",
                json!({}),
                Quota,
                "a quota",
            ),
            (
                403,
                "secrets \"s\" is forbidden: unable to create new content in namespace n because it is being terminated",
                terminating,
                Terminating,
                "on its way out",
            ),
            (
                404,
                "namespaces \"n\" not found",
                json!({}),
                Terminating,
                "gone",
            ),
            (
                422,
                "Secret \"s\" is invalid: data: Forbidden: field is immutable when `immutable` is set",
                json!({}),
                Immutable,
                "immutable",
            ),
            (
                403,
                "secrets \"s\" is forbidden: User \"u\" cannot patch resource",
                json!({}),
                Forbidden,
                "no right",
            ),
            (
                422,
                "secrets \"s\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
                json!({}),
                Forbidden,
                "an admission policy",
            ),
            (
                429,
                "too many requests",
                json!({"retryAfterSeconds": 3}),
                Throttled,
                "patience",
            ),
            (
                500,
                "etcdserver: request timed out",
                json!({}),
                Failed,
                "anything else",
            ),
        ] {
            let status = json!({"code": code, "message": message, "details": details});
            let status: Status = serde_json::from_value(status).unwrap();
            let error = WriteError::Kube(kube::Error::Api(Box::new(status)));
            let seconds = u64::from(code == 429) * 3;
            assert_eq!(
                obstacle(&error),
                (want, Duration::from_secs(seconds)),
                "{why}"
            );
        }
        let silent = WriteError::Timeout(Duration::from_secs(8));
        assert_eq!(obstacle(&silent).0, Failed, "no answer");
    }
}
