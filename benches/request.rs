//! Times a whole request in process: the bytes of a realistic AdmissionReview → the bytes of the answer.
//!
//! The bounds of the design: no slower with 10,000 rules than with 10, whether an image hits or not, and
//! less than the TLS server itself takes for a constant answer. Never touches the network.

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pullpass::admission::{Outcome, answer};
use pullpass::diagnostic::Source;
use pullpass::load::{LoadOptions, load};
use pullpass::snapshot::Snapshot;

/// A Pod of a Deployment as kube-apiserver sends it: five images, its token mounted, `managedFields`.
const REVIEW: &[u8] = include_bytes!("review.json");

/// `n` rules: three that are about the images of the review unless `miss`, the rest half literal hosts,
/// half globs.
fn snapshot(n: usize, miss: bool) -> Snapshot {
    let mut text = String::from(
        "apiVersion: pullpass.dev/v1\nkind: RegistryPolicy\nmetadata: {name: bench}\nspec:\n  rules:\n",
    );
    let mut rule = |i: usize, pattern: &str, secret: &str| {
        let _ = writeln!(
            text,
            "    - {{name: rule-{i}, match: {{images: ['{pattern}']}}, inject: {{imagePullSecrets: [{secret}]}}}}"
        );
    };
    let real = ["docker.io", "*.dkr.ecr.*.amazonaws.com", "quay.io"];
    for (i, pattern) in real.into_iter().enumerate() {
        let elsewhere = format!("elsewhere-{i}.example.com");
        let secret = ["first", "second", "third"]
            .get(i)
            .copied()
            .unwrap_or_default();
        rule(i, if miss { &elsewhere } else { pattern }, secret);
    }
    for i in 3..n {
        let pattern = if i % 2 == 0 {
            format!("registry-{i}.example.com/org")
        } else {
            format!("group-{i}-*.example.com")
        };
        rule(i, &pattern, &format!("pull-secret-{i}"));
    }
    load(
        &[Source::new("bench.yaml", text)],
        &[],
        &LoadOptions::default(),
    )
    .snapshot
}

fn request(c: &mut Criterion) {
    let mut group = c.benchmark_group("request");
    group.throughput(Throughput::Bytes(REVIEW.len() as u64));
    for n in [10, 10_000] {
        for (what, miss, outcome) in [
            ("hit", false, Outcome::Patched),
            ("miss", true, Outcome::Unchanged),
        ] {
            let snapshot = snapshot(n, miss);
            let answered = answer(REVIEW, &snapshot).map(|answered| answered.facts.outcome);
            assert_eq!(answered.ok(), Some(outcome), "{what} of {n}");
            group.bench_function(BenchmarkId::new(what, n), |b| {
                b.iter(|| answer(black_box(REVIEW), black_box(&snapshot)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, request);
criterion_main!(benches);
