//! Tokens from Amazon ECR: what is asked, what comes out, what is said when it fails.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::child::Fetching;
use crate::moto::{HOME, HOME_ROLE, Moto, OTHER_ROLE};

const OTHER: &str = "210987654321";
const REGIONS: [&str; 2] = ["eu-west-1", "us-east-1"];

#[test]
fn each_region_is_asked_once_and_each_account_has_all_its_hosts() {
    let moto = Moto::start();
    moto.set(&json!({"lifetimes": {"us-east-1": 3600}}));
    let mut child = Fetching::start(&moto.env());
    let got = child.fetch(&[HOME, OTHER], &REGIONS).unwrap();
    let calls = moto.calls("ecr");
    let asked: BTreeSet<_> = calls
        .iter()
        .map(|call| call["region"].as_str().unwrap())
        .collect();
    assert_eq!((calls.len(), asked), (2, REGIONS.into()), "{calls:?}");
    for call in &calls {
        assert_eq!(call["registries"], Value::Null, "deprecated: {call}");
        let agent = call["agent"].as_str().unwrap();
        assert!(
            agent.contains("app/pullpass"),
            "CloudTrail tells who asked: {agent}"
        );
    }
    assert_eq!(got.logins.len(), 2 * 2 * 4, "{:?}", got.logins.keys());
    for account in [HOME, OTHER] {
        for (region, host) in [
            ("us-east-1", "dkr.ecr.us-east-1.amazonaws.com"),
            ("us-east-1", "dkr.ecr-fips.us-east-1.amazonaws.com"),
            ("us-east-1", "dkr-ecr.us-east-1.on.aws"),
            ("eu-west-1", "dkr-ecr-fips.eu-west-1.on.aws"),
        ] {
            let [user, password] = &got.logins[&format!("{account}.{host}")];
            let given = calls.iter().find(|call| call["region"] == region).unwrap();
            assert_eq!(user, "AWS");
            assert_eq!(
                given["password"], **password,
                "a region's own token: {host}"
            );
        }
    }
    let life = got.expires.unwrap() - got.issued;
    assert!(
        (3590.0..3610.0).contains(&life),
        "the earliest expiry counts: {life} s"
    );

    let again = child.fetch(&[HOME], &["us-east-1"]).unwrap();
    assert_ne!(
        again.logins["123456789012.dkr.ecr.us-east-1.amazonaws.com"],
        got.logins["123456789012.dkr.ecr.us-east-1.amazonaws.com"],
        "a fetch asks again"
    );
    let mut secrets = moto.passwords();
    secrets.push(moto.secret.clone());
    child.end(&secrets);
}

#[test]
fn a_role_is_assumed_once_for_all_regions_and_fetches() {
    let moto = Moto::start();
    let mut child = Fetching::start(&moto.env());
    for _ in 0..2 {
        child.fetch_as(OTHER_ROLE, &REGIONS).unwrap();
    }
    let assumed = moto.calls("sts");
    assert_eq!(assumed.len(), 1, "{assumed:?}");
    assert_eq!(assumed[0]["action"], "AssumeRole");
    assert_eq!(assumed[0]["role"], OTHER_ROLE);
    assert_eq!(assumed[0]["session"], "pullpass", "as CloudTrail shows it");
    assert_eq!(assumed[0]["region"], REGIONS[0], "the first region's STS");
    let calls = moto.calls("ecr");
    assert_eq!(calls.len(), 4);
    for call in &calls {
        assert_eq!(call["account"], OTHER, "signed by the role: {call}");
    }
    // Another credential, as the user himself, in the same process.
    child.fetch(&[HOME], &["us-east-1"]).unwrap();
    assert_eq!(moto.calls("ecr")[4]["account"], HOME);
    child.end(&moto.passwords());
}

#[test]
fn what_is_refused_says_which_right_is_missing_and_is_asked_anew() {
    let moto = Moto::start();
    let mut child = Fetching::start(&moto.env());
    let all = json!({
        "user": ["ecr:GetAuthorizationToken", "sts:AssumeRole"],
        "role": ["ecr:GetAuthorizationToken"],
    });
    for (allow, role, want, why) in [
        (
            json!({"user": ["sts:AssumeRole"]}),
            None,
            [
                "`ecr:GetAuthorizationToken` in `us-east-1` is refused",
                "arn:aws:iam::123456789012:user/tester is not authorized",
                "grant `ecr:GetAuthorizationToken` on `*` to the controller's role",
            ],
            "the user's right to a token",
        ),
        (
            json!({"role": []}),
            Some(OTHER_ROLE),
            [
                "`ecr:GetAuthorizationToken` in `us-east-1` is refused",
                "assumed-role/puller/pullpass is not authorized",
                "grant `ecr:GetAuthorizationToken` on `*` to `arn:aws:iam::210987654321:role/puller`",
            ],
            "the role's right to a token",
        ),
        (
            json!({"user": ["ecr:GetAuthorizationToken"]}),
            Some(HOME_ROLE),
            [
                "`sts:AssumeRole` of `arn:aws:iam::123456789012:role/puller`, the first step of",
                "user/tester is not authorized to perform: sts:AssumeRole",
                "let the trust policy of that one name it",
            ],
            "the right to the role",
        ),
    ] {
        moto.set(&json!({ "allow": allow }));
        let mut fetch = || match role {
            Some(role) => child.fetch_as(role, &["us-east-1"]),
            None => child.fetch(&[HOME], &["us-east-1"]),
        };
        let error = fetch().unwrap_err();
        assert_eq!(error.reason, "denied", "{why}: {error:?}");
        for part in want {
            assert!(error.text.contains(part), "{why}: no {part:?} in {error:?}");
        }
        moto.set(&json!({ "allow": all }));
        fetch().unwrap();
    }
    // The second row twice; the third once more, moto notes no refusal.
    assert_eq!(
        moto.calls("sts").len(),
        3,
        "a failed fetch keeps no identity"
    );
    child.end(&moto.passwords());
}

#[test]
fn keys_that_aws_does_not_accept_are_told_without_the_request() {
    let moto = Moto::start();
    for (name, value, want, why) in [
        (
            "AWS_ACCESS_KEY_ID",
            "AKIA0000000000000000",
            "`UnrecognizedClientException`",
            "nobody's key",
        ),
        (
            "AWS_SECRET_ACCESS_KEY",
            "not-the-users-secret",
            "`InvalidSignatureException`",
            "another secret",
        ),
        (
            "AWS_SESSION_TOKEN",
            "not-a-session-of-anybody",
            "`UnrecognizedClientException`",
            "no session",
        ),
    ] {
        let mut env = moto.env();
        env.retain(|(given, _)| given != name);
        env.push((name.into(), value.into()));
        let mut child = Fetching::start(&env);
        let error = child.fetch(&[HOME], &["us-east-1"]).unwrap_err();
        assert_eq!(error.reason, "no-identity", "{why}: {error:?}");
        assert!(error.text.contains(want), "{why}: {error:?}");
        assert!(!error.text.contains("Canonical"), "{why}: {error:?}");
        child.end(&[moto.secret.clone(), value.to_owned()]);
    }
}

#[test]
fn an_answer_that_cannot_be_used_is_an_error() {
    let moto = Moto::start();
    let mut child = Fetching::start(&moto.env());
    for (kind, reason, want) in [
        ("empty", "bad-answer", "has no authorization data"),
        ("tokenless", "bad-answer", "has no token"),
        ("malformed", "bad-answer", "no text in base64"),
        ("passwordless", "bad-answer", "no `user:password`"),
        (
            "undated",
            "bad-answer",
            "does not say when its token expires",
        ),
        (
            "garbage",
            "bad-answer",
            "with HTTP status 200, nothing that AWS says",
        ),
        ("expired", "expired", "had expired"),
        ("error", "failed", "`ServerException`"),
        ("throttle", "throttled", "Rate exceeded"),
    ] {
        moto.fail("ecr", kind);
        let error = child.fetch(&[HOME], &["us-east-1"]).unwrap_err();
        assert_eq!(error.reason, reason, "{kind}: {error:?}");
        let call = "`ecr:GetAuthorizationToken` in `us-east-1`";
        for part in [call, want] {
            assert!(
                error.text.contains(part),
                "{kind}: no {part:?} in {error:?}"
            );
        }
    }
    moto.heal();
    child.fetch(&[HOME], &["us-east-1"]).unwrap();
    child.end(&moto.passwords());
}

#[test]
fn a_region_that_fails_fails_the_whole_and_is_named() {
    let moto = Moto::start();
    let mut child = Fetching::start(&moto.env());
    moto.set(&json!({"faults": [{"service": "ecr", "kind": "error", "region": "us-east-1"}]}));
    let error = child
        .fetch(&[HOME], &["eu-west-1", "us-east-1", "eu-north-1"])
        .unwrap_err();
    assert!(error.text.contains("in `us-east-1` failed"), "{error:?}");
    child.end(&moto.passwords());
}

#[test]
fn a_call_is_tried_twice_and_no_more() {
    let moto = Moto::start();
    let mut child = Fetching::start(&moto.env());
    for kind in ["throttle", "error"] {
        let before = moto.calls("ecr").len();
        moto.set(&json!({"faults": [{"service": "ecr", "kind": kind, "times": 1}]}));
        child.fetch(&[HOME], &["us-east-1"]).unwrap();
        assert_eq!(moto.calls("ecr").len() - before, 2, "{kind} once");
        moto.fail("ecr", kind);
        child.fetch(&[HOME], &["us-east-1"]).unwrap_err();
        assert_eq!(moto.calls("ecr").len() - before, 4, "{kind} for ever");
    }
    child.end(&moto.passwords());
}

#[test]
fn whoever_is_silent_is_not_waited_for() {
    let moto = Moto::start();
    let mut child = Fetching::start(&moto.env());
    for (service, role, want) in [
        (
            "ecr",
            None,
            "`ecr:GetAuthorizationToken` in `us-east-1` was not answered in time",
        ),
        (
            "sts",
            Some(HOME_ROLE),
            "an identity for `ecr:GetAuthorizationToken` in `us-east-1`",
        ),
    ] {
        moto.fail(service, "silence");
        let error = match role {
            Some(role) => child.fetch_as(role, &["us-east-1"]),
            None => child.fetch(&[HOME], &["us-east-1"]),
        };
        let error = error.unwrap_err();
        moto.heal();
        assert_eq!(error.reason, "timeout", "{error:?}");
        assert!(error.text.contains(want), "{error:?}");
        assert!(
            error.took < Duration::from_secs(10),
            "two tries of a second: {error:?}"
        );
    }
    child.end(&moto.passwords());
}

#[test]
fn where_nobody_listens_is_told_with_what_to_look_at() {
    // Bound and not listened at: the port is nobody else's.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let address: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&address.into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    let moto = Moto::start();
    for (endpoint, role, want) in [
        (
            "AWS_ENDPOINT_URL_ECR",
            None,
            "`ecr:GetAuthorizationToken` in `us-east-1` reached nobody",
        ),
        (
            "AWS_ENDPOINT_URL_STS",
            Some(HOME_ROLE),
            "an identity for `ecr:GetAuthorizationToken`",
        ),
    ] {
        let mut env = moto.env();
        env.retain(|(given, _)| given != endpoint);
        env.push((endpoint.into(), format!("http://127.0.0.1:{port}")));
        let mut child = Fetching::start(&env);
        let error = match role {
            Some(role) => child.fetch_as(role, &["us-east-1"]),
            None => child.fetch(&[HOME], &["us-east-1"]),
        };
        let error = error.unwrap_err();
        assert_eq!(error.reason, "unreachable", "{error:?}");
        for part in [want, "Connection refused", "`HTTPS_PROXY`"] {
            assert!(error.text.contains(part), "no {part:?} in {error:?}");
        }
        child.end(&moto.passwords());
    }
}

#[test]
fn of_a_token_only_the_registries_that_are_wanted_are_written() {
    let moto = Moto::start();
    let mut child = Fetching::start(&moto.env());
    let from = json!({"ecr": {"accountIds": [HOME], "regions": REGIONS}});
    let host = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
    let got = child.ask(&from, &[host]).unwrap();
    assert_eq!(got.logins.keys().collect::<Vec<_>>(), [host]);
    let error = child.ask(&from, &["quay.io"]).unwrap_err();
    assert_eq!(error.reason, "nothing-left", "{error:?}");
    assert!(
        error.text.contains("`registries` names no host of it"),
        "{error:?}"
    );
    child.end(&moto.passwords());
}
