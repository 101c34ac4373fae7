//! `docs/diagnostics.md` proves itself: each bad example has its code, each good one nothing.

use pullpass::admission::validate;
use pullpass::cli::explain;
use pullpass::diagnostic::{Code, Source};
use pullpass::load::{LoadOptions, load};
use pullpass::policy::{ParseOptions, checks, parse};
use pullpass::{manifest, yaml};

/// The YAML of a page's part: the first block behind its heading.
pub(crate) fn example(code: Code, part: &str) -> Option<String> {
    let page = explain::page(code).unwrap();
    let (_, behind) = page.split_once(&format!("\n**{part}**")).unwrap();
    let behind = behind.split("\n**").next().unwrap();
    let (_, block) = behind.split_once("```yaml\n")?;
    Some(block.split("```").next().unwrap().to_owned())
}

fn codes(text: &str) -> Vec<Code> {
    let options = ParseOptions {
        tenant_policies: true,
        ..ParseOptions::default()
    };
    let mut parsed = parse(&Source::new("example.yaml", text), &options);
    checks::run(&mut parsed);
    assert!(
        parsed.documents() > 0 || !parsed.diagnostics.is_empty(),
        "nothing read in\n{text}"
    );
    let mut codes: Vec<Code> = parsed
        .diagnostics
        .iter()
        .map(|finding| finding.code)
        .collect();
    codes.dedup();
    codes
}

/// PP10x to PP13x: what a text alone shows.
fn is_of_documents(code: Code) -> bool {
    code < Code::TestFile
}

#[test]
fn each_bad_example_has_its_code_and_no_other() {
    for &code in Code::ALL.iter().filter(|code| is_of_documents(**code)) {
        let text = match (code, example(code, "Bad")) {
            (_, Some(text)) => text,
            // A file of 16 MiB makes no page; the page tells of it.
            (Code::TooLarge, None) => "[".repeat(100_000),
            (code, None) => panic!("{code} has no bad example"),
        };
        assert_eq!(codes(&text), [code], "{code}");
    }
}

#[test]
fn each_good_example_has_nothing() {
    for &code in Code::ALL.iter().filter(|code| is_of_documents(**code)) {
        let text = example(code, "Good").unwrap_or_else(|| panic!("{code} has no good example"));
        assert_eq!(codes(&text), [], "{code}");
    }
}

#[test]
fn every_page_has_examples() {
    for &code in Code::ALL {
        for part in ["Bad", "Good"] {
            let generated = code == Code::TooLarge && part == "Bad";
            assert!(example(code, part).is_some() || generated, "{code} {part}");
        }
    }
}

#[test]
fn explain_prints_the_page() {
    let ran = crate::command::run(&["lint", "--explain", "pp131"]);
    assert_eq!(ran.status, 0);
    assert_eq!(
        ran.stdout,
        format!("{}\n", explain::page(Code::NeverMatches).unwrap())
    );
    assert!(ran.stdout.starts_with("## PP131: "), "{}", ran.stdout);
    let ran = crate::command::run(&["lint", "--explain", "PP999"]);
    let want = "error: no diagnostic has the code `PP999`; `docs/diagnostics.md` lists them all\n";
    assert_eq!((ran.status, &*ran.stdout, &*ran.stderr), (2, "", want));
}

/// The codes of the warnings that the Pods and reviews of a page's example bring.
fn admission_codes(text: &str) -> Vec<Code> {
    let source = Source::new("page.yaml", text);
    let texts = [source.clone()];
    let options = LoadOptions {
        namespace: "shop".to_owned(),
        ..LoadOptions::default()
    };
    let loaded = load(&texts, &texts, &options);
    assert!(!loaded.has_error(), "{:?}\n{text}", loaded.diagnostics);
    let mut codes = Vec::new();
    for document in yaml::read(&source).0 {
        let document = document.root.to_json();
        if document.pointer("/request/kind/kind") == Some(&"ConfigMap".into()) {
            let body = document.to_string();
            let table = &loaded.snapshot.table;
            let answer = validate(body.as_bytes(), table, &options.parse_options()).unwrap();
            codes.extend(answer.facts.warnings);
            continue;
        }
        if manifest::is_review(&document) {
            let answer = manifest::answer_review(&document, &loaded.snapshot).unwrap();
            codes.extend(answer.facts.warnings);
            continue;
        }
        for found in manifest::examine(&document, "shop", &loaded.snapshot) {
            let admission = found
                .admission
                .unwrap_or_else(|error| panic!("{error}\n{text}"));
            codes.extend(admission.warnings.into_iter().map(|warning| warning.code));
        }
    }
    codes.sort_unstable();
    codes.dedup();
    codes
}

#[test]
fn each_admission_example_warns_or_not_as_its_page_says() {
    let of_admissions = |code: &&Code| **code > Code::TestFile;
    for &code in Code::ALL.iter().filter(of_admissions) {
        let bad = example(code, "Bad").unwrap_or_else(|| panic!("{code} has no bad example"));
        assert_eq!(admission_codes(&bad), [code], "{bad}");
        let good = example(code, "Good").unwrap_or_else(|| panic!("{code} has no good example"));
        assert_eq!(admission_codes(&good), [], "{good}");
    }
}

#[test]
fn a_test_whose_policy_is_missing_says_so_with_its_code() {
    let directory = tempfile::tempdir().unwrap();
    for (part, status) in [("Bad", 2), ("Good", 0)] {
        std::fs::write(directory.path().join("policy.yaml"), POLICY).unwrap();
        let file = directory.path().join("test.yaml");
        std::fs::write(&file, example(Code::TestFile, part).unwrap()).unwrap();
        let ran = crate::command::run(&["test", file.to_str().unwrap()]);
        assert_eq!(ran.status, status, "{part}: {}", ran.stderr);
        assert_eq!(
            ran.stderr.contains("PP140"),
            status == 2,
            "{part}: {}",
            ran.stderr
        );
    }
}

const POLICY: &str = "
apiVersion: pullpass.dev/v1
kind: RegistryPolicy
metadata: {name: company}
spec:
  rules:
    - {name: hub, match: {images: [docker.io]}, inject: {}}
";
