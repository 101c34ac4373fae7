//! Who is asked for an identity: the SDK's default chain, as it is in a cluster.

use std::net::TcpListener;
use std::time::Duration;

use super::child::Fetching;
use crate::moto::{HOME, HOME_ROLE, Moto, OTHER_ROLE};

/// What a projected token looks like; nobody may read it in a log.
const WEB_TOKEN: &str =
    "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6cHVsbHBhc3MifQ.c2ln";

#[test]
fn a_service_account_has_its_role_by_irsa() {
    let moto = Moto::start();
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, WEB_TOKEN).unwrap();
    let mut env = moto.endpoints();
    // As the EKS webhook sets them.
    for (name, value) in [
        ("AWS_ROLE_ARN", HOME_ROLE),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        ("AWS_REGION", "us-east-1"),
        ("AWS_STS_REGIONAL_ENDPOINTS", "regional"),
    ] {
        env.push((name.into(), value.into()));
    }
    let mut child = Fetching::start(&env);
    child.fetch(&[HOME], &["eu-west-1"]).unwrap();
    let sts = moto.calls("sts");
    assert_eq!(sts.len(), 1, "{sts:?}");
    assert_eq!(sts[0]["action"], "AssumeRoleWithWebIdentity");
    assert_eq!(sts[0]["role"], HOME_ROLE);
    assert_eq!(sts[0]["token"], WEB_TOKEN);

    moto.fail("sts", "error");
    child.fetch(&[HOME], &["eu-west-1"]).unwrap();
    assert_eq!(
        moto.calls("sts").len(),
        1,
        "the identity is kept while it is good"
    );
    let mut secrets = moto.passwords();
    secrets.push(WEB_TOKEN.to_owned());
    child.end(&secrets);

    // Nobody is kept for one who starts now.
    let mut child = Fetching::start(&env);
    let error = child.fetch(&[HOME], &["eu-west-1"]).unwrap_err();
    assert_eq!(error.reason, "failed", "{error:?}");
    assert!(
        error.text.contains("`sts:AssumeRoleWithWebIdentity`"),
        "{error:?}"
    );
    moto.heal();
    std::fs::remove_file(&token).unwrap();
    let error = child.fetch(&[HOME], &["eu-west-1"]).unwrap_err();
    assert_eq!(error.reason, "no-identity", "{error:?}");
    child.end(&[WEB_TOKEN.to_owned()]);
}

#[test]
fn a_service_account_has_its_role_by_pod_identity_and_takes_another_from_there() {
    let moto = Moto::start();
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("eks-pod-identity-token");
    std::fs::write(&token, &moto.pod_token).unwrap();
    let mut env = moto.endpoints();
    env.push((
        "AWS_CONTAINER_CREDENTIALS_FULL_URI".into(),
        format!("{}/pod-identity", moto.url()),
    ));
    env.push((
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE".into(),
        token.to_str().unwrap().into(),
    ));
    let mut child = Fetching::start(&env);
    child.fetch(&[HOME], &["eu-west-1"]).unwrap();
    let asked = moto.calls("metadata");
    assert_eq!(asked[0]["token"], *moto.pod_token, "{asked:?}");

    // A role of its own account may assume a role, when its policy lets it.
    let error = child.fetch_as(OTHER_ROLE, &["eu-west-1"]).unwrap_err();
    assert!(
        error
            .text
            .contains("assumed-role/puller/node is not authorized"),
        "{error:?}"
    );
    let allow = serde_json::json!({"role": ["ecr:GetAuthorizationToken", "sts:AssumeRole"]});
    moto.set(&serde_json::json!({ "allow": allow }));
    child.fetch_as(OTHER_ROLE, &["eu-west-1"]).unwrap();
    let mut secrets = moto.passwords();
    secrets.push(moto.pod_token.clone());
    child.end(&secrets);
}

#[test]
fn an_instance_gives_its_role() {
    let moto = Moto::start();
    let mut env = moto.endpoints();
    env.retain(|(name, _)| name != "AWS_EC2_METADATA_DISABLED");
    env.push(("AWS_EC2_METADATA_SERVICE_ENDPOINT".into(), moto.url()));
    let mut child = Fetching::start(&env);
    child.fetch(&[HOME], &["eu-west-1"]).unwrap();
    assert_eq!(moto.calls("metadata")[0]["action"], "instance");
    child.end(&moto.passwords());
}

#[test]
fn without_any_identity_it_is_said_soon() {
    let moto = Moto::start();
    // Takes connections and never answers, as a network that drops packets.
    let hole = TcpListener::bind("127.0.0.1:0").unwrap();
    let hole_url = format!("http://{}", hole.local_addr().unwrap());
    for (metadata, limit, why) in [
        (None, 5, "metadata is switched off"),
        (Some("http://127.0.0.1:1"), 30, "nobody is there"),
        (Some(&*hole_url), 30, "nobody answers"),
    ] {
        let mut env = moto.endpoints();
        if let Some(url) = metadata {
            env.retain(|(name, _)| name != "AWS_EC2_METADATA_DISABLED");
            env.push(("AWS_EC2_METADATA_SERVICE_ENDPOINT".into(), url.into()));
        }
        let mut child = Fetching::patient(&env);
        let error = child.fetch(&[HOME], &["eu-west-1"]).unwrap_err();
        assert_eq!(error.reason, "no-identity", "{why}: {error:?}");
        for part in [
            "`ecr:GetAuthorizationToken` in `eu-west-1`",
            "by IRSA or by EKS Pod Identity",
        ] {
            assert!(error.text.contains(part), "{why}: {error:?}");
        }
        assert!(error.took < Duration::from_secs(limit), "{why}: {error:?}");
        child.end(&[]);
    }
}
