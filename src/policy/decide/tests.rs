//! Tables for which rule wins, in what order things are needed, and what keeps a rule out.

use std::sync::Arc;

use super::*;
use crate::diagnostic::Source;
use crate::policy::{checks, parse_key};

/// A policy in flow style, in the scope of a namespace unless that is empty.
#[derive(Clone, Copy)]
struct Text<'t> {
    namespace: &'t str,
    name: &'t str,
    mode: &'t str,
    rules: &'t str,
    credentials: &'t str,
}

const POLICY: Text<'_> = Text {
    namespace: "",
    name: "p",
    mode: "Enforce",
    rules: "",
    credentials: "[]",
};

fn table(texts: &[Text<'_>]) -> Table {
    let mut parsed = crate::policy::Parsed::default();
    for Text {
        namespace,
        name,
        mode,
        rules,
        credentials,
    } in texts
    {
        let scope = match *namespace {
            "" => Scope::Cluster,
            other => Scope::Namespace(other.into()),
        };
        let text = format!(
            "apiVersion: pullpass.dev/v1\nkind: RegistryPolicy\nmetadata: {{name: {name}}}\nspec:\n  \
             mode: {mode}\n  rules: [{rules}]\n  credentials: {credentials}\n"
        );
        let source: Arc<Source> = Source::new(*name, text);
        parsed.append(parse_key(&source, &scope));
    }
    checks::run(&mut parsed);
    assert_eq!(parsed.rejected, 0, "{:?}", parsed.diagnostics);
    Table::new(parsed.policies)
}

/// One rule in flow style: the patterns it matches and the secret it injects.
fn rule(name: &str, matching: &str, inject: &str) -> String {
    format!("{{name: {name}, match: {{{matching}}}, inject: {{{inject}}}}}, ")
}

fn secret(name: &str, images: &str) -> String {
    rule(
        name,
        &format!("images: [{images}]"),
        &format!("imagePullSecrets: [{name}]"),
    )
}

#[derive(Clone, Copy, Default)]
struct Pod<'a> {
    namespace: &'a str,
    namespace_labels: &'a [(&'static str, &'static str)],
    labels: &'a [(&'static str, &'static str)],
    images: &'a [(char, &'a str)],
}

/// The decision in words: secrets, then the account, then what goes into which container.
fn outcome(table: &Table, pod: &Pod<'_>, counting: Counting) -> String {
    let labels = |labels: &[(&'static str, &'static str)]| -> Vec<Label<'static>> {
        labels
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect()
    };
    let (namespace_labels, labels) = (labels(pod.namespace_labels), labels(pod.labels));
    let images: Vec<ImageUse<'_>> = pod
        .images
        .iter()
        .enumerate()
        .map(|(i, (kind, text))| {
            let slot = match kind {
                'c' => Slot::Container(i),
                'i' => Slot::InitContainer(i),
                'e' => Slot::EphemeralContainer(i),
                _ => Slot::Volume(i),
            };
            ImageUse { slot, text }
        })
        .collect();
    let facts = PodFacts {
        namespace: pod.namespace,
        namespace_labels: &namespace_labels,
        labels: &labels,
        images: &images,
    };
    let decision = decide(table, &facts, counting);
    let mut words: Vec<String> = decision
        .secrets
        .iter()
        .map(|s| s.name.to_string())
        .collect();
    if let Some(need) = &decision.account {
        words.push(format!("as {} by {}", need.account.name, need.rule));
        words.extend(need.overruled.iter().map(|rule| format!("over {rule}")));
    }
    for need in &decision.env_from {
        let slot = need.slot.map_or("all".to_owned(), |slot| slot.to_string());
        words.push(format!("{} in {slot}", need.source.name));
    }
    words.extend(decision.holds(table).map(|name| format!("held for {name}")));
    words.join(", ")
}

fn of_images(table: &Table, images: &[(char, &str)]) -> String {
    let pod = Pod {
        namespace: "web",
        images,
        ..Pod::default()
    };
    outcome(table, &pod, Counting::Enforced)
}

#[test]
fn the_greatest_key_wins() {
    for (rules, image, want, why) in [
        (
            &["quay.io", "'*.io/org/app'"][..],
            "quay.io/org/app",
            "a",
            "a literal host over a glob",
        ),
        (&["'*.io'", "'*'"], "quay.io/a", "a", "a glob over any host"),
        (
            &["docker.io", "docker.io/acme"],
            "acme/app",
            "b",
            "an organization over its registry",
        ),
        (
            &["docker.io", "docker.io/acme"],
            "other/app",
            "a",
            "and the registry for the others",
        ),
        (
            &["quay.io/*/*", "quay.io/org"],
            "quay.io/org/app",
            "a",
            "more segments",
        ),
        (
            &["quay.io/*/app", "quay.io/org/*"],
            "quay.io/org/app",
            "a, b",
            "as many literal ones and characters: both",
        ),
        (
            &["quay.io/*/appl", "quay.io/org/*"],
            "quay.io/org/appl",
            "a",
            "more characters",
        ),
        (
            &["quay.io", "quay.io"],
            "quay.io/a",
            "a, b",
            "equal keys apply together",
        ),
        (
            &["index.docker.io", "https://docker.io/v2"],
            "nginx",
            "a, b",
            "whatever their text",
        ),
        (
            &["quay.io, quay.io/org", "quay.io/org"],
            "quay.io/org/a",
            "a, b",
            "a rule counts with its best pattern",
        ),
        (
            &["quay.io/org/a, '*'", "quay.io/org"],
            "quay.io/org/b",
            "b",
            "of those that match",
        ),
        (&["quay.io"], "gcr.io/a", "", "none matches"),
        (
            &["quay.io"],
            "Not A Reference",
            "",
            "no reference is skipped",
        ),
    ] {
        let rules: String = ["a", "b"]
            .iter()
            .zip(rules)
            .map(|(n, p)| secret(n, p))
            .collect();
        let table = table(&[Text {
            rules: &rules,
            ..POLICY
        }]);
        assert_eq!(
            of_images(&table, &[('c', image)]),
            want,
            "{rules} for {image}: {why}"
        );
    }
    let ecr = "123456789012.dkr.ecr.us-east-1.amazonaws.com/app";
    for (one, other, want, why) in [
        (
            "ecr: {}",
            "images: ['*.dkr.ecr.*.amazonaws.com/app']",
            "a",
            "a class over a glob",
        ),
        (
            "ecr: {}",
            "images: [123456789012.dkr.ecr.us-east-1.amazonaws.com]",
            "b",
            "a literal host over a class",
        ),
        (
            "ecr: {}",
            "ecr: {regions: [us-east-1]}",
            "b",
            "more parameters",
        ),
        (
            "ecr: {accountIds: ['123456789012']}",
            "ecr: {regions: [us-east-1]}",
            "a, b",
            "as many",
        ),
        (
            "ecr: {}, images: ['*']",
            "images: ['*']",
            "a",
            "any of a rule's alternatives",
        ),
    ] {
        let rules =
            rule("a", one, "imagePullSecrets: [a]") + &rule("b", other, "imagePullSecrets: [b]");
        let table = table(&[Text {
            rules: &rules,
            ..POLICY
        }]);
        assert_eq!(of_images(&table, &[('c', ecr)]), want, "{rules}: {why}");
    }
    let rules = rule(
        "a",
        "dockerHub: {organizations: [acme]}",
        "imagePullSecrets: [a]",
    ) + &secret("b", "docker.io/acme")
        + &secret("c", "docker.io");
    let table = table(&[Text {
        rules: &rules,
        ..POLICY
    }]);
    assert_eq!(
        of_images(&table, &[('c', "acme/app")]),
        "a, b",
        "a class stands for what it means"
    );
}

#[test]
fn an_empty_inject_switches_off_below_it() {
    let rules = secret("hub", "docker.io") + &rule("none", "images: [docker.io/public]", "");
    let table = table(&[Text {
        rules: &rules,
        ..POLICY
    }]);
    for (images, want) in [
        (&[('c', "public/a")][..], ""),
        (&[('c', "private/a")], "hub"),
        (&[('c', "public/a"), ('c', "private/a")], "hub"),
    ] {
        assert_eq!(of_images(&table, images), want, "{images:?}");
    }
}

#[test]
fn secrets_come_once_in_order_of_first_need() {
    let rules = secret("one", "one.io")
        + &secret("two", "two.io")
        + &secret("three", "three.io")
        + &rule(
            "four",
            "images: [four.io]",
            "imagePullSecrets: [two, four, one, four]",
        )
        + &secret("also-two", "two.io");
    let table = table(&[Text {
        rules: &rules,
        ..POLICY
    }]);
    for (images, want, why) in [
        (
            &[('c', "one.io/a"), ('c', "two.io/a")][..],
            "one, two, also-two",
            "as the images stand",
        ),
        (
            &[('c', "two.io/a"), ('i', "one.io/a")],
            "two, also-two, one",
            "containers first",
        ),
        (
            &[
                ('c', "three.io/a"),
                ('i', "two.io/a"),
                ('e', "one.io/a"),
                ('v', "four.io/a"),
            ],
            "three, two, also-two, one, four",
            "to the volumes",
        ),
        (
            &[('v', "four.io/a")],
            "two, four, one",
            "as the rule says, each once",
        ),
        (
            &[('c', "one.io/a"), ('c', "one.io/b:2")],
            "one",
            "needed twice, injected once",
        ),
    ] {
        assert_eq!(of_images(&table, images), want, "{images:?}: {why}");
    }
}

#[test]
fn selectors_bound_a_rule_before_it_can_win() {
    let rules = "
        {name: a, match: {images: [quay.io/org], namespaceSelector: {matchLabels: {team: build}}}, inject: {imagePullSecrets: [a]}},
        {name: b, match: {images: [quay.io/org/app], podSelector: {matchExpressions: [{key: app, operator: In, values: [x, w]}]}}, inject: {imagePullSecrets: [b]}},
        {name: c, match: {images: [quay.io]}, inject: {imagePullSecrets: [c]}},";
    let table = table(&[Text { rules, ..POLICY }]);
    let images = [('c', "quay.io/org/app")];
    for (namespace_labels, labels, want, why) in [
        (
            &[][..],
            &[][..],
            "c",
            "neither selector matches: the next best wins",
        ),
        (&[("team", "build")], &[], "a", "the namespace's does"),
        (
            &[("team", "build")],
            &[("app", "w")],
            "b",
            "both do: the key decides",
        ),
        (&[], &[("app", "z")], "c", "another value"),
        (
            &[],
            &[("team", "build")],
            "c",
            "a Pod's label is not its namespace's",
        ),
        (&[("app", "x")], &[], "c", "nor the other way round"),
    ] {
        let pod = Pod {
            namespace: "web",
            namespace_labels,
            labels,
            images: &images,
        };
        assert_eq!(outcome(&table, &pod, Counting::Enforced), want, "{why}");
    }
}

#[test]
fn one_account_is_taken_and_the_others_are_told() {
    let account = |name: &str, images: &str, account: &str| {
        rule(
            name,
            &format!("images: [{images}]"),
            &format!("serviceAccountName: {account}"),
        )
    };
    let rules = account("a", "a.io", "x")
        + &account("b", "b.io", "w")
        + &account("c", "c.io", "x")
        + &account("d", "b.io/low/priority", "z");
    let table = table(&[Text {
        rules: &rules,
        ..POLICY
    }]);
    for (images, want, why) in [
        (&[('c', "b.io/a")][..], "as w by p/b", "the winner's"),
        (
            &[('c', "b.io/a"), ('c', "a.io/a")],
            "as x by p/a, over p/b",
            "table order, not the images'",
        ),
        (
            &[('c', "c.io/a"), ('c', "a.io/a")],
            "as x by p/a",
            "the same name is no conflict",
        ),
        (
            &[('c', "b.io/low/priority")],
            "as z by p/d",
            "a loser has no say",
        ),
    ] {
        assert_eq!(of_images(&table, images), want, "{images:?}: {why}");
    }
}

#[test]
fn environment_goes_to_the_containers_whose_image_is_won() {
    let rules = rule(
        "a",
        "images: [a.io]",
        "envFrom: [{secretRef: {name: aws}}, {configMapRef: {name: cfg}}]",
    );
    let table = table(&[Text {
        rules: &rules,
        ..POLICY
    }]);
    let images = [
        ('c', "b.io/a"),
        ('c', "a.io/a"),
        ('i', "a.io/b"),
        ('e', "a.io/c"),
        ('v', "a.io/d"),
    ];
    assert_eq!(
        of_images(&table, &images),
        "aws in spec.containers[1].image, cfg in spec.containers[1].image, \
         aws in spec.initContainers[2].image, cfg in spec.initContainers[2].image",
        "not to other containers, ephemeral ones or volumes"
    );
}

#[test]
fn every_pod_applies_once_beside_what_the_images_win() {
    let rules = "
        {name: e, match: {everyPod: true, namespaceSelector: {matchLabels: {team: build}}}, inject: {imagePullSecrets: [debug, a], serviceAccountName: x, envFrom: [{secretRef: {name: env}}]}},
        {name: a, match: {images: [a.io]}, inject: {imagePullSecrets: [a], serviceAccountName: w}},
        {name: none, match: {images: ['*']}, inject: {}},
        {name: nothing, match: {everyPod: true}, inject: {}},";
    let table = table(&[Text { rules, ..POLICY }]);
    let build: &[_] = &[("team", "build")];
    for (namespace_labels, images, want, why) in [
        (
            build,
            &[('c', "a.io/a"), ('c', "a.io/b")][..],
            "a, debug, as x by p/e, over p/a, env in all",
            "behind the images' secrets, its account in table order",
        ),
        (
            build,
            &[('c', "b.io/a")],
            "debug, a, as x by p/e, env in all",
            "an empty inject does not stop it",
        ),
        (
            build,
            &[],
            "debug, a, as x by p/e, env in all",
            "nor do no images",
        ),
        (
            build,
            &[('c', "Not A Reference")],
            "debug, a, as x by p/e, env in all",
            "nor an unreadable one",
        ),
        (
            &[],
            &[('c', "a.io/a")],
            "a, as w by p/a",
            "where its selectors reach",
        ),
    ] {
        let pod = Pod {
            namespace: "web",
            namespace_labels,
            images,
            ..Pod::default()
        };
        assert_eq!(outcome(&table, &pod, Counting::Enforced), want, "{why}");
    }
}

#[test]
fn tenants_rule_their_namespace_and_never_over_a_final_rule() {
    let cluster = "
        {name: guarded, final: true, match: {images: [guarded.io]}, inject: {imagePullSecrets: [ours], serviceAccountName: ours}},
        {name: guarded-in, final: true, match: {images: [in.io], namespaceSelector: {matchLabels: {team: build}}}, inject: {imagePullSecrets: [ours]}},
        {name: open, match: {images: [open.io]}, inject: {imagePullSecrets: [ours]}},";
    let tenant = "
        {name: g, match: {images: [guarded.io/a, in.io/a]}, inject: {imagePullSecrets: [theirs]}},
        {name: o, match: {images: [open.io/a]}, inject: {imagePullSecrets: [theirs]}},
        {name: tie, match: {images: [open.io]}, inject: {imagePullSecrets: [tied]}},
        {name: acc, match: {images: [acc.io]}, inject: {serviceAccountName: theirs}},
        {name: every, final: true, match: {everyPod: true, podSelector: {matchLabels: {every: pod}}}, inject: {imagePullSecrets: [every]}},";
    // A tenant whose namespace sorts in front of pullpass's own.
    let table = table(&[
        Text {
            namespace: "aaa",
            name: "t",
            rules: tenant,
            ..POLICY
        },
        Text {
            rules: cluster,
            ..POLICY
        },
    ]);
    let every: &[_] = &[("every", "pod")];
    for (namespace, labels, images, want, why) in [
        (
            "aaa",
            &[][..],
            &[('c', "open.io/a")][..],
            "theirs",
            "a more specific rule wins",
        ),
        (
            "aaa",
            &[],
            &[('c', "open.io/b")],
            "tied, ours",
            "an equal one applies too",
        ),
        (
            "web",
            &[],
            &[('c', "open.io/a")],
            "ours",
            "in no other namespace",
        ),
        (
            "aaa",
            &[],
            &[('c', "guarded.io/a")],
            "ours, as ours by p/guarded",
            "a final rule keeps it out",
        ),
        (
            "aaa",
            &[],
            &[('c', "in.io/a")],
            "theirs",
            "where its selectors match",
        ),
        (
            "aaa",
            &[],
            &[('c', "acc.io/a")],
            "as theirs by t/acc",
            "an account of its own",
        ),
        (
            "aaa",
            &[],
            &[('c', "acc.io/a"), ('c', "guarded.io/a")],
            "ours, as ours by p/guarded, over t/acc",
            "but never over a final rule's",
        ),
        (
            "aaa",
            every,
            &[('c', "guarded.io/a")],
            "ours, every, as ours by p/guarded",
            "every Pod beside it",
        ),
        (
            "web",
            every,
            &[('c', "open.io/a")],
            "ours",
            "of its namespace",
        ),
    ] {
        let pod = Pod {
            namespace,
            labels,
            images,
            ..Pod::default()
        };
        assert_eq!(
            outcome(&table, &pod, Counting::Enforced),
            want,
            "{images:?} in {namespace}: {why}"
        );
    }
}

#[test]
fn a_policy_in_audit_takes_part_only_when_it_is_counted_in() {
    let enforced = secret("hub", "docker.io");
    let audited = secret("acme", "docker.io/acme")
        + &rule("every", "everyPod: true", "imagePullSecrets: [e]");
    let table = table(&[
        Text {
            name: "p",
            rules: &enforced,
            ..POLICY
        },
        Text {
            name: "q",
            mode: "Audit",
            rules: &audited,
            ..POLICY
        },
    ]);
    assert!(table.has_audit());
    let pod = Pod {
        namespace: "web",
        images: &[('c', "acme/app")],
        ..Pod::default()
    };
    assert_eq!(
        outcome(&table, &pod, Counting::Enforced),
        "hub",
        "it changes nothing"
    );
    assert_eq!(
        outcome(&table, &pod, Counting::All),
        "acme, e",
        "and would change this"
    );
}

#[test]
fn a_pod_is_held_for_what_a_cluster_rule_needs() {
    let credentials =
        "[{name: slow, holdPods: true, from: {existing: {}}}, {name: fast, from: {existing: {}}}]";
    let rules =
        secret("slow", "slow.io") + &secret("fast", "fast.io") + &secret("other", "other.io");
    let tenant = secret("slow", "slow.io/team, tenant.io");
    let rules = rules + &secret("tried", "tried.io");
    let table = table(&[
        Text {
            namespace: "aaa",
            name: "t",
            rules: &tenant,
            ..POLICY
        },
        Text {
            name: "audited",
            mode: "Audit",
            rules: &secret("slow", "audited.io"),
            credentials: "[{name: tried, holdPods: true, from: {existing: {}}}]",
            ..POLICY
        },
        Text {
            rules: &rules,
            credentials,
            ..POLICY
        },
    ]);
    for (namespace, images, want, why) in [
        (
            "web",
            &[('c', "slow.io/a"), ('c', "fast.io/a"), ('c', "other.io/a")][..],
            "slow, fast, other, held for slow",
            "where the credential says so",
        ),
        (
            "aaa",
            &[('c', "tenant.io/a")],
            "slow",
            "a tenant holds nothing",
        ),
        (
            "aaa",
            &[('c', "tenant.io/a"), ('c', "slow.io/a")],
            "slow, held for slow",
            "also when it needs it first",
        ),
        (
            "web",
            &[('c', "tried.io/a"), ('c', "audited.io/a")],
            "tried",
            "nor does a policy in audit, by a rule or by a credential",
        ),
    ] {
        let pod = Pod {
            namespace,
            images,
            ..Pod::default()
        };
        assert_eq!(
            outcome(&table, &pod, Counting::Enforced),
            want,
            "{images:?}: {why}"
        );
    }
}

#[test]
fn every_rule_that_matches_is_told_what_became_of_it() {
    let rules = "
        {name: won, match: {images: [quay.io/org]}, inject: {}},
        {name: less, match: {images: [quay.io, '*']}, inject: {}},
        {name: ns, match: {images: [quay.io], namespaceSelector: {matchLabels: {a: b}}}, inject: {}},
        {name: pod, match: {images: [quay.io], podSelector: {matchLabels: {a: b}}}, inject: {}},
        {name: f, final: true, match: {images: ['*']}, inject: {}},
        {name: silent, match: {images: [gcr.io]}, inject: {}},";
    let audit = secret("x", "quay.io/org/app");
    let tenant = secret("w", "quay.io/org/app");
    let table = table(&[
        Text { rules, ..POLICY },
        Text {
            name: "q",
            mode: "Audit",
            rules: &audit,
            ..POLICY
        },
        Text {
            namespace: "web",
            name: "t",
            rules: &tenant,
            ..POLICY
        },
    ]);
    let images = [ImageUse {
        slot: Slot::Container(0),
        text: "quay.io/org/app",
    }];
    let pod = PodFacts {
        namespace: "web",
        namespace_labels: &[],
        labels: &[],
        images: &images,
    };
    let decision = decide(&table, &pod, Counting::Enforced);
    let told = |c: &Considered<'_>| (c.rule.to_string(), c.test.to_string(), c.verdict);
    let got: Vec<_> = decision.images[0].considered.iter().map(told).collect();
    let want = [
        ("p/won", "quay.io/org", Verdict::Won),
        ("p/less", "quay.io", Verdict::LessSpecific),
        ("p/ns", "quay.io", Verdict::OtherNamespace),
        ("p/pod", "quay.io", Verdict::OtherPod),
        ("p/f", "*", Verdict::LessSpecific),
        ("q/x", "quay.io/org/app", Verdict::AuditOnly),
        ("t/w", "quay.io/org/app", Verdict::KeptByFinal),
    ];
    assert_eq!(
        got,
        want.map(|(rule, test, verdict)| (rule.into(), test.into(), verdict))
    );
}

#[test]
fn a_label_that_stands_twice_has_its_last_value() {
    let labels = [
        ("a".into(), "1".into()),
        ("b".into(), "2".into()),
        ("a".into(), "3".into()),
    ];
    for (key, want) in [("a", Some("3")), ("b", Some("2")), ("c", None)] {
        assert_eq!(label(&labels, key), want, "{key}");
    }
}
