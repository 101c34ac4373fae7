//! The API server's version and pullpass's own namespace: what all else stands on.

use super::{Check, Found, State, text};

/// The oldest minor version of Kubernetes 1 with all that the configurations say.
const OLDEST: u32 = 30;

pub(super) fn version(version: &Found) -> Check {
    const NAME: &str = "api-server";
    let object = "API server";
    if let Some(check) = version.unread(NAME, object) {
        return check;
    }
    let Found::Object(info) = version else {
        return Check::new(NAME, State::Skipped, object, "it does not tell its version");
    };
    // Some providers write `30+`.
    let number = |key: &str| {
        let digits = text(info, key);
        let digits: String = digits.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().ok()
    };
    let told = text(info, "/gitVersion");
    match (number("/major"), number("/minor")) {
        (Some(major), Some(minor)) if (major, minor) < (1, OLDEST) => Check::new(
            NAME,
            State::Error,
            object,
            format!("Kubernetes `{told}` is older than 1.{OLDEST}"),
        )
        .help(format!("upgrade the cluster to 1.{OLDEST} or later")),
        (Some(_), Some(_)) => Check::new(NAME, State::Ok, object, format!("Kubernetes `{told}`")),
        _ => Check::new(
            NAME,
            State::Skipped,
            object,
            format!("its version `{told}` cannot be read"),
        ),
    }
}

pub(super) fn namespace(found: &Found, name: &str) -> Check {
    const NAME: &str = "namespace";
    let object = format!("Namespace `{name}`");
    if let Some(check) = found.unread(NAME, &object) {
        return check;
    }
    match found {
        Found::Object(namespace) if text(namespace, "/status/phase") == "Terminating" => {
            Check::new(NAME, State::Error, &object, "is being deleted")
                .help("wait until it is gone, then install again")
        }
        Found::Object(_) => Check::new(NAME, State::Ok, &object, "is there"),
        _ => Check::new(NAME, State::Error, &object, "is not there").help(
            "name the namespace of the installation with `--namespace NS`, or install pullpass",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_version_is_new_enough_or_told() {
        let info = |major: &str, minor: &str| {
            Found::Object(json!({"major": major, "minor": minor, "gitVersion": "v"}))
        };
        for (found, want, why) in [
            (info("1", "30"), State::Ok, "the oldest"),
            (info("1", "36"), State::Ok, "a newer one"),
            (info("1", "29+"), State::Error, "older, as GKE writes it"),
            (info("2", "0"), State::Ok, "a major one"),
            (info("", ""), State::Skipped, "says nothing"),
            (Found::Failed("x".into()), State::Error, "no answer"),
        ] {
            assert_eq!(version(&found).state, want, "{why}");
        }
    }

    #[test]
    fn a_namespace_is_there_to_stay() {
        let phase = |phase: &str| Found::Object(json!({"status": {"phase": phase}}));
        for (found, want) in [
            (phase("Active"), State::Ok),
            (phase("Terminating"), State::Error),
            (Found::Absent, State::Error),
            (Found::Forbidden("get namespaces".into()), State::Skipped),
        ] {
            assert_eq!(namespace(&found, "x").state, want, "{found:?}");
        }
    }
}
