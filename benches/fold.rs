//! Times one change of a namespace in a big cluster: the bytes of a watch event → the snapshot in force.
//!
//! The bound of the design: 5 ms with 5,000 namespaces and 10,000 service accounts. What the API server
//! and the connection take is not in it; `cluster.py` measures that from outside.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use kube::core::WatchEvent;
use kube::runtime::watcher::Event;
use pullpass::cluster::fold::{self, Namespace};
use pullpass::cluster::published::Published;
use pullpass::load::{LoadOptions, load};
use pullpass::snapshot::{Account, Accounts, Coverage, ScopeOptions, Snapshot};
use pullpass::status::Presence;

const NAMESPACES: usize = 5_000;

/// A line of a watch, as an API server writes it.
fn line(number: usize, team: &str) -> String {
    format!(
        r#"{{"type":"MODIFIED","object":{{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{{
        "name":"team-{number}","uid":"8d1c6e0a-3f5b-4f0a-9b61-2f7a51f9e6d2","resourceVersion":"40{number}",
        "creationTimestamp":"2026-07-14T07:21:08Z","labels":{{"kubernetes.io/metadata.name":"team-{number}",
        "pod-security.kubernetes.io/enforce":"baseline","team":"{team}"}},"managedFields":[{{"manager":"kubectl",
        "operation":"Update","apiVersion":"v1","time":"2026-07-14T07:21:08Z","fieldsType":"FieldsV1","fieldsV1":
        {{"f:metadata":{{"f:labels":{{".":{{}},"f:kubernetes.io/metadata.name":{{}},"f:team":{{}}}}}}}}}}]}}}}}}"#
    )
}

fn read(line: &str) -> Option<Namespace> {
    match serde_json::from_str(line) {
        Ok(WatchEvent::Modified(object)) => Some(object),
        _ => None,
    }
}

/// Two accounts in each namespace.
fn accounts() -> Accounts {
    let mut accounts = Accounts::new(Coverage::Whole);
    for number in 0..NAMESPACES {
        let namespace = format!("team-{number}");
        accounts.insert(&namespace, "default", Account::default());
        let builder = Account {
            image_pull_secrets: vec!["builder-creds".into()],
            ..Account::default()
        };
        accounts.insert(&namespace, "builder", builder);
    }
    accounts
}

fn one_namespace(c: &mut Criterion) {
    let mut namespaces = fold::namespaces();
    namespaces.take(Event::Init);
    for object in (0..NAMESPACES).filter_map(|number| read(&line(number, "build"))) {
        namespaces.take(Event::InitApply(object));
    }
    namespaces.take(Event::InitDone);
    assert_eq!(namespaces.live().len(), NAMESPACES);

    // The snapshot in force shares what is folded into, as it does in a running webhook: the first
    // change behind it pays for a copy.
    let first = Snapshot {
        table: load(&[], &[], &LoadOptions::default()).snapshot.table,
        namespaces: Arc::clone(namespaces.live()),
        accounts: Arc::new(accounts()),
        scope: ScopeOptions::default(),
        presence: Presence::default(),
    };
    let published = Published::new(first.clone());
    let lines = ["test", "build"].map(|team| line(NAMESPACES / 2, team));
    let mut turn = lines.iter().cycle();
    c.bench_function("one namespace of 5,000", |b| {
        b.iter(|| {
            let object = turn.next().and_then(|line| read(black_box(line)));
            let changed = object.is_some_and(|object| namespaces.take(Event::Apply(object)));
            assert!(changed, "each line says something else than the one before");
            published.publish(Snapshot {
                namespaces: Arc::clone(namespaces.live()),
                ..first.clone()
            });
        });
    });
}

criterion_group!(benches, one_namespace);
criterion_main!(benches);
