//! Policies of tenants: what they may do in their own namespace, and what they may not.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::install::{Installation, config_map, put};
use super::policy;
use crate::plane::{Plane, USER_AGENT, wait_for, wait_until};

fn rule(image: &str, secret: &str, more: &str) -> String {
    format!(
        "    - {{name: {secret}, match: {{images: ['{image}']}}, inject: {{imagePullSecrets: [{secret}]}}{more}}}\n"
    )
}

fn of(image: &str) -> serde_json::Value {
    json!({"containers": [{"name": "c", "image": image}]})
}

#[test]
fn a_tenant_rules_its_own_namespace_and_never_over_a_final_rule() {
    let plane = Plane::shared();
    let installation = Installation::with(plane, &["--tenant-policies"]);
    let cluster = [
        rule("docker.io", "hub", ""),
        rule("quay.io", "quay", ", final: true"),
    ];
    installation.put("company", &policy("company", &cluster.concat()));
    let webhook = installation.serve(&["--tenant-policies"]);
    let [theirs, neighbours] = ["tenant", "neighbour"].map(|name| installation.namespace(name));
    let tenant = [
        rule("docker.io/acme", "acme", ""),
        rule("quay.io/acme", "stolen", ""),
        rule("ghcr.io", "ghcr", ""),
    ];
    put(plane, &theirs, "mine", &policy("mine", &tenant.concat()));
    webhook.until_secrets(&theirs, &of("ghcr.io/a/b"), &["ghcr"]);
    for (namespace, image, want, why) in [
        (&theirs, "acme/app", &["acme"][..], "the longer path wins"),
        (
            &theirs,
            "nginx",
            &["hub"],
            "the cluster's rule holds for the rest",
        ),
        (
            &theirs,
            "quay.io/acme/app",
            &["quay"],
            "what is final stays so",
        ),
        (&neighbours, "acme/app", &["hub"], "nothing of it next door"),
        (&neighbours, "ghcr.io/a/b", &[], "nothing at all"),
    ] {
        println!("{why}");
        webhook.until_secrets(namespace, &of(image), want);
    }
}

#[test]
fn a_tenant_declares_no_credential_also_past_the_check_at_the_door() {
    let plane = Plane::shared();
    let installation = Installation::with(plane, &["--tenant-policies"]);
    let mine = policy("mine", &rule("ghcr.io", "ghcr", ""));
    let greedy = format!(
        "{}  credentials: [{{name: greedy, from: {{existing: {{}}}}}}]\n",
        policy("mine", &rule("ghcr.io", "greedy", ""))
    );
    let theirs = installation.namespace("greedy");
    {
        let webhook = installation.serve(&["--tenant-policies"]);
        put(plane, &theirs, "mine", &mine);
        webhook.until_secrets(&theirs, &of("ghcr.io/a/b"), &["ghcr"]);
        let ran = wait_for("it is refused", || {
            let args = ["-n", &theirs, "apply", "--dry-run=server", "-f", "-"];
            let object = config_map("other", &greedy.replace("name: mine", "name: other"));
            let ran = plane.admin().kubectl_with(&args, &object.to_string());
            (ran.status != 0).then_some(ran)
        });
        assert!(
            ran.stderr.contains("declares credentials"),
            "{}",
            ran.stderr
        );
    }
    // With nobody at the door.
    let webhook = installation.serve_as(&["--tenant-policies"], |entry| {
        if entry["name"] == "policies.pullpass.dev" {
            entry["objectSelector"] = json!({"matchLabels": {"no": "object"}});
        }
    });
    webhook.until_secrets(&theirs, &of("ghcr.io/a/b"), &["ghcr"]);
    put(plane, &theirs, "mine", &greedy);
    // It reads the other tests' ConfigMaps too, so that a count says nothing.
    let name = format!("{theirs}/mine");
    wait_until("it is told of", || {
        let log = webhook.server.log();
        let mut lines = log
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.any(|line| line["config_map"] == *name && line["level"] == "ERROR")
    });
    // What it said before stays in force.
    webhook.until_secrets(&theirs, &of("ghcr.io/a/b"), &["ghcr"]);
}

#[test]
fn without_the_flag_a_tenants_policy_is_not_read_and_its_author_is_told() {
    let plane = Plane::shared();
    let installation = Installation::on(plane);
    installation.put("company", &policy("company", &rule("docker.io", "hub", "")));
    let webhook = installation.serve(&[]);
    let theirs = installation.namespace("untold");
    let ran = wait_for("its author is told", || {
        let object = config_map("mine", &policy("mine", &rule("ghcr.io", "ghcr", "")));
        let args = ["-n", &theirs, "apply", "-f", "-"];
        let ran = plane.admin().kubectl_with(&args, &object.to_string());
        assert_eq!(ran.status, 0, "{ran:?}");
        if !ran.stderr.contains("Warning: ") {
            plane
                .admin()
                .kubectl(&["-n", &theirs, "delete", "configmap", "mine"]);
            return None;
        }
        Some(ran)
    });
    assert!(ran.stderr.contains("`--tenant-policies`"), "{}", ran.stderr);
    webhook.until_secrets(&theirs, &of("nginx"), &["hub"]);
    webhook.until_secrets(&theirs, &of("ghcr.io/a/b"), &[]);
}

#[test]
fn to_read_tenants_policies_takes_a_right_to_all_config_maps_and_no_other() {
    let plane = Plane::shared();
    let installation = Installation::with(plane, &["--tenant-policies"]);
    let webhook = installation.serve(&["--tenant-policies"]);
    let user = format!(
        "system:serviceaccount:{}:pullpass-webhook",
        installation.own
    );
    let uses = || {
        let of_it =
            |event: &Value| event["user"]["username"] == *user && event["userAgent"] != USER_AGENT;
        let events = plane.audited(of_it).into_iter();
        let told = events.map(|event| {
            let object = &event["objectRef"];
            assert!(
                event["responseStatus"]["code"].as_u64() < Some(400),
                "{event}"
            );
            let own = object["namespace"].as_str().map_or("", |own| {
                assert_eq!(own, installation.own, "{event}");
                " of its own"
            });
            let [verb, resource] =
                [&event["verb"], &object["resource"]].map(|text| text.as_str().unwrap());
            format!("{verb} {resource}{own}")
        });
        told.collect::<BTreeSet<_>>()
    };
    let mut want = BTreeSet::new();
    for resource in [
        "configmaps",
        "namespaces",
        "serviceaccounts",
        // What a controller says is read in one namespace, as without tenants.
        "configmaps of its own",
        "leases of its own",
    ] {
        want.extend(["list", "watch"].map(|verb| format!("{verb} {resource}")));
    }
    wait_until("all is watched", || uses().len() >= want.len());
    assert_eq!(uses(), want);
    assert_eq!(webhook.server.get("/readyz").status, 200);
}
