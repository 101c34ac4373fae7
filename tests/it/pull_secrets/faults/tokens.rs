//! Sources that fail for longer than tokens live, each in its way: old values stay, even when they are over; nothing bad is ever
//! written; new values are everywhere once a source is well.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::*;
use crate::moto::Moto;

/// Faults by the region they are in.
const REGIONS: [(&str, &str, &str); 4] = [
    (
        "us-east-1",
        "error",
        "source down for longer than its tokens live",
    ),
    (
        "eu-west-1",
        "expired",
        "source gives tokens that have expired already",
    ),
    ("us-west-2", "garbage", "source answers with something else"),
    ("eu-central-1", "throttle", "source throttles"),
];
/// How long a token lives.
const LIFE: u64 = 14;
const NAMESPACES: usize = 3;

fn policy() -> String {
    let rules: Vec<_> = REGIONS
        .iter()
        .map(|(region, _, _)| {
            format!(
                "    - {{name: {region}, match: {{images: [123456789012.dkr.ecr.{region}.amazonaws.com], SELECTED}}, \
                 inject: {{imagePullSecrets: [{region}@]}}}}\n"
            )
        })
        .collect();
    let credentials: Vec<_> = REGIONS
        .iter()
        .map(|(region, _, _)| {
            format!(
                "    - {{name: {region}@, from: {{ecr: {{accountIds: ['123456789012'], regions: [{region}]}}}}}}\n"
            )
        })
        .collect();
    let (rules, credentials) = (rules.concat(), credentials.concat());
    format!(
        "apiVersion: pullpass.dev/v1\nkind: RegistryPolicy\nmetadata: {{name: company}}\nspec:\n  rules:\n{rules}  \
         credentials:\n{credentials}"
    )
}

#[test]
fn old_tokens_stay_while_sources_fail_and_new_ones_are_everywhere_after() {
    let policy = policy();
    let estate = Estate::on(Plane::shared(), &policy);
    let mut namespaces = estate.namespaces(NAMESPACES);
    let moto = Moto::start();
    let env = moto.env();
    let env: Vec<_> = env.iter().map(|(key, value)| (&**key, &**value)).collect();
    let lifetimes: serde_json::Map<_, _> = REGIONS
        .iter()
        .map(|(region, _, _)| ((*region).to_owned(), json!(LIFE)))
        .collect();
    moto.set(&json!({"lifetimes": lifetimes}));
    let values = |region: &str| -> Vec<String> {
        let calls = moto
            .calls("ecr")
            .into_iter()
            .filter(|call| call["region"] == region);
        calls
            .filter_map(|call| Some(format!("AWS:{}", call["password"].as_str()?)))
            .collect()
    };
    let ledgers = REGIONS.map(|(region, _, _)| Ledger::of(&estate, region));
    estate.put(&policy);
    let controller = estate.control_with(&[], &env);
    for ((region, _, _), ledger) in REGIONS.iter().zip(&ledgers) {
        wait_until("a token is fetched", || !values(region).is_empty());
        ledger.until(NAMESPACES, &values(region)[0]);
    }
    let faults =
        REGIONS.map(|(region, kind, _)| json!({"service": "ecr", "kind": kind, "region": region}));
    moto.set(&json!({"faults": faults}));
    let held = REGIONS.map(|(region, _, _)| values(region).len());
    let held = REGIONS
        .iter()
        .zip(held)
        .map(|((region, _, _), n)| values(region)[n - 1].clone());
    let held: Vec<_> = held.collect();

    for (region, _, _) in REGIONS {
        let series = format!(
            "pullpass_credential_expiration_timestamp_seconds{{credential=\"{}\"}}",
            estate.name(region)
        );
        let expires = Duration::from_secs_f64(metric(&controller, &series).unwrap());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let left = expires.saturating_sub(now);
        assert!(left <= Duration::from_secs(LIFE), "{region}: {left:?}");
    }
    // Until all of them are over, half of their lives after the first failures.
    for ((region, _, why), (ledger, held)) in REGIONS.iter().zip(ledgers.iter().zip(&held)) {
        let stale = copies(&estate, region, "stale");
        wait_until(&format!("{why}: its copies are over"), || {
            count(&controller, &stale) == NAMESPACES as u64
        });
        assert_eq!(ledger.count(held), NAMESPACES, "{why}: they stay");
        assert!(
            count(&controller, &refreshes(&estate, region, "failure")) >= 2,
            "{why}"
        );
    }
    estate.until_event(estate.own(), "policies", "CredentialRefreshFailed");
    // What is over goes nowhere new.
    namespaces.extend(estate.namespaces(1));
    let missing = copies(&estate, "us-east-1", "missing");
    wait_until("it is missed", || count(&controller, &missing) == 1);

    moto.set(&json!({"faults": [], "lifetimes": {}}));
    for ((region, kind, why), (ledger, held)) in REGIONS.iter().zip(ledgers.into_iter().zip(held)) {
        let good = |values: &[String]| values.last().filter(|value| **value != held).cloned();
        wait_until(&format!("{why}: it is well again"), || {
            good(&values(region)).is_some_and(|value| ledger.count(&value) == namespaces.len())
        });
        let failures = count(&controller, &refreshes(&estate, region, "failure"));
        assert!(failures < 10, "{why}: asked {failures} times in vain");
        let mut all = values(region);
        if *kind == "expired" {
            // Those that were over before they came: none is ever written, as whatever is not in the list.
            let last = all.pop().unwrap();
            let first = all.iter().position(|value| *value == held).unwrap();
            all.truncate(first + 1);
            all.push(last);
        }
        ledger.end(&Row {
            fault: why,
            values: &all.iter().map(AsRef::as_ref).collect::<Vec<_>>(),
            wanted: &namespaces,
            waited: None,
            happened: &format!(
                "asked {failures} times in vain, until past the end of a life of {LIFE} s"
            ),
        });
    }
    let (_, log) = controller.stop();
    for call in moto.calls("ecr") {
        if let Some(password) = call["password"].as_str() {
            assert!(!log.contains(password), "a token in the log");
        }
    }
}
