//! Tables of fields: what each takes, and what is said of what it does not take.

use super::*;
use crate::diagnostic::{Severity, Source};
use crate::policy::{ParseOptions, parse};

/// The codes that a text gets, with the text that each points at.
fn findings(text: &str) -> Vec<(String, String)> {
    let source = Source::new("t.yaml", text);
    let parsed = parse(&source, &ParseOptions::default());
    let errors = parsed
        .diagnostics
        .iter()
        .any(|d| d.severity() == Severity::Error);
    assert_eq!(
        parsed.policies.is_empty(),
        errors,
        "an error keeps it out: {text}"
    );
    let shown = |d: &crate::diagnostic::Diagnostic| {
        let at = d
            .place
            .as_ref()
            .map(|place| place.span.of(text))
            .unwrap_or_default();
        (d.code.to_string(), at.trim_end().to_owned())
    };
    parsed.diagnostics.iter().map(shown).collect()
}

fn check(text: &str, want: &[(&str, &str)], why: &str) {
    let got = findings(text);
    let got: Vec<_> = got
        .iter()
        .map(|(code, at)| (code.as_str(), at.as_str()))
        .collect();
    assert_eq!(got, want, "{why}: {text}");
}

/// A policy with one rule, its `match` and `inject` given in flow style.
fn rule(matching: &str, inject: &str) -> String {
    format!(
        "apiVersion: pullpass.dev/v1\nkind: RegistryPolicy\nmetadata: {{name: p}}\nspec:\n  rules:\n  \
         - name: r\n    match: {matching}\n    inject: {inject}\n"
    )
}

fn policy_of(text: &str) -> RegistryPolicy {
    let parsed = parse(&Source::new("t.yaml", text), &ParseOptions::default());
    assert!(
        parsed.diagnostics.is_empty(),
        "{text}: {:?}",
        parsed.diagnostics
    );
    parsed
        .policies
        .into_iter()
        .next()
        .unwrap_or_else(|| panic!("no policy: {text}"))
}

#[test]
fn every_field_of_the_reference_is_read() {
    let policy = policy_of(
        "
apiVersion: pullpass.dev/v1
kind: RegistryPolicy
metadata: {name: company, labels: {a: b}, annotations: {c: d}}
spec:
  mode: Audit
  rules:
    - name: ecr
      final: true
      match:
        images: [docker.io, 'quay.io/org']
        ecr: {accountIds: ['123456789012'], regions: [US-East-1]}
        namespaceSelector: {matchLabels: {team: build}}
        podSelector: {matchExpressions: [{key: app, operator: Exists}, {key: x, operator: NotIn, values: [w]}]}
      inject:
        imagePullSecrets: [ecr-creds, {name: pasted}]
        serviceAccountName: buildkite-agent
        replaceServiceAccount: Always
        onMissingServiceAccount: Deny
        envFrom: [{prefix: P_, secretRef: {name: aws, optional: true}}, {configMapRef: {name: conf}}]
    - name: every
      match: {everyPod: true}
      inject: {}
  credentials:
    - {name: a, from: {secretRef: {name: hub}}, holdPods: true, holdTimeout: 1m30s, keep: true, registries: [quay.io, 'reg:5000']}
    - {name: b, from: {ecr: {accountIds: ['123456789012'], regions: [us-east-1], roleArn: 'arn:aws:iam::123456789012:role/puller'}}}
    - {name: c, from: {exec: {command: plugin, args: [-x], env: [{name: A, value: B}]}}, registries: [gcr.io]}
    - {name: d, from: {existing: {}}}
    - {name: e, from: {gcp: {}}}
    - {name: f, from: {acr: {registries: [contoso]}}}
",
    );
    assert_eq!(
        (policy.name.as_str(), policy.mode),
        ("company", Mode::Audit)
    );
    let [first, every] = policy.rules.as_slice() else {
        panic!("two rules")
    };
    assert!(first.is_final && !every.is_final);
    let Subject::Images(tests) = &first.subject else {
        panic!("images")
    };
    let tests: Vec<_> = tests.iter().map(|test| test.value.to_string()).collect();
    assert_eq!(
        tests,
        [
            "docker.io",
            "quay.io/org",
            "ecr: {accountIds: [\"123456789012\"], regions: [us-east-1]}"
        ]
    );
    let requirements = |s: &Option<Selector>| s.as_ref().map(|s| s.requirements.len());
    assert_eq!(requirements(&first.namespace_selector), Some(1));
    assert_eq!(requirements(&first.pod_selector), Some(2));
    let secrets: Vec<_> = first.inject.secrets.iter().map(|s| s.as_str()).collect();
    assert_eq!(secrets, ["ecr-creds", "pasted"]);
    let account = first.inject.account.as_ref().unwrap();
    assert_eq!(account.name.as_str(), "buildkite-agent");
    assert_eq!(
        (account.replace, account.on_missing),
        (ReplaceAccount::Always, OnMissingAccount::Deny)
    );
    let [secret, map] = first.inject.env_from.as_slice() else {
        panic!("two sources")
    };
    assert_eq!(
        (&*secret.prefix, secret.from, secret.optional),
        ("P_", EnvFromKind::Secret, Some(true))
    );
    assert_eq!(
        (&*map.name, map.from, map.optional),
        ("conf", EnvFromKind::ConfigMap, None)
    );
    assert!(every.subject == Subject::EveryPod && every.inject.is_empty());
    let a = &policy.credentials[0];
    assert!(a.hold_pods && a.keep);
    assert_eq!(a.hold_timeout, Duration::from_secs(90));
    assert_eq!(a.registries, ["quay.io", "reg:5000"].map(Box::<str>::from));
    assert_eq!(
        policy.credentials[1].hold_timeout,
        Duration::from_mins(1),
        "the default"
    );
    let CredentialSource::Exec {
        api_version, env, ..
    } = &policy.credentials[2].from
    else {
        panic!("exec")
    };
    assert_eq!(
        &**api_version, "credentialprovider.kubelet.k8s.io/v1",
        "the default"
    );
    assert_eq!(env.len(), 1);
}

#[test]
fn defaults_are_the_references() {
    let policy = policy_of(&rule("{images: [quay.io]}", "{serviceAccountName: x}"));
    assert_eq!(policy.mode, Mode::Enforce);
    let account = policy.rules[0].inject.account.clone().unwrap();
    assert_eq!(
        (account.replace, account.on_missing),
        (ReplaceAccount::IfDefault, OnMissingAccount::Skip)
    );
    assert!(!policy.rules[0].is_final && policy.credentials.is_empty());
}

#[test]
#[expect(clippy::too_many_lines, reason = "the table has that many rows")]
fn the_heads_fields_are_held_to_their_types() {
    let body = "spec: {rules: [{name: r, match: {images: [quay.io]}, inject: {}}]}";
    for (head, want, why) in [
        (
            "apiVersion: pullpass.dev/v1\nmetadata: {name: p}",
            &[][..],
            "all that is needed",
        ),
        ("metadata: {name: p}", &["PP104"], "apiVersion is absent"),
        (
            "apiVersion: null\nmetadata: {name: p}",
            &["PP104"],
            "or null, which is the same",
        ),
        (
            "apiVersion: 1\nmetadata: {name: p}",
            &["PP103"],
            "or a number",
        ),
        (
            "apiVersion: pullpass.dev/v2\nmetadata: {name: p}",
            &["PP117"],
            "or a later one",
        ),
        (
            "apiVersion: pullpass.dev/v1",
            &["PP104"],
            "metadata is absent",
        ),
        (
            "apiVersion: pullpass.dev/v1\nmetadata: p",
            &["PP103"],
            "or a string",
        ),
        (
            "apiVersion: pullpass.dev/v1\nmetadata: {}",
            &["PP104"],
            "the name is absent",
        ),
        (
            "apiVersion: pullpass.dev/v1\nmetadata: {name: ''}",
            &["PP105"],
            "or empty",
        ),
        (
            "apiVersion: pullpass.dev/v1\nmetadata: {name: 7}",
            &["PP103"],
            "or a number",
        ),
        (
            "apiVersion: pullpass.dev/v1\nmetadata: {name: A_b}",
            &["PP113"],
            "or no name",
        ),
        (
            "apiVersion: pullpass.dev/v1\nmetadata: {name: p, nane: q}",
            &["PP102"],
            "unknown",
        ),
        (
            "apiVersion: pullpass.dev/v1\nmetadata: {name: p}\nstatus: {}",
            &["PP102"],
            "unknown",
        ),
        (
            "apiVersion: pullpass.dev/v1\nmetadata: {name: p, name: q}",
            &["PP115"],
            "twice",
        ),
    ] {
        let got = findings(&format!("kind: RegistryPolicy\n{head}\n{body}\n"));
        let codes: Vec<_> = got.iter().map(|(code, _)| code.as_str()).collect();
        assert_eq!(codes, want, "{head}: {why}");
    }
    for (spec, want, why) in [
        ("spec: {}", &["PP104"][..], "rules are required"),
        ("spec: null", &["PP104"], "so is spec"),
        ("spec: []", &["PP103"], "a mapping"),
        ("spec: {rules: []}", &["PP105"], "rules are not empty"),
        ("spec: {rules: null}", &["PP104"], "null is absent"),
        ("spec: {rules: {}}", &["PP103"], "rules are a list"),
        ("spec: {rules: [x]}", &["PP103"], "of mappings"),
        (
            "spec: {rules: [{}]}",
            &["PP104", "PP104", "PP104"],
            "a rule has three fields",
        ),
        (
            "spec: {mode: audit, rules: [{}]}",
            &["PP114", "PP104", "PP104", "PP104"],
            "the case counts",
        ),
        (
            "spec: {mode: true, rules: [{}]}",
            &["PP103", "PP104", "PP104", "PP104"],
            "a word",
        ),
    ] {
        let head = "apiVersion: pullpass.dev/v1\nkind: RegistryPolicy\nmetadata: {name: p}";
        let got = findings(&format!("{head}\n{spec}\n"));
        let codes: Vec<_> = got.iter().map(|(code, _)| code.as_str()).collect();
        assert_eq!(codes, want, "{spec}: {why}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "the table has that many rows")]
fn what_a_rule_matches_is_held_to_its_types() {
    for (matching, want, why) in [
        ("{images: [quay.io]}", &[][..], "a pattern"),
        ("{ghcr: {}}", &[], "a class"),
        (
            "{images: [quay.io], ghcr: {}}",
            &[],
            "both are alternatives",
        ),
        ("{everyPod: true}", &[], "every Pod"),
        (
            "{everyPod: false, images: [quay.io]}",
            &[],
            "false is as absent",
        ),
        ("{images: null, ghcr: {}}", &[], "null is as absent"),
        ("{}", &[("PP104", "{")], "nothing to match"),
        (
            "{everyPod: false}",
            &[("PP104", "{")],
            "nor is this anything",
        ),
        ("{images: []}", &[("PP105", "[")], "an empty list"),
        ("{images: quay.io}", &[("PP103", "quay.io")], "no list"),
        ("{images: [7]}", &[("PP103", "7")], "no string"),
        ("{images: ['']}", &[("PP108", "''")], "no pattern"),
        ("{images: ['a b']}", &[("PP108", "'a b'")], "no pattern"),
        (
            "{images: ['https://quay.io']}",
            &[("PP134", "'https://quay.io'")],
            "a scheme",
        ),
        (
            "{images: [quay.io/v2/a]}",
            &[("PP134", "quay.io/v2/a")],
            "an API version",
        ),
        ("{images: [nginx]}", &[("PP131", "nginx")], "no host"),
        (
            "{everyPod: true, images: [quay.io]}",
            &[("PP110", "true")],
            "beside images",
        ),
        (
            "{everyPod: true, ghcr: {}}",
            &[("PP110", "true")],
            "beside a class",
        ),
        (
            "{everyPod: 'yes'}",
            &[("PP103", "'yes'"), ("PP104", "{")],
            "no boolean",
        ),
        (
            "{image: [quay.io]}",
            &[("PP104", "{"), ("PP102", "image")],
            "a misspelt field",
        ),
        (
            "{ecr: {accountIds: []}}",
            &[("PP106", "[")],
            "an empty parameter",
        ),
        (
            "{ecr: {accountIds: ['1']}}",
            &[("PP114", "'1'")],
            "no account",
        ),
        (
            "{ecr: {accountIds: [123456789012]}}",
            &[("PP103", "123456789012")],
            "not quoted",
        ),
        (
            "{ecr: {regions: us-east-1}}",
            &[("PP103", "us-east-1")],
            "no list",
        ),
        (
            "{ecr: {region: [us-east-1]}}",
            &[("PP102", "region")],
            "a misspelt parameter",
        ),
        (
            "{ecrPublic: {regions: [x]}}",
            &[("PP102", "regions")],
            "it has no parameters",
        ),
        ("{ecr: []}", &[("PP103", "[")], "a mapping"),
        (
            "{gcp: {projects: [Acme]}}",
            &[("PP114", "Acme")],
            "no project",
        ),
        (
            "{acr: {registries: [contoso.azurecr.io]}}",
            &[("PP114", "contoso.azurecr.io")],
            "no name",
        ),
        (
            "{dockerHub: {organizations: [a/b]}}",
            &[("PP114", "a/b")],
            "no organization",
        ),
        (
            "{quay: {organizations: ['']}}",
            &[("PP114", "''")],
            "no organization",
        ),
        (
            "{ghcr: {owners: [a_b_c]}}",
            &[("PP114", "a_b_c")],
            "no owner",
        ),
    ] {
        check(&rule(matching, "{}"), want, why);
    }
}

#[test]
fn selectors_are_what_an_api_server_takes() {
    for (selector, want, why) in [
        ("{}", &[][..], "an empty selector is everything"),
        ("{matchLabels: {}}", &[], "so is this"),
        (
            "{matchLabels: {a: b}, matchExpressions: []}",
            &[],
            "both fields",
        ),
        ("{matchLabels: {a: ''}}", &[], "an empty value is one"),
        (
            "{matchLabels: {a: true}}",
            &[("PP103", "true")],
            "a value is a string",
        ),
        ("{matchLabels: {a: 1}}", &[("PP103", "1")], "quoted"),
        ("{matchLabels: [a]}", &[("PP103", "[")], "a mapping"),
        (
            "{matchLabels: {a: b, a: c}}",
            &[("PP115", "a")],
            "a key twice",
        ),
        ("{matchLabels: {'-a': b}}", &[("PP109", "'-a'")], "no key"),
        (
            "{matchLabels: {a: 'b c'}}",
            &[("PP109", "'b c'")],
            "no value",
        ),
        (
            "{matchExpressions: [{key: a, operator: In, values: [b]}]}",
            &[],
            "In",
        ),
        (
            "{matchExpressions: [{key: a, operator: NotIn, values: [b]}]}",
            &[],
            "NotIn",
        ),
        (
            "{matchExpressions: [{key: a, operator: Exists}]}",
            &[],
            "Exists",
        ),
        (
            "{matchExpressions: [{key: a, operator: DoesNotExist, values: []}]}",
            &[],
            "no value",
        ),
        (
            "{matchExpressions: [{key: a, operator: In}]}",
            &[("PP109", "{")],
            "In wants values",
        ),
        (
            "{matchExpressions: [{key: a, operator: In, values: []}]}",
            &[("PP109", "{")],
            "one or more",
        ),
        (
            "{matchExpressions: [{key: a, operator: Exists, values: [b]}]}",
            &[("PP109", "{")],
            "or none",
        ),
        (
            "{matchExpressions: [{key: a, operator: exists}]}",
            &[("PP114", "exists")],
            "the case counts",
        ),
        (
            "{matchExpressions: [{operator: Exists}]}",
            &[("PP104", "{")],
            "a key is required",
        ),
        (
            "{matchExpressions: [{key: a}]}",
            &[("PP104", "{")],
            "so is an operator",
        ),
        ("{matchExpressions: {key: a}}", &[("PP103", "{")], "a list"),
        (
            "{matchlabels: {a: b}}",
            &[("PP102", "matchlabels")],
            "a misspelt field",
        ),
        ("a=b", &[("PP103", "a=b")], "a mapping"),
    ] {
        let matching = format!("{{images: [quay.io], podSelector: {selector}}}");
        check(&rule(&matching, "{}"), want, why);
    }
}

#[test]
fn what_a_rule_injects_is_held_to_its_types() {
    for (inject, want, why) in [
        ("{}", &[][..], "nothing, on purpose"),
        ("{imagePullSecrets: []}", &[], "nothing, too"),
        ("{imagePullSecrets: [a, {name: b}]}", &[], "both forms"),
        ("null", &[("PP104", "name")], "but it has to be written"),
        ("[]", &[("PP103", "[")], "as a mapping"),
        ("{imagePullSecrets: a}", &[("PP103", "a")], "a list"),
        (
            "{imagePullSecrets: [A]}",
            &[("PP113", "A")],
            "a Secret's name",
        ),
        (
            "{imagePullSecrets: ['']}",
            &[("PP105", "''")],
            "that is not empty",
        ),
        (
            "{imagePullSecrets: [{nane: a}]}",
            &[("PP104", "{"), ("PP102", "nane")],
            "misspelt",
        ),
        (
            "{imagePullSecrets: [{}]}",
            &[("PP104", "{")],
            "an entry has a name",
        ),
        (
            "{imagePullSecret: [a]}",
            &[("PP102", "imagePullSecret")],
            "misspelt",
        ),
        (
            "{serviceAccountName: A}",
            &[("PP113", "A")],
            "an account's name",
        ),
        (
            "{serviceAccountName: x, replaceServiceAccount: Never}",
            &[("PP114", "Never")],
            "no choice",
        ),
        (
            "{replaceServiceAccount: Always}",
            &[("PP104", "Always")],
            "of which account",
        ),
        (
            "{onMissingServiceAccount: Deny}",
            &[("PP104", "Deny")],
            "of which account",
        ),
        ("{envFrom: [{secretRef: {name: a}}]}", &[], "a Secret"),
        (
            "{envFrom: [{prefix: P, configMapRef: {name: a, optional: false}}]}",
            &[],
            "a ConfigMap",
        ),
        ("{envFrom: [{}]}", &[("PP104", "{")], "one of them"),
        (
            "{envFrom: [{secretRef: {name: a}, configMapRef: {name: b}}]}",
            &[("PP114", "{")],
            "not both",
        ),
        (
            "{envFrom: [{secretRef: {}}]}",
            &[("PP104", "{")],
            "with a name",
        ),
        (
            "{envFrom: [{secretRef: {name: A}}]}",
            &[("PP113", "A")],
            "that can be one",
        ),
        (
            "{envFrom: [{secretRef: {name: a, optional: 'no'}}]}",
            &[("PP103", "'no'")],
            "a boolean",
        ),
        ("{envFrom: {}}", &[("PP103", "{")], "a list"),
    ] {
        let text = rule("{images: [quay.io]}", inject);
        check(&text, want, why);
    }
    check(
        &rule("{images: [quay.io]}", "{}\n    final: 'true'"),
        &[("PP103", "'true'")],
        "final is a boolean",
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "the table has that many rows")]
fn credentials_are_held_to_their_types() {
    for (credential, want, why) in [
        ("{name: a, from: {existing: {}}}", &[][..], "the shortest"),
        ("{from: {existing: {}}}", &["PP104"], "a name is required"),
        ("{name: a}", &["PP104"], "so is a source"),
        ("{name: a, from: {}}", &["PP104"], "one of those there are"),
        (
            "{name: a, from: {vault: {}}}",
            &["PP102", "PP104"],
            "and no other",
        ),
        (
            "{name: a, from: {existing: {}, gcp: {}}}",
            &["PP114"],
            "and not two",
        ),
        (
            "{name: a, from: {existing: {name: b}}}",
            &["PP102"],
            "it takes no fields",
        ),
        (
            "{name: a, from: {secretRef: {}}}",
            &["PP104"],
            "a Secret has a name",
        ),
        (
            "{name: a, from: {secretRef: {name: pullpass-ca}}}",
            &["PP118"],
            "and is none of our own: nobody gets the CA's key copied",
        ),
        (
            "{name: pullpass-webhook-tls, from: {existing: {}}}",
            &["PP118"],
            "nor has a credential the name of one",
        ),
        (
            "{name: a, from: {ecr: {accountIds: ['123456789012']}}}",
            &["PP104"],
            "and a region",
        ),
        (
            "{name: a, from: {ecr: {accountIds: [], regions: [us-east-1]}}}",
            &["PP106"],
            "an account",
        ),
        (
            "{name: a, from: {ecr: {accountIds: ['12345'], regions: [us-east-1]}}}",
            &["PP114"],
            "of twelve digits",
        ),
        (
            "{name: a, from: {ecr: {accountIds: ['123456789012'], regions: [US-East-1, us-east]}}}",
            &["PP114", "PP114"],
            "regions as AWS writes them",
        ),
        (
            "{name: a, from: {ecr: {accountIds: ['123456789012'], regions: [us-east-1], roleArn: puller}}}",
            &["PP114"],
            "a role by its ARN",
        ),
        (
            "{name: a, from: {ecr: {accountIds: ['123456789012'], regions: [us-east-1, eu-west-1], roleArn: 'arn:aws:iam::210987654321:role/a/b'}}}",
            &[],
            "of any account",
        ),
        (
            "{name: a, from: {ecr: {accountIds: ['123456789012'], regions: [cn-north-1, us-east-1], roleArn: 'arn:aws:iam::210987654321:role/b'}}}",
            &["PP114"],
            "of the regions' partition",
        ),
        (
            "{name: a, from: {ecr: {accountIds: ['123456789012'], regions: [us-east-1, us-gov-west-1, eu-west-1]}}}",
            &["PP114"],
            "and regions of one",
        ),
        (
            "{name: a, from: {exec: {command: p}}}",
            &["PP104"],
            "registries to be asked for",
        ),
        (
            "{name: a, from: {exec: {command: /bin/p}}, registries: [x.io]}",
            &["PP114"],
            "a bare name",
        ),
        (
            "{name: a, from: {exec: {command: ..}}, registries: [x.io]}",
            &["PP114"],
            "of a file",
        ),
        (
            "{name: a, from: {exec: {command: p, apiVersion: v2}}, registries: [x.io]}",
            &["PP114"],
            "v1",
        ),
        (
            "{name: a, from: {existing: {}}, holdTimeout: 60}",
            &["PP103"],
            "a duration has a unit",
        ),
        (
            "{name: a, from: {existing: {}}, holdTimeout: 0s}",
            &["PP114"],
            "and is above zero",
        ),
        (
            "{name: a, from: {existing: {}}, holdTimeout: soon}",
            &["PP114"],
            "and is one",
        ),
        (
            "{name: a, from: {existing: {}}, holdPods: 1}",
            &["PP103"],
            "a boolean",
        ),
        (
            "{name: a, from: {existing: {}}, registries: []}",
            &["PP105"],
            "one or more",
        ),
        (
            "{name: a, from: {existing: {}}, registries: ['*.io']}",
            &["PP114"],
            "exact hosts",
        ),
        (
            "{name: a, from: {existing: {}}, registries: [quay.io/org]}",
            &["PP114"],
            "without a path",
        ),
        (
            "{name: a, from: {existing: {}}, registries: ['Quay.io', 'reg:5000', docker.io]}",
            &[],
            "in any case",
        ),
        (
            "{name: a, from: {existing: {}}}, {name: a, from: {gcp: {}}}",
            &["PP107"],
            "one name twice",
        ),
    ] {
        let text = format!(
            "{}  credentials: [{credential}]\n",
            rule("{images: [quay.io]}", "{}")
        );
        let got = findings(&text);
        let codes: Vec<_> = got.iter().map(|(code, _)| code.as_str()).collect();
        assert_eq!(codes, want, "{credential}: {why}");
    }
}

#[test]
fn ten_mistakes_are_ten_findings_in_one_go() {
    let text = "apiVersion: pullpass.dev/v3\nkind: RegistryPolicy\nmetadata: {name: P}\nspec:\n  modes: Audit\n  rules:\n  \
                - name: r\n    match: {images: [''], ecr: {regions: []}, podSelector: {matchLabels: {a: 1}}}\n    inject: {imagePullSecrets: x}\n  \
                - name: r\n    match: {}\n    inject: {serviceAccountName: ''}\n";
    let mut codes: Vec<_> = findings(text).into_iter().map(|(code, _)| code).collect();
    codes.sort();
    assert_eq!(
        codes,
        [
            "PP102", "PP103", "PP103", "PP104", "PP105", "PP106", "PP107", "PP108", "PP113",
            "PP117"
        ]
    );
}

#[test]
fn durations_read_as_go_prints_them() {
    for (text, want) in [
        ("60s", Some(60_000)),
        ("1m30s", Some(90_000)),
        ("1.5s", Some(1_500)),
        ("500ms", Some(500)),
        ("90d", Some(90 * 86_400_000)),
        ("1h", Some(3_600_000)),
        ("0s", Some(0)),
        ("", None),
        ("60", None),
        ("s", None),
        ("-1s", None),
        ("1.2.3s", None),
        ("1y", None),
        ("99999999999999999999999s", None),
    ] {
        let got = parse_duration(text).map(|duration| duration.as_millis());
        assert_eq!(got, want, "{text:?}");
    }
}

#[test]
fn a_finding_never_quotes_megabytes() {
    let text = rule(&format!("{{images: ['{}']}}", "é ".repeat(100_000)), "{}");
    let source = Source::new("t.yaml", text);
    let parsed = parse(&source, &ParseOptions::default());
    assert!(parsed.diagnostics[0].message.len() < 1_100);
}
