//! One credential through what watches, answers, policies and other controllers bring.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::*;
use std::time::UNIX_EPOCH;

use crate::controller::apply::{FIELD_MANAGER, OURS};
use crate::diagnostic::Source;
use crate::docker_config::{Digest, DockerConfig, Login, RegistryKey};
use crate::plan::refresh::Lifetime;
use crate::policy::table::Table;
use crate::policy::{self, ParseOptions};

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

/// The row of the one credential of a policy.
fn row(credential: &str) -> Row {
    let text = format!(
        "{{apiVersion: pullpass.dev/v1, kind: RegistryPolicy, metadata: {{name: company}}, spec: {{\
         rules: [{{name: r, match: {{images: ['*']}}, inject: {{imagePullSecrets: [ecr]}}}}],\
         credentials: [{{name: ecr, {credential}}}]}}}}"
    );
    let parsed = policy::parse(&Source::new("p", text), &ParseOptions::default());
    let table = Table::new(parsed.policies);
    let credential = table.credentials()[0];
    Row::of(&table, credential)
}

const ECR: &str = "from: {ecr: {accountIds: ['123456789012'], regions: [us-east-1]}}";

fn config(password: &str) -> DockerConfig {
    let mut config = DockerConfig::new();
    let login = Login {
        username: "AWS".to_owned(),
        password: password.to_owned().into(),
    };
    let key = RegistryKey::parse("quay.io").unwrap();
    config.insert(key, login).unwrap();
    config
}

fn digest(password: &str) -> Digest {
    config(password).digest()
}

fn material(row: &Row, password: &str, issued: u64) -> Material {
    let lifetime = Lifetime {
        issued: at(issued),
        expires: Some(at(issued + 100)),
    };
    Material::of(&config(password), lifetime, row.source)
}

fn remembered(row: &Row, password: &str, issued: u64) -> Remembered {
    material(row, password, issued).remembered()
}

fn secret(namespace: &str, version: u32, password: &str) -> Secret {
    let content = STANDARD.encode(config(password).to_json());
    serde_json::from_value(json!({
        "metadata": {
            "name": "ecr", "namespace": namespace, "uid": namespace, "resourceVersion": version.to_string(),
            "labels": {OURS.0: OURS.1},
            "managedFields": [{"manager": FIELD_MANAGER, "operation": "Apply"}],
        },
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": content},
    }))
    .unwrap()
}

fn kept(credential: &str) -> Kept {
    let mut kept = Kept::new(None, Chance::of(0));
    kept.declare(row(credential));
    kept
}

fn list(kept: &mut Kept, secrets: &[Secret]) {
    kept.take(Event::Init, None);
    for secret in secrets {
        kept.take(Event::InitApply(secret.clone()), None);
    }
    kept.take(Event::InitDone, None);
}

fn namespaces(names: &[&str]) -> BTreeSet<Arc<str>> {
    names.iter().map(|&name| name.into()).collect()
}

fn queued(kept: &Kept) -> Vec<String> {
    let told = |step: &Step| format!("{}: {}", step.namespace, step.reason);
    kept.queue.iter().map(told).collect()
}

#[test]
fn the_newest_value_counts_whichever_controller_has_fetched_it() {
    let row = row(ECR);
    // What is held and since when, whether it is our own; what copies hold; what is remembered, and since
    // when; what counts then.
    for (held, own, copy, told, want, why) in [
        (None, false, "b", ("b", 5), Some("b"), "a restart"),
        (None, false, "x", ("b", 5), None, "no copy holds it"),
        (Some(("a", 1)), false, "b", ("b", 5), Some("b"), "rotated"),
        (
            Some(("a", 1)),
            false,
            "a",
            ("b", 5),
            Some("a"),
            "fetched, and written nowhere yet: ours is good until the next",
        ),
        (
            Some(("a", 1)),
            false,
            "b",
            ("a", 1),
            Some("a"),
            "written, and not told yet",
        ),
        (
            Some(("b", 9)),
            false,
            "a",
            ("a", 1),
            Some("b"),
            "ours is newer",
        ),
        (
            Some(("b", 9)),
            true,
            "a",
            ("a", 50),
            Some("b"),
            "fetched by another clock before we led",
        ),
    ] {
        for status_first in [true, false] {
            let mut kept = kept(ECR);
            kept.material = held.map(|(password, issued)| material(&row, password, issued));
            if own && let Some(material) = kept.material.take() {
                kept.set_material(material, Chance::of(0));
            }
            let told = remembered(&row, told.0, told.1);
            if status_first {
                kept.recall(&told);
                kept.take(Event::Apply(secret("web", 7, copy)), Some(&told));
            } else {
                kept.take(Event::Apply(secret("web", 7, copy)), None);
                kept.recall(&told);
            }
            let got = kept.material.as_ref().map(|material| material.digest);
            assert_eq!(got, want.map(digest), "{why}, status first: {status_first}");
        }
    }
}

#[test]
fn a_value_that_is_older_than_what_is_remembered_is_not_written_over_it_and_fetched_anew() {
    let row = row(ECR);
    let told = remembered(&row, "b", 5);
    let mut kept = kept(ECR);
    kept.reach = namespaces(&["web", "api"]);
    kept.material = Some(material(&row, "a", 1));
    let soon = kept.ask_at(at(2)).unwrap();
    assert!(soon > at(2), "it is good for a while");
    // The newer one stands somewhere, and somebody has edited another copy since.
    list(
        &mut kept,
        &[secret("web", 7, "b"), secret("api", 8, "edited")],
    );
    kept.recall(&told);
    assert!(kept.material.is_none(), "ours is none any more");

    let mut kept = self::kept(ECR);
    kept.reach = namespaces(&["web", "api"]);
    kept.material = Some(material(&row, "a", 1));
    kept.recall(&told);
    assert_eq!(kept.ask_at(at(2)), Some(at(2)), "the newer one is nowhere");
    assert_eq!(
        kept.to_remember(Some(&told)),
        Some(told),
        "and is remembered"
    );
    kept.set_material(material(&row, "c", 9), Chance::of(0));
    assert!(kept.ask_at(at(10)) > Some(at(10)));
    let c = remembered(&row, "c", 9);
    assert_eq!(kept.to_remember(None), Some(c));
}

#[tokio::test(start_paused = true)]
async fn a_value_is_written_down_before_it_is_written_unless_that_takes_too_long() {
    let name = SecretName::parse("ecr").unwrap();
    let mut memory = Memory::default();
    let mut kept = kept(ECR);
    kept.set_material(material(&row(ECR), "a", 1), Chance::of(0));
    assert!(!kept.is_written_down(&name, None), "nothing is");
    memory.names.insert(name.clone());
    assert!(!kept.is_written_down(&name, Some(&memory)), "its name is");
    let value = remembered(&row(ECR), "a", 1);
    memory.values.insert(name.clone(), value);
    assert!(kept.is_written_down(&name, Some(&memory)));
    kept.set_material(material(&row(ECR), "b", 5), Chance::of(0));
    assert!(
        !kept.is_written_down(&name, Some(&memory)),
        "the one before is"
    );
    tokio::time::advance(WRITTEN_DOWN + Duration::from_secs(1)).await;
    assert!(
        kept.is_written_down(&name, Some(&memory)),
        "it is renewed all the same"
    );
    assert!(
        !kept.is_written_down(&name, None),
        "but not under an unknown name"
    );
}

#[test]
fn a_value_of_another_source_is_not_taken_over() {
    let mut kept = kept(ECR);
    let other = row("from: {ecr: {accountIds: ['123456789012'], regions: [eu-west-1]}}");
    let told = remembered(&other, "a", 1);
    kept.take(Event::Apply(secret("web", 7, "a")), Some(&told));
    assert!(kept.material.is_none());
    kept.declare(other);
    kept.recall(&told);
    assert!(kept.material.is_some(), "it is this one's");
    kept.declare(row(ECR));
    assert!(kept.material.is_none(), "and not that one's");
}

#[test]
fn a_credential_that_is_declared_again_has_its_value_and_is_asked_for_at_once() {
    let mut kept = kept(ECR);
    let row = row(ECR);
    kept.reach = namespaces(&["web"]);
    kept.material = Some(material(&row, "a", 1));
    kept.asking = Asking::Asked { failures: 0 };
    kept.retire();
    assert!(kept.to_write().is_none(), "nobody declares it");
    kept.declare(row);
    assert!(kept.to_write().is_some());
    kept.reach = namespaces(&["web"]);
    assert_eq!(
        kept.ask_at(at(0)),
        Some(at(51)),
        "an answer to nobody is not waited for"
    );
}

#[test]
fn a_source_that_failed_is_asked_soon_when_the_clock_was_set_back() {
    let mut kept = kept(ECR);
    kept.reach = namespaces(&["web"]);
    let now = at(100_000);
    kept.asking = Asking::Idle {
        failures: 3,
        next: Some(now + Duration::from_mins(4)),
    };
    assert_eq!(kept.ask_at(now), Some(now + Duration::from_mins(4)));
    assert_eq!(kept.ask_at(at(0)), Some(at(0)));
}

#[tokio::test(start_paused = true)]
async fn secrets_leave_after_a_while_each_and_not_while_policies_are_broken() {
    let mut kept = kept(ECR);
    kept.material = Some(material(&row(ECR), "a", 1));
    list(
        &mut kept,
        &["a", "b", "c"].map(|name| secret(name, 7, "old")),
    );
    let all = namespaces(&["a", "b", "c"]);
    let plan = |kept: &mut Kept, may_remove: bool| {
        kept.plan(may_remove, Instant::now(), at(2));
        queued(kept)
    };
    let writes = |names: &[&str]| -> Vec<String> {
        let told = names
            .iter()
            .map(|name| format!("{name}: it holds another value"));
        told.collect()
    };
    let leaves = |name: &str| format!("{name}: no rule that injects it applies there");
    let start = Instant::now();

    kept.reach = namespaces(&["a"]);
    assert_eq!(
        plan(&mut kept, false),
        writes(&["a"]),
        "something is broken"
    );
    assert_eq!(kept.leave_at, None, "its end is news");
    tokio::time::advance(GRACE).await;
    assert_eq!(
        plan(&mut kept, true),
        writes(&["a"]),
        "the time begins when all is known"
    );
    assert_eq!(kept.leave_at, Some(start + GRACE * 2));
    kept.reach = all.clone();
    assert_eq!(plan(&mut kept, true), writes(&["a", "b", "c"]), "back");
    assert_eq!(kept.leave_at, None);

    kept.reach = namespaces(&["a", "b"]);
    assert_eq!(plan(&mut kept, true), writes(&["a", "b"]));
    tokio::time::advance(GRACE / 2).await;
    kept.reach = namespaces(&["a"]);
    assert_eq!(plan(&mut kept, true), writes(&["a"]));
    tokio::time::advance(GRACE / 2).await;
    let mut want = writes(&["a"]);
    want.push(leaves("c"));
    assert_eq!(plan(&mut kept, true), want, "the other has to wait");
    assert_eq!(kept.leave_at, Some(Instant::now() + GRACE / 2));
    kept.retire();
    assert_eq!(
        plan(&mut kept, true),
        ["c: no policy declares it"],
        "each since it had to go"
    );
}

#[test]
fn a_list_that_began_before_a_write_takes_nothing_back() {
    let mut kept = kept(ECR);
    list(&mut kept, &[secret("web", 5, "a")]);
    kept.take(Event::Init, None);
    // The answers to our writes, in the middle of it.
    for (namespace, version) in [("web", 9), ("new", 8)] {
        let copy = secret::copy(&secret(namespace, version, "b")).unwrap();
        kept.set(&namespace.into(), copy);
    }
    kept.take(Event::InitApply(secret("web", 5, "a")), None);
    kept.take(Event::InitDone, None);
    let versions: Vec<_> = kept.copies.values().map(|copy| &*copy.version).collect();
    assert_eq!(versions, ["8", "9"]);
    // Removed by us; somebody else has made another one meanwhile.
    kept.removed("new", "another");
    assert!(kept.copies.contains_key("new"));
    kept.removed("new", "new");
    assert!(!kept.copies.contains_key("new"));
}

#[test]
fn a_name_is_remembered_until_nothing_is_left_of_it() {
    let ours = [secret("web", 5, "a")];
    let keep = format!("keep: true, {ECR}");
    // What the row said, if there was one; what was listed; whether a write is under way; whether the name
    // was remembered; whether it is from now on, and whether the credential is done with.
    for (said, listed, busy, known, remembered, over, why) in [
        (None, None, false, true, true, true, "not listed yet"),
        (
            None,
            Some(&[][..]),
            false,
            true,
            false,
            true,
            "nothing is left",
        ),
        (
            None,
            Some(&ours[..]),
            false,
            true,
            true,
            false,
            "a Secret is left",
        ),
        (
            Some(ECR),
            Some(&ours[..]),
            false,
            false,
            true,
            false,
            "somebody has deleted the status",
        ),
        (
            Some(ECR),
            Some(&[]),
            true,
            true,
            true,
            false,
            "one may come yet",
        ),
        (
            Some(ECR),
            Some(&[]),
            false,
            false,
            false,
            true,
            "never written",
        ),
        (
            Some(&*keep),
            Some(&ours),
            false,
            true,
            false,
            true,
            "its Secrets stay",
        ),
    ] {
        let mut kept = Kept::new(None, Chance::of(0));
        if let Some(said) = said {
            kept.declare(row(said));
            assert!(!kept.is_over(), "{why}: it is declared");
        }
        if let Some(secrets) = listed {
            list(&mut kept, secrets);
        }
        if busy {
            kept.waits.begin(&"api".into());
        }
        kept.retire();
        let got = (kept.is_remembered(known), kept.is_over());
        assert_eq!(got, (remembered, over), "{why}");
        kept.plan(true, Instant::now(), at(0));
        let goes = remembered && !over && !busy;
        assert_eq!(
            kept.leave_at.is_some(),
            goes,
            "{why}: whether it is removed"
        );
    }
}

#[test]
fn what_is_said_of_a_value_is_what_is_remembered_of_it() {
    let row = row(ECR);
    let fetched = crate::credentials::Fetched {
        config: config("a"),
        issued: at(1),
        expires: Some(at(100) + Duration::from_millis(250)),
    };
    let material = Material::fetched(&fetched, row.source);
    let mut status = crate::status::Status::default();
    let name = SecretName::parse("ecr").unwrap();
    status
        .memory
        .values
        .insert(name.clone(), material.remembered());
    let read = crate::status::Status::parse(&status.to_text()).unwrap();
    let expires = read.memory.values[&name].expires;
    assert_eq!(marks(&row, &material).expires, expires);
}

fn bare(namespace: &str, uid: &str, version: &str) -> Secret {
    let metadata = json!({
        "name": "ecr", "namespace": namespace, "uid": uid, "resourceVersion": version,
    });
    serde_json::from_value(json!({ "metadata": metadata })).unwrap()
}

#[test]
fn copies_that_come_or_go_are_news_and_one_that_changes_is_none() {
    let mut kept = Kept::new(None, Chance::of(0));
    for (event, want, why) in [
        (Event::Init, false, "a list begins"),
        (Event::InitApply(bare("web", "a", "1")), false, "it is read"),
        (Event::InitDone, true, "it is whole"),
        (Event::Apply(bare("web", "a", "2")), false, "a rotation"),
        (Event::Apply(bare("web", "a", "2")), false, "told twice"),
        (Event::Apply(bare("api", "b", "3")), true, "one more"),
        (
            Event::Apply(bare("api", "c", "5")),
            false,
            "another in its place",
        ),
        (
            Event::Delete(bare("api", "b", "4")),
            false,
            "the one before it",
        ),
        (Event::Delete(bare("web", "a", "6")), true, "it is gone"),
        (Event::Delete(bare("web", "a", "6")), false, "it was"),
    ] {
        assert_eq!(kept.take(event, None), want, "{why}");
    }
    let namespaces: Vec<_> = kept.copies.keys().map(|n| &**n).collect();
    assert_eq!(namespaces, ["api"]);
}
