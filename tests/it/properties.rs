//! Properties of the engine, on generated policies and images: the index loses no match, a pattern
//! survives printing, reading ends on any text, and the order of labels says nothing.

use std::cell::Cell;
use std::fmt::Write as _;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use pullpass::diagnostic::Source;
use pullpass::image::ImageRef;
use pullpass::policy::decide::{Counting, ImageUse, Label, PodFacts, Slot, decide};
use pullpass::policy::document::{ImageMatch, Scope};
use pullpass::policy::pattern::{Candidate, Pattern};
use pullpass::policy::table::{Hit, Table};
use pullpass::policy::{ParseOptions, Parsed, checks, parse, parse_key};
use pullpass::yaml;

const LABELS: &[&str] = &[
    "reg", "reg-1", "reg-22", "team-a-x", "team-b-x", "a", "eu", "example",
];
const GLOB_LABELS: &[&str] = &[
    "*",
    "reg-*",
    "*-x",
    "team-*-x",
    "r?g",
    "[a-c]",
    "*e*",
    "reg-[0-9]",
    "a*a",
    r"te\am-*",
];
const ENDS: &[&str] = &["com", "io", "example.com", "internal"];
const HOSTS: &[&str] = &[
    "quay.io",
    "docker.io",
    "Registry-1.docker.io",
    "ghcr.io",
    "gcr.io",
    "us-docker.pkg.dev",
    "*-docker.pkg.dev",
    "123456789012.dkr.ecr.us-east-1.amazonaws.com",
    "123456789012.dkr.ecr.*.amazonaws.com",
    "*.dkr.ecr.*.amazonaws.com",
    "*.*.*.*.*.*",
    "contoso.azurecr.io",
    "*.azurecr.io",
    "public.ecr.aws",
    "localhost",
    "[2001:db8::1]",
];
const SEGMENTS: &[&str] = &["org", "app", "team-1", "team-2", "a", "library", "acme"];
const GLOB_SEGMENTS: &[&str] = &["*", "team-*", "*-1", "a?p", "[ao]*", "*a*"];
const CLASSES: &[&str] = &[
    "ecr: {}",
    "ecr: {accountIds: ['123456789012', '210987654321']}",
    "ecr: {regions: [us-east-1]}",
    "ecr: {accountIds: ['123456789012'], regions: [us-east-1, eu-west-1]}",
    "ecrPublic: {}",
    "gcp: {}",
    "gcp: {projects: [acme, 'example.com:acme']}",
    "acr: {}",
    "acr: {registries: [contoso]}",
    "dockerHub: {}",
    "dockerHub: {organizations: [library, acme]}",
    "ghcr: {owners: [acme]}",
    "quay: {organizations: [org, acme]}",
];

fn pick(from: &'static [&'static str]) -> impl Strategy<Value = String> + Clone {
    select(from).prop_map(ToOwned::to_owned)
}

fn host() -> impl Strategy<Value = String> {
    let label = prop_oneof![2 => pick(LABELS), 1 => pick(GLOB_LABELS)];
    let made = (prop::collection::vec(label, 0..3), pick(ENDS));
    prop_oneof![
        1 => pick(HOSTS),
        2 => made.prop_map(|(mut labels, end)| {
            labels.push(end);
            labels.join(".")
        }),
    ]
}

fn pattern() -> impl Strategy<Value = String> {
    let port = prop_oneof![8 => Just(""), 1 => Just(":5000"), 1 => Just(":443")];
    let segment = prop_oneof![2 => pick(SEGMENTS), 1 => pick(GLOB_SEGMENTS)];
    let path = prop::collection::vec(segment, 0..4);
    let usual = (host(), port, path).prop_map(|(host, port, path)| {
        path.iter().fold(format!("{host}{port}"), |text, segment| {
            text + "/" + segment
        })
    });
    prop_oneof![30 => usual, 1 => Just("*".to_owned())]
}

/// A text that a glob matches, as far as one choice a special character can tell.
fn instance(glob: &str, choices: &mut impl Iterator<Item = usize>) -> String {
    let mut text = String::new();
    let mut rest = glob.chars();
    let mut choose = |from: &[&str]| from[choices.next().unwrap_or(0) % from.len()].to_owned();
    while let Some(c) = rest.next() {
        match c {
            '*' => text += &choose(&["x", "", "a", "1", "team-a", "us-east-1"]),
            '?' => text += &choose(&["e", "p", "0"]),
            '\\' => text.extend(rest.next()),
            // An address keeps its brackets.
            '[' if !glob.contains("::") => {
                text.extend(rest.next());
                rest.by_ref().find(|c| *c == ']');
            }
            other => text.push(other),
        }
    }
    text
}

/// An image that a pattern matches, or nearly.
fn image() -> impl Strategy<Value = String> {
    let ends = prop_oneof![
        3 => Just(""), 1 => Just("/app"), 1 => Just("/acme/app"), 1 => Just("x/app"), 1 => Just(".evil.example/app"),
    ];
    (
        pattern(),
        prop::collection::vec(0_usize..6, 8),
        ends,
        any::<bool>(),
    )
        .prop_map(|(pattern, choices, end, upper)| {
            let text = instance(&pattern, &mut choices.into_iter()) + end;
            match text.split_once('/') {
                None => text + "/app",
                Some((host, path)) if upper => host.to_uppercase() + "/" + path,
                _ => text,
            }
        })
}

#[derive(Clone, Debug)]
struct Rule {
    patterns: Vec<String>,
    class: Option<String>,
}

fn rule() -> impl Strategy<Value = Rule> {
    let class = prop::option::weighted(0.25, pick(CLASSES));
    (prop::collection::vec(pattern(), 1..4), class)
        .prop_map(|(patterns, class)| Rule { patterns, class })
}

fn text_of(name: &str, rules: &[Rule], extra: &str) -> String {
    let mut text = format!(
        "apiVersion: pullpass.dev/v1\nkind: RegistryPolicy\nmetadata: {{name: {name}}}\nspec:\n  rules:\n"
    );
    for (i, Rule { patterns, class }) in rules.iter().enumerate() {
        let images: Vec<_> = patterns.iter().map(|p| format!("'{p}'")).collect();
        let class = class
            .as_ref()
            .map_or(String::new(), |class| format!(", {class}"));
        let _ = writeln!(
            text,
            "  - {{name: r{i}, match: {{images: [{}]{class}{extra}}}, inject: {{imagePullSecrets: [s{i}]}}}}",
            images.join(", ")
        );
    }
    text
}

/// A table of a cluster's policy and a tenant's.
fn table(cluster: &[Rule], tenant: &[Rule]) -> Table {
    let mut parsed = Parsed::default();
    let tenants = Scope::Namespace("web".into());
    for (name, rules, scope) in [("c", cluster, Scope::Cluster), ("t", tenant, tenants)] {
        parsed.append(parse_key(
            &Source::new(name, text_of(name, rules, "")),
            &scope,
        ));
    }
    assert_eq!(parsed.rejected, 0, "{:?}", parsed.diagnostics);
    Table::new(parsed.policies)
}

fn shown(hits: &[Hit<'_>]) -> Vec<String> {
    let one = |hit: &Hit<'_>| format!("{} by {} {:?}", hit.rule, hit.test, hit.specificity);
    hits.iter().map(one).collect()
}

#[test]
fn the_index_finds_what_a_naive_matcher_finds() {
    let rules = || prop::collection::vec(rule(), 1..12);
    let images = prop::collection::vec(image(), 1..12);
    let (asked, hit) = (Cell::new(0), Cell::new(0));
    let config = Config {
        cases: 1_000,
        failure_persistence: None,
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&(rules(), rules(), images), |(c, t, images)| {
        // Some images are made of this very table's patterns.
        let own = c.iter().chain(&t).flat_map(|rule| &rule.patterns);
        let own = own.map(|pattern| instance(pattern, &mut [1, 2, 3].into_iter().cycle()) + "/app");
        let table = table(&c, &t);
        let (mut fast, mut slow) = (Vec::new(), Vec::new());
        for text in own.chain(images.iter().cloned()) {
            let Ok(image) = ImageRef::parse(&text) else {
                continue;
            };
            let candidate = Candidate::new(&image);
            for namespace in ["web", "other"] {
                table.hits(&candidate, namespace, &mut fast);
                table.hits_naively(&candidate, namespace, &mut slow);
                prop_assert_eq!(shown(&fast), shown(&slow), "{} in {}", text, namespace);
                asked.set(asked.get() + 1);
                hit.set(hit.get() + usize::from(!slow.is_empty()));
                // `REGISTRY/app` has a registry, and that is not worth a word.
                let odd = !image.registry().contains(['.', ':']);
                for hit in &slow {
                    if let ImageMatch::Pattern(pattern) = hit.test {
                        let silent = pattern.never_matches().is_none();
                        prop_assert!(odd || silent, "{} on {}", pattern, text);
                    }
                }
            }
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    println!("{} of {} images matched", hit.get(), asked.get());
    assert!(
        hit.get() * 3 >= asked.get(),
        "too few images match to show anything"
    );
}

/// Mangled policies: lines dropped, doubled and cut, with odd characters put in.
fn mutated() -> impl Strategy<Value = String> {
    let marks = select(vec![
        "", "&a ", "*a", "<<: *a", "'", "\"", "{", "]", "|\n", "\t", "---\n", "!!str ", "\u{0}",
        "é", ": ", "- ",
    ]);
    let edits = prop::collection::vec((any::<prop::sample::Index>(), 0_u8..4, marks), 1..6);
    (prop::collection::vec(rule(), 1..4), edits).prop_map(|(rules, edits)| {
        let mut text = text_of("p", &rules, ", podSelector: {matchLabels: {a: b}}");
        for (at, kind, mark) in edits {
            let mut at = at.index(text.len() + 1);
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            match kind {
                0 => text.insert_str(at, mark),
                1 => text.truncate(at),
                2 => text = text.get(at..).unwrap_or_default().to_owned() + mark,
                _ => text = text.clone() + "---\n" + text.get(..at).unwrap_or_default(),
            }
        }
        text
    })
}

/// Everything that reads, on one text. The spans of what is found lie in the text.
fn read_all(text: &str) {
    let source = Source::new("p.yaml", text);
    let (documents, _) = yaml::read(&source);
    for document in &documents {
        let _ = document.root.to_json();
    }
    let mut parsed = parse(&source, &ParseOptions::default());
    checks::run(&mut parsed);
    for finding in &parsed.diagnostics {
        let place = finding.place.as_ref().expect("a place");
        let (start, end) = (place.span.start as usize, place.span.end as usize);
        assert!(
            place.source.text().get(start..end).is_some(),
            "{finding} points outside of {:?}",
            place.source.text()
        );
        let _ = (finding.to_string(), place.start(), place.end());
    }
    let _ = Table::new(parsed.policies);
}

proptest! {
    #![proptest_config(Config { cases: 1_000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_pattern_survives_printing(text in pattern()) {
        let parsed = Pattern::parse(&text).expect("a pattern");
        prop_assert_eq!(parsed.to_string(), text.as_str());
        prop_assert_eq!(Pattern::parse(&parsed.to_string()), Ok(parsed));
    }

    #[test]
    fn any_text_is_a_pattern_or_an_error(text in any::<String>(), ascii in "[-a-z0-9.:/*?\\[\\]\\\\^@]{0,40}") {
        for text in [text, ascii] {
            if let Ok(pattern) = Pattern::parse(&text) {
                let _ = pattern.never_matches();
                let image = ImageRef::parse("quay.io/org/app").expect("a reference");
                let _ = pattern.specificity(&Candidate::new(&image));
            }
        }
    }

    #[test]
    fn a_pattern_matches_the_repository_it_spells(text in pattern()) {
        let literal = !text.contains(['*', '?', '\\']) && (!text.contains('[') || text.contains("::"));
        if !literal || !text.contains('/') {
            return Ok(());
        }
        let Ok(image) = ImageRef::parse(&text) else { return Ok(()) };
        let pattern = Pattern::parse(&text).expect("a pattern");
        // `docker.io/app` is an organization as a pattern, and `library/app` as an image.
        let official = image.segments().count() > text.matches('/').count();
        let silent = pattern.never_matches().is_none();
        let matches = pattern.specificity(&Candidate::new(&image)).is_some();
        prop_assert!(official || matches == silent);
    }

    #[test]
    fn reading_ends_on_any_text(text in any::<String>()) {
        read_all(&text);
    }

    #[test]
    fn reading_ends_on_texts_that_look_like_yaml(text in "[-a&*<>{}\\[\\]:,|'\"!#?\n \t%é\u{85}]{0,120}") {
        read_all(&text);
    }

    #[test]
    fn reading_ends_on_mangled_policies(text in mutated()) {
        read_all(&text);
    }

    #[test]
    fn a_decision_does_not_depend_on_the_order_of_labels(
        rules in prop::collection::vec(rule(), 1..6),
        images in prop::collection::vec(image(), 1..4),
        labels in prop::collection::btree_map("[a-c]", "[x-z]", 0..4),
        selector in select(vec!["{matchLabels: {a: x}}", "{matchLabels: {a: x, b: w}}", "{matchExpressions: [{key: c, operator: NotIn, values: [z]}]}"]),
    ) {
        let extra = format!(", podSelector: {selector}, namespaceSelector: {selector}");
        let text = text_of("p", &rules, &extra).replace("[z]", "[x]");
        let parsed = parse(&Source::new("p", text), &ParseOptions::default());
        prop_assert_eq!(parsed.rejected, 0);
        let table = Table::new(parsed.policies);
        let images: Vec<_> = images
            .iter()
            .enumerate()
            .map(|(i, text)| ImageUse { slot: Slot::Container(i), text })
            .collect();
        let forward: Vec<Label<'_>> =
            labels.iter().map(|(k, v)| (k.into(), v.into())).collect();
        let backward: Vec<Label<'_>> = forward.iter().rev().cloned().collect();
        let decided = |labels: &[Label<'_>]| {
            let pod = PodFacts { namespace: "web", namespace_labels: labels, labels, images: &images };
            let decision = decide(&table, &pod, Counting::Enforced);
            (format!("{:?}", decision.images), format!("{:?}", decision.secrets))
        };
        prop_assert_eq!(decided(&forward), decided(&backward));
    }
}
