//! Pull secrets, annotation and environment sources: the Pod before, the Pod after.

use json_patch::PatchOperation;
use serde_json::{Value, json};

use super::{HUB, ask, cluster, mutate, mutate_review, pod, policy, pulls, review, snapshot};
use crate::admission::Outcome;

#[test]
fn pull_secrets_are_joined_to_those_of_the_pod() {
    let two = snapshot(
        "- {name: hub, match: {images: [docker.io]}, inject: {imagePullSecrets: [a, b]}}\n\
         - {name: quay, match: {images: [quay.io]}, inject: {imagePullSecrets: [b, c]}}",
    );
    for (has, want, why) in [
        (
            json!(null),
            json!([{"name": "a"}, {"name": "b"}, {"name": "c"}]),
            "null is absent",
        ),
        (
            json!([]),
            json!([{"name": "a"}, {"name": "b"}, {"name": "c"}]),
            "an empty list is filled",
        ),
        (
            json!([{"name": "own"}]),
            json!([{"name": "own"}, {"name": "a"}, {"name": "b"}, {"name": "c"}]),
            "ours come behind the Pod's own",
        ),
        (
            json!([{"name": "c"}, {"name": "own"}, {"name": "a"}]),
            json!([{"name": "c"}, {"name": "own"}, {"name": "a"}, {"name": "b"}]),
            "one that is there stays where it is",
        ),
        (
            json!([{"name": "b"}, {"name": "b"}, {}, null, {"name": null}, {"name": ""}]),
            json!([{"name": "b"}, {"name": "b"}, {}, null, {"name": null}, {"name": ""}, {"name": "a"}, {"name": "c"}]),
            "duplicates and entries without a name are legal and stay",
        ),
        (
            json!([{"name": "Bad Name", "x": 1}]),
            json!([{"name": "Bad Name", "x": 1}, {"name": "a"}, {"name": "b"}, {"name": "c"}]),
            "names are not validated, unknown fields stay",
        ),
    ] {
        let mut pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [
            {"name": "c", "image": "nginx"}, {"name": "d", "image": "quay.io/o/a"}, {"name": "e", "image": "redis"}
        ], "imagePullSecrets": has}});
        assert_eq!(
            mutate(&pod, &two)["spec"]["imagePullSecrets"],
            want,
            "{has}: {why}"
        );
        if has.is_null() {
            pod["spec"]
                .as_object_mut()
                .unwrap()
                .remove("imagePullSecrets");
            assert_eq!(
                mutate(&pod, &two)["spec"]["imagePullSecrets"],
                want,
                "absent"
            );
        }
    }
}

#[test]
fn a_list_is_added_whole_where_there_is_none_and_else_entry_by_entry() {
    let two = snapshot("- {name: r, match: {images: ['*']}, inject: {imagePullSecrets: [a, b]}}");
    for (has, want) in [
        (json!(null), vec!["/spec/imagePullSecrets"]),
        (
            json!([]),
            vec!["/spec/imagePullSecrets/-", "/spec/imagePullSecrets/-"],
        ),
        (json!([{"name": "a"}]), vec!["/spec/imagePullSecrets/-"]),
    ] {
        let mut pod = pod("nginx");
        pod["spec"]["imagePullSecrets"] = has;
        let patch = ask(&review(&pod), &two).patch;
        let paths: Vec<String> = patch
            .iter()
            .map(|operation| operation.path().to_string())
            .collect();
        let paths: Vec<&str> = paths
            .iter()
            .map(|path| &**path)
            .filter(|path| path.contains("Pull"))
            .collect();
        assert_eq!(paths, want);
        assert!(
            patch
                .iter()
                .all(|operation| matches!(operation, PatchOperation::Add(_))),
            "{patch}"
        );
    }
}

#[test]
fn images_come_in_the_order_containers_init_ephemeral_volumes() {
    let four = snapshot(
        "- {name: d, match: {images: [d.io]}, inject: {imagePullSecrets: [of-volume]}}\n\
         - {name: c, match: {images: [c.io]}, inject: {imagePullSecrets: [of-ephemeral]}}\n\
         - {name: b, match: {images: [b.io]}, inject: {imagePullSecrets: [of-init]}}\n\
         - {name: a, match: {images: [a.io]}, inject: {imagePullSecrets: [of-container]}}",
    );
    let pod = json!({"metadata": {}, "spec": {
        "volumes": [{"name": "n", "emptyDir": {}}, {"name": "v", "image": {"reference": "d.io/x"}}],
        "ephemeralContainers": [{"name": "e", "image": "c.io/x"}],
        "initContainers": [{"name": "i", "image": "b.io/x"}],
        "containers": [{"name": "c", "image": "a.io/x"}],
    }});
    let (after, response) = mutate_review(&review(&pod), &four);
    assert_eq!(
        pulls(&after),
        ["of-container", "of-init", "of-ephemeral", "of-volume"]
    );
    assert_eq!(response.audit["rules"], "p/a,p/b,p/c,p/d");
}

#[test]
fn the_annotation_names_the_rules_and_keeps_the_others() {
    for (metadata, want, why) in [
        (json!({}), json!({"pullpass.dev/rules": "p/hub"}), "absent"),
        (
            json!({"annotations": null}),
            json!({"pullpass.dev/rules": "p/hub"}),
            "null",
        ),
        (
            json!({"annotations": {}}),
            json!({"pullpass.dev/rules": "p/hub"}),
            "empty",
        ),
        (
            json!({"annotations": {"a/b": "c", "pullpass.dev/rules": "p/old"}}),
            json!({"a/b": "c", "pullpass.dev/rules": "p/hub"}),
            "stale",
        ),
        (
            json!({"annotations": {"pullpass.dev/rules": null}}),
            json!({"pullpass.dev/rules": "p/hub"}),
            "there and null",
        ),
        (
            json!({"annotations": {"pullpass.dev/rules": "p/hub"}}),
            json!({"pullpass.dev/rules": "p/hub"}),
            "right already",
        ),
    ] {
        let pod = json!({"metadata": metadata, "spec": {"containers": [{"name": "c", "image": "nginx"}]}});
        assert_eq!(
            mutate(&pod, &snapshot(HUB))["metadata"]["annotations"],
            want,
            "{why}"
        );
    }
    for metadata in [json!({"spec": null}), json!({"metadata": null})] {
        let mut pod = metadata;
        pod["spec"] = json!({"containers": [{"name": "c", "image": "nginx"}]});
        let after = mutate(&pod, &snapshot(HUB));
        assert_eq!(
            after["metadata"],
            json!({"annotations": {"pullpass.dev/rules": "p/hub"}})
        );
    }
}

#[test]
fn the_annotation_and_the_audit_values_are_bounded() {
    let rules: Vec<String> = (0..200)
        .map(|i| format!("- {{name: rule-{i:0>20}, match: {{images: [r{i}.io]}}, inject: {{imagePullSecrets: [secret-{i:0>20}]}}}}"))
        .collect();
    let containers: Vec<Value> = (0..200)
        .map(|i| json!({"name": format!("c{i}"), "image": format!("r{i}.io/x")}))
        .collect();
    let pod = json!({"metadata": {}, "spec": {"containers": containers}});
    let (after, response) = mutate_review(&review(&pod), &snapshot(&rules.join("\n")));
    assert_eq!(
        pulls(&after).len(),
        200,
        "the bound is on the annotation alone"
    );
    let annotation = after["metadata"]["annotations"]["pullpass.dev/rules"]
        .as_str()
        .unwrap();
    assert!(
        annotation.len() <= 1024 && annotation.len() > 990,
        "{}",
        annotation.len()
    );
    assert!(
        annotation
            .split(',')
            .all(|rule| rule.len() == "p/rule-".len() + 20),
        "names stay whole"
    );
    for (key, value) in &response.audit {
        assert!(value.len() <= 1024, "{key} has {} bytes", value.len());
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        assert!(
            key.len() <= 63 && key.chars().all(valid) && !key.ends_with('.'),
            "{key}"
        );
    }
}

#[test]
fn a_rule_that_injects_nothing_is_named_and_switches_off_what_lies_below() {
    let rules = snapshot(
        "- {name: node, match: {images: ['*.pkg.dev']}, inject: {}}\n\
         - {name: all, match: {images: ['*']}, inject: {imagePullSecrets: [fallback]}}",
    );
    let after = mutate(&pod("europe-docker.pkg.dev/p/r/i"), &rules);
    assert_eq!(after["spec"].get("imagePullSecrets"), None);
    assert_eq!(
        after["metadata"]["annotations"]["pullpass.dev/rules"],
        "p/node"
    );
    assert_eq!(pulls(&mutate(&pod("nginx"), &rules)), ["fallback"]);
}

#[test]
fn an_environment_source_goes_to_the_containers_whose_image_the_rule_won() {
    let rules = snapshot(
        "- {name: a, match: {images: [a.io]}, inject: {envFrom: [{secretRef: {name: s}}, {configMapRef: {name: m, optional: true}, prefix: P_}]}}\n\
         - {name: b, match: {images: [b.io]}, inject: {envFrom: [{secretRef: {name: s}}]}}\n\
         - {name: v, match: {images: [v.io]}, inject: {envFrom: [{secretRef: {name: never}}]}}",
    );
    let s = json!({"secretRef": {"name": "s"}});
    let m = json!({"prefix": "P_", "configMapRef": {"name": "m", "optional": true}});
    for (has, want, why) in [
        (json!(null), json!([s, m]), "null is absent"),
        (json!([]), json!([s, m]), "empty"),
        (json!([s]), json!([s, m]), "an equal entry is there"),
        (json!([m, s]), json!([m, s]), "both are there"),
        (
            json!([{"secretRef": {"name": "s", "optional": false}, "prefix": ""}]),
            json!([{"secretRef": {"name": "s", "optional": false}, "prefix": ""}, m]),
            "what is written out and what is left out are equal",
        ),
        (
            json!([{"secretRef": {"name": "s", "optional": true}}]),
            json!([{"secretRef": {"name": "s", "optional": true}}, s, m]),
            "an optional one is another",
        ),
        (
            json!([{"secretRef": {"name": "s"}, "prefix": "X"}]),
            json!([{"secretRef": {"name": "s"}, "prefix": "X"}, s, m]),
            "one with a prefix is another",
        ),
        (
            json!([{"configMapRef": {"name": "s"}}, null]),
            json!([{"configMapRef": {"name": "s"}}, null, s, m]),
            "a ConfigMap of that name is another",
        ),
    ] {
        let pod = json!({"metadata": {}, "spec": {
            "containers": [
                {"name": "none", "image": "z.io/x"},
                {"name": "a", "image": "a.io/x", "envFrom": has},
                {"name": "no-image"},
                {"name": "b", "image": "b.io/x"},
            ],
            "initContainers": [{"name": "i", "image": "a.io/y", "envFrom": has}],
            "volumes": [{"name": "v", "image": {"reference": "v.io/x"}}],
        }});
        let after = mutate(&pod, &rules);
        assert_eq!(after["spec"]["containers"][1]["envFrom"], want, "{why}");
        assert_eq!(
            after["spec"]["initContainers"][0]["envFrom"], want,
            "init container: {why}"
        );
        assert_eq!(
            after["spec"]["containers"][0].get("envFrom"),
            None,
            "another image"
        );
        assert_eq!(
            after["spec"]["containers"][2].get("envFrom"),
            None,
            "no image"
        );
        assert_eq!(
            after["spec"]["containers"][3]["envFrom"],
            json!([s]),
            "another rule's"
        );
        assert!(
            !after.to_string().contains("never"),
            "a volume takes no environment"
        );
    }
}

#[test]
fn a_rule_for_every_pod_applies_once_beside_the_others() {
    let rules = snapshot(
        "- {name: hub, match: {images: [docker.io]}, inject: {imagePullSecrets: [hub-creds], envFrom: [{secretRef: {name: s}}]}}\n\
         - {name: node, match: {images: [node.io]}, inject: {}}\n\
         - {name: all, match: {everyPod: true}, inject: {imagePullSecrets: [debug-creds, hub-creds], envFrom: [{configMapRef: {name: m}}, {secretRef: {name: s}}]}}",
    );
    let (s, m) = (
        json!({"secretRef": {"name": "s"}}),
        json!({"configMapRef": {"name": "m"}}),
    );
    let pod = json!({"metadata": {}, "spec": {
        "containers": [{"name": "c", "image": "nginx"}, {"name": "d", "image": "node.io/x"}, null, {}],
        "initContainers": [{"name": "i", "image": "not/A/reference"}],
    }});
    let (after, response) = mutate_review(&review(&pod), &rules);
    assert_eq!(
        pulls(&after),
        ["hub-creds", "debug-creds"],
        "the images' secrets come first"
    );
    assert_eq!(after["spec"]["containers"][0]["envFrom"], json!([s, m]));
    assert_eq!(after["spec"]["containers"][1]["envFrom"], json!([m, s]));
    assert_eq!(
        after["spec"]["containers"][2],
        json!(null),
        "nothing is added to null"
    );
    assert_eq!(after["spec"]["initContainers"][0]["envFrom"], json!([m, s]));
    assert_eq!(response.audit["rules"], "p/hub,p/node,p/all");
    let bare = mutate(&json!({"metadata": {}, "spec": {}}), &rules);
    assert_eq!(
        pulls(&bare),
        ["debug-creds", "hub-creds"],
        "a Pod without images is a Pod"
    );
}

#[test]
fn a_sidecar_that_another_webhook_adds_later_gets_its_needs_and_nothing_else() {
    let rules = snapshot(&format!(
        "{HUB}\n- {{name: mesh, match: {{images: [mesh.io]}}, inject: {{imagePullSecrets: [mesh-creds], envFrom: [{{secretRef: {{name: s}}}}]}}}}"
    ));
    let mut after = mutate(&pod("nginx"), &rules);
    let containers = after["spec"]["containers"].as_array_mut().unwrap();
    containers.insert(0, json!({"name": "proxy", "image": "mesh.io/proxy"}));
    let before = after.clone();
    let (after, response) = mutate_review(&review(&after), &rules);
    assert_eq!(
        pulls(&after),
        ["hub-creds", "mesh-creds"],
        "what is there keeps its place"
    );
    assert_eq!(
        response.patch.len(),
        3,
        "secret, environment, annotation: {}",
        response.patch
    );
    assert_eq!(
        response.facts.secrets.iter().map(|(_, n)| n).sum::<u32>(),
        1,
        "only the new one counts"
    );
    let mut want = before;
    want["spec"]["imagePullSecrets"] = json!([{"name": "hub-creds"}, {"name": "mesh-creds"}]);
    want["spec"]["containers"][0]["envFrom"] = json!([{"secretRef": {"name": "s"}}]);
    want["metadata"]["annotations"]["pullpass.dev/rules"] = json!("p/mesh,p/hub");
    assert_eq!(after, want);
}

#[test]
fn a_pod_out_of_scope_is_left_alone() {
    let labelled = |labels: Value| {
        let mut pod = pod("nginx");
        pod["metadata"]["labels"] = labels;
        pod
    };
    let mut mirror = pod("nginx");
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    let objects = "{apiVersion: v1, kind: Namespace, metadata: {name: quiet, labels: {pullpass.dev/inject: disabled}}}";
    let snapshot = cluster(&policy(HUB), objects);
    for (namespace, pod, want, why) in [
        ("web", pod("nginx"), Outcome::Patched, "in scope"),
        (
            "web",
            labelled(json!({"pullpass.dev/inject": "disabled"})),
            Outcome::Excluded,
            "the Pod opts out",
        ),
        (
            "web",
            labelled(json!({"pullpass.dev/inject": "enabled"})),
            Outcome::Patched,
            "another value",
        ),
        (
            "web",
            labelled(json!({"pullpass.dev/inject": null})),
            Outcome::Patched,
            "a null label",
        ),
        (
            "quiet",
            pod("nginx"),
            Outcome::Excluded,
            "the namespace opts out",
        ),
        (
            "kube-system",
            pod("nginx"),
            Outcome::Excluded,
            "always excluded",
        ),
        (
            "pullpass-system",
            pod("nginx"),
            Outcome::Excluded,
            "our own namespace",
        ),
        (
            "web",
            mirror,
            Outcome::Excluded,
            "a mirror Pod may not reference secrets",
        ),
    ] {
        let mut review = review(&pod);
        review["request"]["namespace"] = json!(namespace);
        let response = ask(&review, &snapshot);
        assert_eq!(response.facts.outcome, want, "{namespace} {pod}: {why}");
        assert_eq!(
            response.patch.is_empty(),
            want == Outcome::Excluded,
            "{why}"
        );
        assert_eq!(response.body["allowed"], true);
    }
}

#[test]
fn an_image_that_does_not_parse_is_told_and_the_others_go_on() {
    for image in [
        "",
        "quay.io/Upper/x",
        "a b",
        "nginx:",
        "ng\ninx",
        "x@sha256:12",
    ] {
        let pod = json!({"metadata": {}, "spec": {"containers": [
            {"name": "c", "image": image}, {"name": "d", "image": "nginx"}
        ]}});
        let (after, response) = mutate_review(&review(&pod), &snapshot(HUB));
        assert_eq!(pulls(&after), ["hub-creds"], "{image:?}");
        assert_eq!(response.codes(), ["PP201"], "{image:?}");
        assert!(
            response.warnings[0].contains("spec.containers[0].image"),
            "{:?}",
            response.warnings
        );
        let images = response.facts.images;
        assert_eq!(
            (images.matched, images.unmatched, images.unreadable),
            (1, 0, 1),
            "{image:?}"
        );
    }
}
