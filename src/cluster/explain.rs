//! What an API server's refusal means, and what to do about it: for readiness and the log.
//!
//! It words. Whether to try again is its callers' business.

use kube::core::Status;

/// What is in the way of reading or writing something, and how to mend it. `done` is `read` or
/// `written`.
#[must_use]
pub fn explain(
    what: &str,
    done: &str,
    status: Option<&Status>,
    error: &(dyn std::error::Error + 'static),
) -> (String, &'static str) {
    match status {
        // A quota and a namespace that is going away are told as 403 as well.
        Some(status) if status.code == 403 && is_missing_right(status) => (
            format!("{what} may not be {done}: {}", status.message),
            "grant the right: `pullpass render rbac --policy PATH | kubectl apply --server-side -f -`, \
             with `--tenant-policies`, `--tls-secret` and `--namespace` as they are given here",
        ),
        Some(status) if status.code == 401 => (
            format!("{what} cannot be {done}: the API server does not know these credentials"),
            "give other ones: is the token expired, the account deleted?",
        ),
        Some(status) => (
            format!(
                "{what} cannot be {done}: the API server says {}: {}",
                status.code, status.message
            ),
            "look at the API server; it is asked again",
        ),
        None => (
            format!("{what} cannot be {done}: {}", chain(error)),
            "is the API server there, and reachable from here? it is asked again",
        ),
    }
}

fn is_missing_right(status: &Status) -> bool {
    !status.message.contains("exceeded quota") && !status.message.contains("being terminated")
}

/// An error with its causes, in one line.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    // As it prints itself, it repeats everything as `Debug`.
    if let Some(kube::Error::Api(status)) = error.downcast_ref() {
        return format!("the API server says {}: {}", status.code, status.message);
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Many of these repeat their cause.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_is_refused_and_what_to_do() {
        let error = std::io::Error::other("connection refused");
        for (status, want, mend) in [
            (
                Some((403, "User x cannot list")),
                "the Secret `s` may not be read: User x cannot list",
                "render rbac",
            ),
            (
                Some((403, "exceeded quota: q")),
                "the Secret `s` cannot be read: the API server says 403: exceeded quota: q",
                "look at the API server",
            ),
            (
                Some((401, "Unauthorized")),
                "the Secret `s` cannot be read: the API server does not know these credentials",
                "give other ones",
            ),
            (
                Some((500, "etcd")),
                "the Secret `s` cannot be read: the API server says 500: etcd",
                "look at the API server",
            ),
            (
                None,
                "the Secret `s` cannot be read: connection refused",
                "reachable from here",
            ),
        ] {
            let status = status.map(|(code, text)| Status::failure(text, "").with_code(code));
            let (why, how) = explain("the Secret `s`", "read", status.as_ref(), &error);
            assert_eq!(why, want);
            assert!(how.contains(mend), "{how}");
        }
    }
}
