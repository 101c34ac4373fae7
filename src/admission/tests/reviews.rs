//! Every shape in which a review can come, legal or not: an answer, a warning or one sentence.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{HUB, ask, ask_bytes, mutate_review, pod, pulls, review, snapshot};
use crate::admission::{BadReview, Outcome};

#[test]
fn a_body_that_is_no_review_gets_one_sentence() {
    type Is = fn(&BadReview) -> bool;
    let not_json: Is = |error| matches!(error, BadReview::NotJson(_));
    let other_kind: Is = |error| matches!(error, BadReview::OtherKind(_));
    let other_version: Is = |error| matches!(error, BadReview::OtherVersion(_));
    let no_request: Is = |error| matches!(error, BadReview::NoRequest);
    for (body, is, why) in [
        ("", not_json, "nothing"),
        ("not json", not_json, "words"),
        ("null", not_json, "null"),
        ("[]", not_json, "a list"),
        ("5", not_json, "a number"),
        ("{", not_json, "half an object"),
        (
            r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{}} x"#,
            not_json,
            "something behind it",
        ),
        (r#"{"kind":5}"#, not_json, "a kind that is a number"),
        (
            r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":[]}"#,
            not_json,
            "a request that is a list",
        ),
        (
            r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":5}}"#,
            not_json,
            "a uid that is a number",
        ),
        ("{}", other_kind, "no kind"),
        (r#"{"apiVersion":"v1","kind":"Pod"}"#, other_kind, "a Pod"),
        (
            r#"{"apiVersion":"admission.k8s.io/v1","kind":"admissionreview"}"#,
            other_kind,
            "kinds have their case",
        ),
        (
            r#"{"kind":"AdmissionReview","request":{}}"#,
            other_version,
            "no version",
        ),
        (
            r#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{}}"#,
            other_version,
            "an old version",
        ),
        (
            r#"{"apiVersion":"v1","kind":"AdmissionReview","request":{}}"#,
            other_version,
            "another group",
        ),
        (
            r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#,
            no_request,
            "no request",
        ),
        (
            r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":null}"#,
            no_request,
            "a request that is null",
        ),
        (
            r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"x"}}"#,
            no_request,
            "a response",
        ),
        (
            "{\"apiVersion\":\"v\\n2\",\"kind\":\"AdmissionReview\"}",
            other_version,
            "a version with a newline",
        ),
    ] {
        let error = ask_bytes(body.as_bytes(), &snapshot(HUB))
            .map(|response| response.body)
            .unwrap_err();
        assert!(is(&error), "{body}: {why}: {error:?}");
        let sentence = error.to_string();
        assert!(
            !sentence.contains('\n') && sentence.len() < 300,
            "{sentence}"
        );
    }
    let error = ask_bytes(
        format!("\"{}\"", "a\\n".repeat(1 << 20)).as_bytes(),
        &snapshot(HUB),
    )
    .map(|response| response.body)
    .unwrap_err();
    assert!(
        error.to_string().len() < 300,
        "what somebody sent is not sent back whole"
    );
    let mut body = review(&pod("nginx?")).to_string().into_bytes();
    body.iter_mut()
        .filter(|byte| **byte == b'?')
        .for_each(|byte| *byte = 0xff);
    let error = ask_bytes(&body, &snapshot(HUB))
        .map(|response| response.body)
        .unwrap_err();
    assert!(matches!(error, BadReview::NotUtf8(_)), "{error:?}");
}

#[test]
fn legal_shapes_that_are_rare_are_read_as_the_api_server_means_them() {
    let spec = r#"{"containers":[{"name":"c","image":"nginx"}]}"#;
    for (object, want, why) in [
        (format!(r#"{{"metadata":{{}},"spec":{spec}}}"#), vec!["hub-creds"], "plain"),
        (format!(r#"{{"spec":{spec}}}"#), vec!["hub-creds"], "no metadata"),
        (format!(r#"{{"metadata":null,"spec":{spec}}}"#), vec!["hub-creds"], "metadata that is null"),
        (
            format!(r#"{{"metadata":{{"name":null,"generateName":"a-","labels":null,"annotations":null,"managedFields":null,"namespace":null}},"spec":{spec}}}"#),
            vec!["hub-creds"],
            "null everywhere",
        ),
        (
            r#"{"spec":{"containers":[{"name":"c","image":"nginx","env":null,"envFrom":null,"volumeMounts":null}],"initContainers":null,"ephemeralContainers":null,"volumes":null,"imagePullSecrets":null,"serviceAccountName":null,"serviceAccount":null,"automountServiceAccountToken":null,"nodeName":null,"priorityClassName":null}}"#.to_owned(),
            vec!["hub-creds"],
            "null in every field of the spec",
        ),
        (
            r#"{"spec":{"containers":[null,{"name":"c","image":null},{"name":"d","image":"nginx"}],"volumes":[null,{"name":"v","image":null},{"name":"w","image":{"reference":null}}],"imagePullSecrets":[null,{"name":null}]}}"#.to_owned(),
            vec!["", "", "hub-creds"],
            "null in lists",
        ),
        (
            r#"{"spec":{"x":{"y":[1,2.5e3,true,null,"\u0000"]},"containers":[{"image":"nginx","z":[[[]]]}]},"status":{"phase":"Pending"}}"#.to_owned(),
            vec!["hub-creds"],
            "unknown fields",
        ),
        (
            r#"{"sp\u0065c":{"conta\u0069ners":[{"im\u0061ge":"ng\u0069nx"}],"imagePullSecr\u0065ts":[{"n\u0061me":"hub\u002dcreds"}]}}"#.to_owned(),
            vec!["hub-creds"],
            "escapes in keys and values: the name is there already",
        ),
        (
            r#"{"spec":{"containers":[{"image":"quay.io/x"}],"containers":[{"image":"quay.io/x","image":"nginx"}]}}"#.to_owned(),
            vec!["hub-creds"],
            "a key that stands twice has its last value",
        ),
        (
            r#"{"spec":{"imagePullSecrets":[{"name":"a"}],"containers":[{"image":"nginx"}],"imagePullSecrets":null}}"#.to_owned(),
            vec!["hub-creds"],
            "the last value may be null",
        ),
        (
            r#"{"spec":{"containers":[{"image":"nginx"}],"imagePullSecrets":[{"name":"hub-creds"},{"name":"hub-creds"}]}}"#.to_owned(),
            vec!["hub-creds", "hub-creds"],
            "a duplicate pull secret",
        ),
        (r#"{"spec":{"containers":[]}}"#.to_owned(), vec![], "no containers"),
        (r#"{"spec":{}}"#.to_owned(), vec![], "no list of containers"),
        (r#"{"spec":{"containers":[{"name":"c"}]}}"#.to_owned(), vec![], "no image"),
    ] {
        let body = format!(
            r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","x":1,"response":null,"request":{{"uid":"u1","kind":{{"group":"","version":"v1","kind":"Pod"}},"subResource":"","name":null,"namespace":"web","operation":"CREATE","userInfo":{{"extra":{{"a":["b"]}}}},"object":{object},"oldObject":null,"dryRun":false,"options":null}}}}"#
        );
        let response = ask_bytes(body.as_bytes(), &snapshot(HUB)).unwrap();
        assert_eq!(response.warnings, Vec::<String>::new(), "{object}: {why}");
        let review: Value = serde_json::from_str(&body).unwrap();
        let (after, _) = mutate_review(&review, &snapshot(HUB));
        assert_eq!(pulls(&after), want, "{object}: {why}");
    }
}

#[test]
fn a_pod_of_a_shape_that_cannot_be_read_is_allowed_with_a_warning() {
    for (object, why) in [
        (json!("a Pod"), "a string"),
        (json!([]), "a list"),
        (json!({"spec": []}), "a spec that is a list"),
        (json!({"spec": null}), "no spec"),
        (json!({}), "nothing in it"),
        (json!(null), "no object"),
        (
            json!({"spec": {"containers": {}}}),
            "containers that are an object",
        ),
        (
            json!({"spec": {"containers": ["nginx"]}}),
            "a container that is a string",
        ),
        (
            json!({"spec": {"containers": [{"image": 5}]}}),
            "an image that is a number",
        ),
        (
            json!({"spec": {"containers": [], "imagePullSecrets": "x"}}),
            "pull secrets that are a string",
        ),
        (
            json!({"spec": {"imagePullSecrets": [5]}}),
            "a pull secret that is a number",
        ),
        (
            json!({"spec": {"serviceAccountName": 5}}),
            "an account that is a number",
        ),
        (
            json!({"spec": {"automountServiceAccountToken": "no"}}),
            "a boolean that is a string",
        ),
        (
            json!({"metadata": 1, "spec": {}}),
            "metadata that is a number",
        ),
        (
            json!({"metadata": {"labels": ["a"]}, "spec": {}}),
            "labels that are a list",
        ),
        (
            json!({"metadata": {"labels": {"a": 1}}, "spec": {}}),
            "a label that is a number",
        ),
        (
            json!({"metadata": {"annotations": []}, "spec": {}}),
            "annotations that are a list",
        ),
        (
            json!({"metadata": {"annotations": {"pullpass.dev/rules": 1}}, "spec": {}}),
            "our annotation as a number",
        ),
        (
            json!({"spec": {"containers": vec![json!({}); 20_000]}}),
            "more containers than etcd stores",
        ),
    ] {
        let response = ask(&review(&object), &snapshot(HUB));
        assert_eq!(response.facts.outcome, Outcome::Invalid, "{why}");
        assert_eq!(response.codes(), ["PP208"], "{why}");
        assert_eq!(response.body["allowed"], true, "{why}");
        assert_eq!(response.body["uid"], "u1", "{why}");
        assert!(
            response.patch.is_empty() && response.warnings.len() == 1,
            "{why}"
        );
    }
}

#[test]
fn what_is_read_late_and_cannot_be_read_harms_nothing_else() {
    let rules = snapshot(
        "- {name: r, match: {images: ['*']}, inject: {imagePullSecrets: [a], serviceAccountName: x, envFrom: [{secretRef: {name: s}}]}}",
    );
    for (field, value) in [
        ("envFrom", json!("x")),
        ("envFrom", json!({})),
        ("envFrom", json!([5])),
        ("volumeMounts", json!(5)),
        ("env", json!({"a": 1})),
    ] {
        let mut pod = pod("nginx");
        pod["spec"]["containers"][0][field] = value.clone();
        pod["spec"]["volumes"] = json!([{"name": "kube-api-access-x", "projected": 7}]);
        pod["metadata"]["managedFields"] = json!({"not": "a list"});
        let (after, _) = mutate_review(&review(&pod), &rules);
        assert_eq!(pulls(&after), ["a"], "{field}: {value}");
        if field == "envFrom" {
            assert_eq!(
                after["spec"]["containers"][0]["envFrom"], value,
                "left as it is"
            );
        }
    }
}

#[test]
fn only_pods_of_v1_are_looked_at() {
    for (kind, operation, outcome, warns) in [
        (
            json!({"group": "", "version": "v1", "kind": "Pod"}),
            "CREATE",
            Outcome::Patched,
            false,
        ),
        (
            json!({"group": null, "version": "v1", "kind": "Pod"}),
            "CREATE",
            Outcome::Patched,
            false,
        ),
        (
            json!({"version": "v1", "kind": "Pod", "x": 1}),
            "SOMETHING",
            Outcome::Patched,
            false,
        ),
        (
            json!({"group": "", "version": "v1", "kind": "Pod"}),
            "DELETE",
            Outcome::Unchanged,
            false,
        ),
        (
            json!({"group": "", "version": "v1", "kind": "Pod"}),
            "CONNECT",
            Outcome::Unchanged,
            false,
        ),
        (
            json!({"group": "", "version": "v1", "kind": "PodExecOptions"}),
            "CONNECT",
            Outcome::Unchanged,
            false,
        ),
        (
            json!({"group": "", "version": "v2", "kind": "Pod"}),
            "CREATE",
            Outcome::Invalid,
            true,
        ),
        (
            json!({"group": "x.io", "version": "v1", "kind": "Pod"}),
            "CREATE",
            Outcome::Invalid,
            true,
        ),
        (
            json!({"group": "apps", "version": "v1", "kind": "ReplicaSet"}),
            "CREATE",
            Outcome::Invalid,
            true,
        ),
        (
            json!({"group": "apps", "version": "v1", "kind": "ReplicaSet"}),
            "DELETE",
            Outcome::Invalid,
            true,
        ),
        (
            json!({"group": "", "version": "v1", "kind": "ConfigMap"}),
            "UPDATE",
            Outcome::Invalid,
            true,
        ),
        (json!({}), "CREATE", Outcome::Invalid, true),
        (json!(null), "CREATE", Outcome::Invalid, true),
    ] {
        for object in [pod("nginx"), json!({"spec": {"containers": 5}})] {
            let mut review = review(&object);
            review["request"]["kind"] = kind.clone();
            review["request"]["operation"] = json!(operation);
            let response = ask(&review, &snapshot(HUB));
            let outcome = if outcome == Outcome::Patched && object["spec"]["containers"] == 5 {
                Outcome::Invalid
            } else {
                outcome
            };
            assert_eq!(response.facts.outcome, outcome, "{operation} of {kind}");
            assert_eq!(
                response.codes().is_empty(),
                !warns && outcome != Outcome::Invalid,
                "{operation} of {kind}"
            );
            assert_eq!(response.body["allowed"], true);
        }
    }
}

#[test]
fn the_namespace_is_the_requests_else_the_pods_else_default() {
    let rules = snapshot(
        "- {name: r, match: {images: ['*'], namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}}, inject: {imagePullSecrets: [a]}}",
    );
    for (request, own, want) in [
        (json!("shop"), json!(null), true),
        (json!("shop"), json!("web"), true),
        (json!("web"), json!("shop"), false),
        (json!(""), json!("shop"), true),
        (json!(null), json!(null), false),
    ] {
        let mut pod = pod("nginx");
        pod["metadata"]["namespace"] = own.clone();
        let mut review = review(&pod);
        review["request"]["namespace"] = request.clone();
        assert_eq!(
            !ask(&review, &rules).patch.is_empty(),
            want,
            "{request} and {own}"
        );
    }
}

#[test]
fn the_name_for_the_log_is_the_prefix_where_there_is_no_name() {
    for (metadata, want) in [
        (json!({"name": "a"}), "a"),
        (json!({"generateName": "a-"}), "a-"),
        (json!({"name": "", "generateName": "a-"}), "a-"),
        (json!({"name": "b", "generateName": "a-"}), "b"),
        (json!(null), ""),
    ] {
        let mut pod = pod("nginx");
        pod["metadata"] = metadata;
        assert_eq!(ask(&review(&pod), &snapshot(HUB)).facts.pod, want);
    }
}

#[test]
fn nesting_as_deep_as_a_body_allows_is_answered() {
    let deep = 1_000_000;
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let nest = format!("{}1{}", open.repeat(deep), close.repeat(deep));
        for place in ["x", "status", "metadata", "spec"] {
            let body = format!(
                r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"u1","kind":{{"version":"v1","kind":"Pod"}},"operation":"CREATE","object":{{"spec":{{"containers":[{{"image":"nginx"}}]}},"{place}":{nest}}}}}}}"#
            );
            let response = ask_bytes(body.as_bytes(), &snapshot(HUB)).unwrap();
            let readable = matches!(place, "x" | "status") || (open != "[" && place == "metadata");
            assert_eq!(
                response.facts.outcome == Outcome::Patched,
                readable,
                "{place}: {open}"
            );
        }
        // Read late: managedFields, only when a switch is due.
        let body = review(&pod("nginx")).to_string().replace(
            r#""metadata":{"#,
            &format!(r#""metadata":{{"managedFields":[{{"fieldsV1":{{"f:spec":{nest}}}}}],"#),
        );
        let switch =
            snapshot("- {name: r, match: {images: ['*']}, inject: {serviceAccountName: x}}");
        assert_eq!(
            ask_bytes(body.as_bytes(), &switch).unwrap().facts.outcome,
            Outcome::Patched
        );
    }
}

/// The largest body that is let in is answered well within the API server's patience, whatever it is
/// full of.
#[test]
fn a_body_of_20_mib_takes_no_longer_than_reading_it() {
    let fill = |unit: &str| unit.repeat((20 << 20) / unit.len());
    let object = |inside: &str| review(&json!("POD")).to_string().replace("\"POD\"", inside);
    let every = snapshot(
        "- {name: r, match: {images: ['*']}, inject: {imagePullSecrets: [a], envFrom: [{secretRef: {name: s}}]}}\n\
         - {name: e, match: {everyPod: true}, inject: {envFrom: [{secretRef: {name: t}}]}}",
    );
    let containers = |n: usize| {
        let all: Vec<String> = (0..n)
            .map(|i| format!(r#"{{"name":"c{i}","image":"r{i}.io/x"}}"#))
            .collect();
        all.join(",")
    };
    for (body, what) in [
        (
            object(&format!(
                r#"{{"spec":{{"containers":[{}]}}}}"#,
                fill("{},").trim_end_matches(',')
            )),
            "empty containers",
        ),
        (
            object(&format!(
                r#"{{"spec":{{"containers":[{}]}}}}"#,
                containers(16_000)
            )),
            "containers with images",
        ),
        (
            object(&format!(
                r#"{{"spec":{{"imagePullSecrets":[{}]}}}}"#,
                fill("{},").trim_end_matches(',')
            )),
            "empty pull secrets",
        ),
        (
            object(&format!(
                r#"{{"metadata":{{"annotations":{{"a":"{}"}}}},"spec":{{"containers":[{{"image":"nginx"}}]}}}}"#,
                fill("\\u003c")
            )),
            "escapes",
        ),
        (
            object(&format!(
                r#"{{"spec":{{"containers":[{{"image":"{}"}}]}}}}"#,
                fill("a")
            )),
            "one image",
        ),
        (
            object(&format!(
                r#"{{"spec":{{"containers":[{{"name":"c","image":"nginx","envFrom":[{}]}}]}}}}"#,
                fill("{},").trim_end_matches(',')
            )),
            "environment sources",
        ),
        (
            object(&format!(
                r#"{{"metadata":{{"labels":{{{}}}}},"spec":{{}}}}"#,
                fill(r#""a":"","#).trim_end_matches(',')
            )),
            "labels",
        ),
        (fill("["), "brackets"),
        (fill("\\\""), "no JSON"),
    ] {
        let start = Instant::now();
        let answered = ask_bytes(body.as_bytes(), &every);
        let took = start.elapsed();
        // Unoptimised and beside other tests: a hang is what this is about.
        assert!(took < Duration::from_mins(1), "{what}: {took:?}");
        if let Ok(response) = answered {
            assert_eq!(response.body["allowed"], true, "{what}");
            assert!(
                response.facts.outcome == Outcome::Patched || response.codes() == ["PP208"],
                "{what}"
            );
        }
    }
}
