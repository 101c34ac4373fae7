//! Times the engine alone: text → document → table → decision, for tables of 10 to 10,000 rules.
//!
//! The bounds of the design: a match at most 1 µs an image and no slower with 10,000 rules than with
//! 10, whether literal, glob or miss; a reload of 10,000 rules at most 50 ms. Never touches the network.

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use pullpass::diagnostic::Source;
use pullpass::image::ImageRef;
use pullpass::policy::decide::{Counting, ImageUse, PodFacts, Slot, decide};
use pullpass::policy::document::RegistryPolicy;
use pullpass::policy::pattern::Candidate;
use pullpass::policy::table::Table;
use pullpass::policy::{ParseOptions, checks, parse};

const SIZES: [usize; 3] = [10, 1_000, 10_000];

/// A policy in block style, as a person or a generator writes it.
fn policy(patterns: impl IntoIterator<Item = String>) -> Arc<Source> {
    let mut text = String::from(
        "apiVersion: pullpass.dev/v1\nkind: RegistryPolicy\nmetadata:\n  name: bench\nspec:\n  rules:\n",
    );
    for (i, pattern) in patterns.into_iter().enumerate() {
        let _ = write!(
            text,
            "    - name: rule-{i}\n      match:\n        images:\n          - \"{pattern}\"\n      \
             inject:\n        imagePullSecrets:\n          - pull-secret-{i}\n"
        );
    }
    Source::new("bench.yaml", text)
}

fn documents(source: &Arc<Source>) -> Vec<RegistryPolicy> {
    let parsed = parse(source, &ParseOptions::default());
    assert!(
        parsed.diagnostics.is_empty(),
        "{:?}",
        parsed.diagnostics.first()
    );
    parsed.policies
}

fn table(patterns: impl IntoIterator<Item = String>) -> Table {
    Table::new(documents(&policy(patterns)))
}

/// `n` literal hosts and `n` globs, of the two forms that people write.
fn mixed(n: usize) -> impl Iterator<Item = String> {
    (0..n).flat_map(|i| {
        let glob = if i % 2 == 0 {
            format!("team-{i}-*.example.com")
        } else {
            format!("*.r{i}.example.com/org")
        };
        [format!("registry-{i}.example.com/org"), glob]
    })
}

/// The shapes of tables that an index could do badly with, each with an image that one rule matches.
fn shapes(n: usize) -> [(&'static str, Vec<String>, String); 6] {
    let last = n - 1;
    [
        (
            "one host, literal paths",
            (0..n).map(|i| format!("quay.io/org-{i}")).collect(),
            format!("quay.io/org-{last}/app:v1"),
        ),
        (
            "one host, glob paths",
            (0..n).map(|i| format!("quay.io/org-{i}-*")).collect(),
            format!("quay.io/org-{last}-x/app:v1"),
        ),
        (
            "one host, a glob in front of the path",
            (0..n).map(|i| format!("quay.io/*/app-{i}")).collect(),
            format!("quay.io/org/app-{last}:v1"),
        ),
        (
            "glob first label",
            (0..n).map(|i| format!("team-{i}-*.example.com")).collect(),
            format!("team-{last}-eu.example.com/app:v1"),
        ),
        (
            "glob label behind a literal one",
            (0..n)
                .map(|i| format!("{i:012}.dkr.ecr.*.amazonaws.com"))
                .collect(),
            format!("{last:012}.dkr.ecr.eu-west-1.amazonaws.com/app:v1"),
        ),
        (
            "two glob labels",
            (0..n)
                .map(|i| format!("team-{i}-*.*.example.com"))
                .collect(),
            format!("team-{last}-a.eu.example.com/app:v1"),
        ),
    ]
}

fn match_one(c: &mut Criterion) {
    let mut group = c.benchmark_group("match");
    for n in SIZES {
        let table = table(mixed(n));
        let last = n - 2;
        for (what, image, want) in [
            (
                "literal",
                format!("registry-{last}.example.com/org/app:v1"),
                1,
            ),
            ("glob", format!("team-{last}-eu.example.com/app:v1"), 1),
            ("miss", "registry.internal.test/org/app:v1".to_owned(), 0),
            (
                "near miss",
                "registry-x.example.com/org/app:v1".to_owned(),
                0,
            ),
        ] {
            run(&mut group, &BenchmarkId::new(what, n), &table, &image, want);
        }
    }
    for n in SIZES {
        for (what, patterns, image) in shapes(n) {
            run(
                &mut group,
                &BenchmarkId::new(what, n),
                &table(patterns),
                &image,
                1,
            );
        }
    }
    group.finish();
}

fn run(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    id: &BenchmarkId,
    table: &Table,
    image: &str,
    want: usize,
) {
    let mut hits = Vec::new();
    let reference = ImageRef::parse(image);
    let candidate = reference.as_ref().ok().map(Candidate::new);
    candidate
        .iter()
        .for_each(|image| table.hits(image, "web", &mut hits));
    assert_eq!((candidate.is_some(), hits.len()), (true, want), "{image}");
    group.bench_function(id.clone(), |b| {
        b.iter(|| {
            let reference = ImageRef::parse(black_box(image));
            let Ok(reference) = reference else { return 0 };
            table.hits(&Candidate::new(&reference), "web", &mut hits);
            hits.len()
        });
    });
}

fn load(c: &mut Criterion) {
    let mut group = c.benchmark_group("load 10,000 rules");
    group.sample_size(20);
    let source = policy(mixed(5_000));
    group.bench_function("parse", |b| b.iter(|| documents(&source)));
    group.bench_function("compile", |b| {
        b.iter_batched(|| documents(&source), Table::new, BatchSize::PerIteration);
    });
    group.bench_function("text to table", |b| {
        b.iter_with_large_drop(|| Table::new(documents(&source)));
    });
    group.bench_function("drop", |b| {
        b.iter_batched(
            || Table::new(documents(&source)),
            drop,
            BatchSize::PerIteration,
        );
    });
    group.bench_function("findings across policies", |b| {
        let parsed = || parse(&source, &ParseOptions::default());
        b.iter_batched_ref(parsed, checks::run, BatchSize::PerIteration);
    });
    group.finish();
}

fn whole_decision(c: &mut Criterion) {
    let mut group = c.benchmark_group("decide a Pod of 5 images");
    for n in SIZES {
        let table = table(mixed(n));
        let texts = [
            "nginx:1.27".to_owned(),
            format!("registry-{}.example.com/org/app:v1", n / 2),
            format!("team-{}-eu.example.com/app:v1", (n / 2) & !1),
            format!("x.r{}.example.com/org/app:v1", (n / 2) | 1),
            "123456789012.dkr.ecr.us-east-1.amazonaws.com/app:v1".to_owned(),
        ];
        let image = |(i, text)| ImageUse {
            slot: Slot::Container(i),
            text,
        };
        let images: Vec<_> = texts
            .iter()
            .map(String::as_str)
            .enumerate()
            .map(image)
            .collect();
        let labels = [("app".into(), "web".into())];
        let pod = PodFacts {
            namespace: "web",
            namespace_labels: &labels,
            labels: &labels,
            images: &images,
        };
        assert_eq!(decide(&table, &pod, Counting::Enforced).secrets.len(), 3);
        group.bench_function(BenchmarkId::from_parameter(n), |b| {
            b.iter(|| decide(&table, black_box(&pod), Counting::Enforced));
        });
    }
    group.finish();
}

criterion_group!(benches, match_one, load, whole_decision);
criterion_main!(benches);
