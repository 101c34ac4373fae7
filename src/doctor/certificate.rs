//! The serving certificate in its Secret: whole, in its time, for the name that is called, and signed by a
//! CA that API servers trust.

use std::collections::BTreeMap;
use std::time::SystemTime;

use k8s_openapi::ByteString;

use super::settings::Settings;
use super::{Check, Facts, Found, State, configurations};
use crate::controller::facts::{annotation, serving};
use crate::plan::certificates::{Authority, Flaw};

const NAME: &str = "certificate";

pub(super) fn check(facts: &Facts, settings: &Settings) -> Check {
    let object = format!("Secret `{}/{}`", facts.namespace, settings.tls_secret);
    if let Some(check) = facts.certificate.unread(NAME, &object) {
        return check;
    }
    let Found::Object(secret) = &facts.certificate else {
        return Check::new(NAME, State::Error, &object, "is not there: the webhook cannot serve")
            .help("is the controller (or cert-manager) running? its log and Events tell why it makes none");
    };
    let data = secret.get("data").cloned().unwrap_or_default();
    let data: BTreeMap<String, ByteString> = serde_json::from_value(data).unwrap_or_default();
    let trusted = configurations::trusted(facts);
    let (authorities, called) = trusted.unwrap_or_default();
    let candidates: Vec<&Authority> = authorities.iter().collect();
    let found = match serving(&data, &candidates, |_| facts.now) {
        Ok(found) => found,
        Err(flaw) => {
            let message = match flaw {
                Flaw::KeyMismatch => "its `tls.key` is not the key of its `tls.crt`",
                _ => "its `tls.crt` and `tls.key` are no certificate and key in PEM",
            };
            return Check::new(NAME, State::Error, &object, message).help(AGAIN);
        }
    };
    let until = time(found.validity.not_after);
    let error = |message: String| Check::new(NAME, State::Error, &object, message).help(AGAIN);
    if facts.now >= found.validity.not_after {
        return error(format!("the certificate expired at {until}"));
    }
    if facts.now < found.validity.not_before {
        let from = time(found.validity.not_before);
        return error(format!(
            "the certificate is good from {from} only: is a clock wrong?"
        ));
    }
    let named = found.names.iter().any(|name| covers(name, &called));
    if !called.is_empty() && !named {
        return error(format!(
            "the certificate is not for `{called}`, which API servers call; it is for {}",
            super::few(&found.names)
        ));
    }
    if !authorities.is_empty() && found.signed_by.is_empty() {
        return error(
            "no CA of the configuration's `caBundle` signed the certificate: API servers refuse it"
                .to_owned(),
        );
    }
    let expired = |authority: &&Authority| facts.now >= authority.validity.not_after;
    let signers = authorities
        .iter()
        .filter(|a| found.signed_by.contains(&a.fingerprint));
    if !authorities.is_empty() && signers.clone().all(|a| expired(&a)) {
        return error("the CA that signed the certificate has expired".to_owned());
    }
    if is_late(
        &found.validity.not_before,
        &found.validity.not_after,
        facts.now,
    ) {
        let message = format!("is good until {until}, and should have been renewed");
        return Check::new(NAME, State::Warning, &object, message).help(AGAIN);
    }
    Check::new(NAME, State::Ok, &object, format!("is good until {until}"))
}

const AGAIN: &str = "the controller (or cert-manager) renews it: look at its log and Events; deleting the Secret has a new one made";

pub(super) fn time(at: SystemTime) -> String {
    annotation(at).unwrap_or_else(|| "a time out of range".to_owned())
}

/// Renewed at two thirds of its life: a sixth before the end, that went wrong.
fn is_late(begin: &SystemTime, end: &SystemTime, now: SystemTime) -> bool {
    let life = end.duration_since(*begin).unwrap_or_default();
    let left = end.duration_since(now).unwrap_or_default();
    left < life / 6
}

fn covers(name: &str, called: &str) -> bool {
    let first_label_off = called.split_once('.').map(|(_, rest)| rest);
    name.eq_ignore_ascii_case(called)
        || name
            .strip_prefix("*.")
            .is_some_and(|rest| first_label_off.is_some_and(|c| c.eq_ignore_ascii_case(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::certificate::self_signed;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn a_certificate_is_good_or_told() {
        let now = SystemTime::now();
        let pair = self_signed(&["w.own.svc".to_owned()], now).unwrap();
        let other = self_signed(&["w.own.svc".to_owned()], now).unwrap();
        let encode = |text: &str| STANDARD.encode(text);
        let secret = json!({"data": {
            "tls.crt": encode(&pair.certificate), "tls.key": encode(&pair.key),
        }});
        let mixed = json!({"data": {
            "tls.crt": encode(&pair.certificate), "tls.key": encode(&other.key),
        }});
        let later = |days: u64| now + Duration::from_hours(24 * days);
        for (secret, ca, service, at, want, why) in [
            (
                Some(&secret),
                &pair.ca,
                "w",
                now,
                "is good until",
                "as it should be",
            ),
            (
                Some(&secret),
                &pair.ca,
                "w",
                later(36_500),
                "expired at",
                "long after",
            ),
            (
                Some(&secret),
                &pair.ca,
                "x",
                now,
                "is not for `x.own.svc`",
                "another name",
            ),
            (Some(&secret), &other.ca, "w", now, "no CA of", "another CA"),
            (
                Some(&mixed),
                &pair.ca,
                "w",
                now,
                "is not the key",
                "another key",
            ),
            (
                Some(&json!({})),
                &pair.ca,
                "w",
                now,
                "no certificate",
                "empty",
            ),
            (None, &pair.ca, "w", now, "is not there", "no Secret"),
        ] {
            let mut facts = Facts::new("own", at);
            facts.certificate = secret.map_or(Found::Absent, |s| Found::Object(s.clone()));
            facts.mutating = Found::Object(json!({"items": [{"webhooks": [{
                "name": "pods.pullpass.dev",
                "clientConfig": {"caBundle": encode(ca), "service": {"name": service, "namespace": "own"}},
            }]}]}));
            let got = check(&facts, &Settings::of(&[]));
            assert!(got.message.contains(want), "{why}: {got:?}");
            assert_eq!(
                got.state == State::Ok,
                why == "as it should be",
                "{why}: {got:?}"
            );
        }
    }

    #[test]
    fn what_was_not_renewed_in_time_is_late() {
        let begin = SystemTime::UNIX_EPOCH;
        let day = |n: u64| begin + Duration::from_hours(24 * n);
        for (now, want) in [(day(60), false), (day(74), false), (day(76), true)] {
            assert_eq!(is_late(&begin, &day(90), now), want);
        }
    }
}
