//! Tables for which documents are policies, whose they are, and where their findings point.

use super::*;

const RULES: &str = "spec: {rules: [{name: r, match: {images: [quay.io]}, inject: {}}]}";

fn policy(name: &str) -> String {
    format!(
        "apiVersion: pullpass.dev/v1\nkind: RegistryPolicy\nmetadata: {{name: {name}}}\n{RULES}\n"
    )
}

fn read(text: &str, tenant_policies: bool) -> Parsed {
    let options = ParseOptions {
        tenant_policies,
        ..ParseOptions::default()
    };
    parse(&Source::new("f.yaml", text), &options)
}

/// Names of policies, with their namespace if they are a tenant's; then rejected, foreign, codes.
fn summary(parsed: &Parsed) -> String {
    let mut words: Vec<String> = Vec::new();
    for policy in &parsed.policies {
        words.push(match &policy.scope {
            Scope::Cluster => policy.name.to_string(),
            Scope::Namespace(namespace) => format!("{namespace}:{}", policy.name.value),
        });
    }
    words.push(format!("{} rejected", parsed.rejected));
    words.push(format!("{} foreign", parsed.foreign));
    words.extend(parsed.diagnostics.iter().map(|d| d.code.to_string()));
    words.join(", ")
}

#[test]
fn a_text_holds_any_number_of_documents_of_any_kind() {
    let p = policy;
    let bad =
        "apiVersion: pullpass.dev/v1\nkind: RegistryPolicy\nmetadata: {name: bad}\nspec: {}\n";
    for (text, want, why) in [
        (String::new(), "0 rejected, 0 foreign", "nothing"),
        ("---\n---\n# only a comment\n".into(), "0 rejected, 0 foreign", "empty documents"),
        ("\u{feff}".to_owned() + &p("a"), "a, 0 rejected, 0 foreign", "a byte order mark"),
        (p("a").replace('\n', "\r\n"), "a, 0 rejected, 0 foreign", "lines of Windows"),
        (p("a") + "---\n" + &p("b"), "a, b, 0 rejected, 0 foreign", "two, in order"),
        (p("a") + "---\nkind: Pod\napiVersion: v1\n---\n" + &p("b"), "a, b, 0 rejected, 1 foreign", "a Pod between"),
        (p("a") + "---\n" + bad, "a, 1 rejected, 0 foreign, PP104", "a bad one keeps none other out"),
        (p("a") + "---\na: [", "a, 1 rejected, 0 foreign, PP101", "nor does broken YAML behind it"),
        ("hello".into(), "0 rejected, 1 foreign", "a text"),
        ("[1, 2]".into(), "0 rejected, 1 foreign", "a list"),
        (p("a").replace("pullpass.dev/v1", "example.com/v1"), "0 rejected, 1 foreign", "another group's kind"),
        (p("a").replace("RegistryPolicy", "PolicyTest"), "0 rejected, 1 foreign", "a PolicyTest"),
        (p("a").replace("RegistryPolicy", "RegistryPolcy"), "1 rejected, 0 foreign, PP114", "a misspelt kind"),
        (p("a").replace("kind: RegistryPolicy\n", ""), "1 rejected, 0 foreign, PP104", "no kind"),
        (p("a").replace("kind: RegistryPolicy", "kind: [x]"), "1 rejected, 0 foreign, PP104", "a kind of another type"),
        (p("a").replace("apiVersion: pullpass.dev/v1\n", ""), "1 rejected, 0 foreign, PP104", "no apiVersion"),
        (
            format!("apiVersion: v1\nkind: List\nitems:\n- {{apiVersion: pullpass.dev/v1, kind: RegistryPolicy, metadata: {{name: a}}, {RULES}}}\n- {{kind: Pod}}\n"),
            "a, 0 rejected, 1 foreign",
            "a List",
        ),
        (
            r#"{"apiVersion":"pullpass.dev/v1","kind":"RegistryPolicy","metadata":{"name":"a"},
               "spec":{"rules":[{"name":"r","match":{"images":["quay.io\u002forg"]},"inject":{}}]}}"#.into(),
            "a, 0 rejected, 0 foreign",
            "JSON",
        ),
        (
            p("a").replace("[{name: r", "[&r {name: r").replace("inject: {}}]", "inject: {}}, {<<: *r, name: s}]"),
            "a, 0 rejected, 0 foreign",
            "aliases and merge keys",
        ),
    ] {
        assert_eq!(summary(&read(&text, false)), want, "{why}: {text}");
    }
}

/// A labelled ConfigMap with the given metadata and data.
fn config_map(metadata: &str, data: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c, labels: {{pullpass.dev/policy: 'true'}}{metadata}}}\n{data}"
    )
}

fn block(key: &str, text: &str) -> String {
    let lines = text.lines().flat_map(|line| ["    ", line, "\n"]);
    let lines: String = lines.collect();
    format!("  {key}: |\n{lines}")
}

#[test]
#[expect(clippy::too_many_lines, reason = "the table has that many rows")]
fn a_config_map_holds_policies_where_its_label_and_namespace_say() {
    let data = |name: &str| format!("data:\n{}", block("p.yaml", &policy(name)));
    let one = data("a");
    let unlabelled = config_map("", &one).replace("'true'", "'false'");
    for (text, tenants, want, why) in [
        (
            config_map("", &one),
            false,
            "a, 0 rejected, 0 foreign",
            "no namespace: the cluster's",
        ),
        (
            config_map(", namespace: ''", &one),
            true,
            "a, 0 rejected, 0 foreign",
            "nor is this one",
        ),
        (
            config_map(", namespace: pullpass-system", &one),
            true,
            "a, 0 rejected, 0 foreign",
            "its own",
        ),
        (
            config_map(", namespace: web", &one),
            true,
            "web:a, 0 rejected, 0 foreign",
            "a tenant's",
        ),
        (
            config_map(", namespace: web", &one),
            false,
            "0 rejected, 1 foreign",
            "unless they are off",
        ),
        (
            unlabelled,
            true,
            "0 rejected, 1 foreign",
            "the label says no",
        ),
        (
            config_map("", ""),
            false,
            "0 rejected, 0 foreign, PP135",
            "no data",
        ),
        (
            config_map("", "data: {a.txt: x}"),
            false,
            "0 rejected, 0 foreign, PP135",
            "no such key",
        ),
        (
            config_map("", "data: {a.yaml: 7}"),
            false,
            "1 rejected, 0 foreign, PP103",
            "no text",
        ),
        (
            config_map("", "data: {a.yaml: ''}"),
            false,
            "0 rejected, 0 foreign, PP135",
            "an empty key",
        ),
        (
            config_map("", "data: {a.yaml: 'a: ['}"),
            false,
            "1 rejected, 0 foreign, PP101",
            "broken YAML",
        ),
        (
            config_map("", "data: {a.yaml: 'kind: Pod'}"),
            false,
            "0 rejected, 1 foreign, PP135",
            "a Pod",
        ),
        (
            config_map(
                "",
                &format!(
                    "data:\n{}{}{}",
                    block("z.yml", &policy("z")),
                    block("b.json", &policy("b")),
                    block("a.yaml", &(policy("c") + "---\n" + &policy("a")))
                ),
            ),
            false,
            "c, a, b, z, 0 rejected, 0 foreign",
            "keys by name, documents as written",
        ),
        (
            format!(
                "kind: ConfigMapList\nitems:\n- {}",
                config_map("", &one).replace('\n', "\n  ")
            ),
            false,
            "a, 0 rejected, 0 foreign",
            "a list of them",
        ),
    ] {
        assert_eq!(summary(&read(&text, tenants)), want, "{why}: {text}");
    }
}

#[test]
fn a_tenant_declares_no_credentials() {
    let text = policy("a").replace(
        "spec: {",
        "spec: {credentials: [{name: a, from: {existing: {}}}], ",
    );
    let scope = Scope::Namespace("web".into());
    let parsed = parse_key(&Source::new("k", text), &scope);
    assert_eq!(summary(&parsed), "1 rejected, 0 foreign, PP111");
}

#[test]
fn findings_in_a_block_point_at_the_files_lines() {
    let bad = policy("a").replace("quay.io", "'a b'");
    let text = config_map(
        "",
        &format!(
            "data:\n  # a comment\n{}",
            block("p.yaml", &format!("\n# x\n{bad}"))
        ),
    );
    let wrong = text
        .lines()
        .position(|line| line.contains("'a b'"))
        .unwrap()
        + 1;
    let column = text.lines().nth(wrong - 1).unwrap().find("'a b'").unwrap() + 1;
    let parsed = read(&text, false);
    let [finding] = parsed.diagnostics.as_slice() else {
        panic!("{:?}", parsed.diagnostics)
    };
    assert_eq!(
        finding.place.as_ref().unwrap().to_string(),
        format!("f.yaml:{wrong}:{column}")
    );
    for indicator in ["|-", "|+", "|2", "|2-"] {
        let text = text.replace(": |\n", &format!(": {indicator}\n"));
        let parsed = read(&text, false);
        let place = parsed.diagnostics[0].place.as_ref().unwrap();
        assert_eq!(place.start().line, wrong, "{indicator}: {text}");
    }
}

#[test]
fn findings_in_a_quoted_key_name_the_key() {
    let bad = policy("a").replace("quay.io", "a b").replace('\n', "\\n");
    let text = config_map("", &format!("data:\n  p.yaml: \"{bad}\"\n"));
    let parsed = read(&text, false);
    let [finding] = parsed.diagnostics.as_slice() else {
        panic!("{:?}", parsed.diagnostics)
    };
    let place = finding.place.as_ref().unwrap();
    assert!(place.to_string().contains("p.yaml"), "{place}");
}

#[test]
fn findings_are_bounded_however_many_mistakes_there_are() {
    let rules = "x,".repeat(30_000);
    let text = format!(
        "{}---\n",
        policy("a").replace("[{name", &format!("[{rules} {{name"))
    )
    .repeat(2);
    let parsed = read(&text, false);
    assert_eq!(
        (parsed.rejected, parsed.diagnostics.len()),
        (2, MAX_FINDINGS)
    );
    let fields: String = (0..30_000)
        .flat_map(|i| [format!("{}{i}: 1\n", "imag".repeat(20))])
        .collect();
    let parsed = read(&(policy("a") + &fields), false);
    assert_eq!(
        (parsed.rejected, parsed.diagnostics.len()),
        (1, MAX_FINDINGS)
    );
}
