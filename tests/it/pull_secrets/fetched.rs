//! Credentials that are fetched, from moto: asked for once, and nothing is written of a value that is there.

use super::*;
use crate::moto::{HOME, Moto};

const POLICY: &str = "
apiVersion: pullpass.dev/v1
kind: RegistryPolicy
metadata: {name: company}
spec:
  rules:
    - name: ecr
      match: {ecr: {accountIds: ['123456789012'], regions: [us-east-1]}, SELECTED}
      inject: {imagePullSecrets: [ecr@]}
  credentials:
    - {name: ecr@, from: {ecr: {accountIds: ['123456789012'], regions: [us-east-1]}}}
";

/// Renewals of the Lease until now.
fn renewals(estate: &Estate<'_>) -> usize {
    let own = estate.own();
    let user = format!("system:serviceaccount:{own}:pullpass-controller");
    let seen = estate.installation.plane.audited(|event| {
        let written = event["verb"] == "patch" && event["objectRef"]["resource"] == "leases";
        written && event["user"]["username"] == json!(user)
    });
    seen.len()
}

#[test]
fn a_value_that_is_everywhere_is_neither_written_nor_asked_for_again_at_rest_or_after_a_restart() {
    let estate = Estate::on(Plane::shared(), POLICY);
    // Its tokens end in the middle of a second, as those of AWS do.
    let moto = Moto::start();
    let env = moto.env();
    let env: Vec<_> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let web = estate.namespace();
    estate.put(POLICY);
    let mut controller = estate.control_with(&[], &env);
    let has_token = |namespace: &str| {
        let logins = estate.logins(namespace, "ecr").unwrap_or_default();
        let login = format!("AWS:{}", moto.passwords().last()?);
        let host = format!("{HOME}.dkr.ecr.us-east-1.amazonaws.com {login}");
        logins.contains(&host).then_some(())
    };
    wait_until("the first token", || has_token(&web).is_some());
    wait_until("it is remembered", || {
        let maps = format!(
            "/api/v1/namespaces/{}/configmaps/pullpass-status-0",
            estate.own()
        );
        let map = estate.admin().get(&maps);
        let text = map.body["data"]["status.json"].as_str().unwrap_or_default();
        text.contains("\"expires\"")
    });
    for when in ["at rest", "after a restart"] {
        let (writes, renewed) = (estate.writes().len(), renewals(&estate));
        wait_until("it leads for a while", || renewals(&estate) > renewed + 2);
        let late = estate.namespace();
        wait_until("a late namespace's", || has_token(&late).is_some());
        let written = estate.writes().split_off(writes);
        assert_eq!(written.len(), 1, "{when}: {written:?}");
        assert_eq!(moto.calls("ecr").len(), 1, "{when}");
        controller.stop();
        controller = estate.control_with(&[], &env);
        controller.until_ready();
    }
    controller.stop();
}
