//! Each alert fires when it should and is quiet when it should be, by promtool and the rules that the chart renders.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{alerts, read, rules, tool};

const UP: &str = r#"up{namespace="pullpass-system", job="pullpass-webhook-metrics", pod="a"}"#;
const LEADER: &str = r#"pullpass_leader{namespace="pullpass-system", pod="c"}"#;
const EXPIRY: &str = r#"pullpass_tls_certificate_expiration_timestamp_seconds{namespace="pullpass-system", pod="a", kind="serving"}"#;
const PANICS: &str = r#"pullpass_admission_requests_total{namespace="pullpass-system", pod="a", operation="unknown", outcome="panic"}"#;
const REJECTED: &str =
    r#"pullpass_policy_documents{namespace="pullpass-system", pod="a", state="rejected"}"#;
const TABLE: &str =
    r#"pullpass_policy_table_info{namespace="pullpass-system", pod="b", digest="two"}"#;
const WATCH: &str =
    r#"pullpass_watch_errors_total{namespace="pullpass-system", pod="a", resource="namespaces"}"#;
const SYNCED: &str =
    r#"pullpass_cache_synced{namespace="pullpass-system", pod="a", resource="namespaces"}"#;
const ERRORS: &str =
    r#"pullpass_reconcile_errors_total{namespace="pullpass-system", pod="c", kind="lease"}"#;
const EXPIRED: &str = r#"pullpass_credential_expiration_timestamp_seconds{namespace="pullpass-system", pod="c", credential="ecr"}"#;
const DUE: &str = r#"pullpass_credential_renewal_timestamp_seconds{namespace="pullpass-system", pod="c", credential="ecr"}"#;
const FOREIGN: &str = r#"pullpass_credential_secrets{namespace="pullpass-system", pod="c", credential="ecr", state="foreign"}"#;
const OLDEST: &str =
    r#"pullpass_oldest_held_pod_age_seconds{namespace="pullpass-system", pod="c"}"#;
const FAST: &str = r#"pullpass_admission_duration_seconds_bucket{namespace="pullpass-system", job="pullpass-webhook-metrics", pod="a", le="0.1"}"#;
const OPEN: &str =
    r#"apiserver_admission_webhook_fail_open_count{name="pods.pullpass.dev", type="admit"}"#;
const OPEN_OF_OTHERS: &str =
    r#"apiserver_admission_webhook_fail_open_count{name="pods.example.com", type="admit"}"#;
const REFUSED: &str = r#"apiserver_admission_webhook_rejection_count{name="pods.pullpass.dev", error_type="calling_webhook_error"}"#;
const DENIED: &str = r#"apiserver_admission_webhook_rejection_count{name="pods.pullpass.dev", error_type="no_error"}"#;

/// An installation that is well, minute by minute for an hour.
const WELL: [(&str, &str); 16] = [
    (UP, "1x60"),
    (LEADER, "1x60"),
    (EXPIRY, "5184000x60"),
    (PANICS, "0x60"),
    (REJECTED, "0x60"),
    (
        r#"pullpass_policy_table_info{namespace="pullpass-system", pod="a", digest="one"}"#,
        "1x60",
    ),
    (WATCH, "0x60"),
    (SYNCED, "1x60"),
    (ERRORS, "0x60"),
    (EXPIRED, "43200x60"),
    (DUE, "21600x60"),
    (FOREIGN, "0x60"),
    (OLDEST, "0x60"),
    (FAST, "0+600x60"),
    (
        r#"pullpass_admission_duration_seconds_bucket{namespace="pullpass-system", job="pullpass-webhook-metrics", pod="a", le="0.5"}"#,
        "0+600x60",
    ),
    (
        r#"pullpass_admission_duration_seconds_bucket{namespace="pullpass-system", job="pullpass-webhook-metrics", pod="a", le="+Inf"}"#,
        "0+600x60",
    ),
];

/// What is so, the series that differ from [`WELL`], the minute of the look, what fires then.
type Row = (
    &'static str,
    &'static [(&'static str, &'static str)],
    u8,
    &'static [&'static str],
);

const ROWS: &[Row] = &[
    ("all is well", &[], 50, &[]),
    (
        "the last replica is down for 6 minutes",
        &[(UP, "1x20 0x40")],
        27,
        &["WebhookDown"],
    ),
    ("it is down for 4 minutes", &[(UP, "1x20 0x40")], 25, &[]),
    (
        "API servers refuse for the first time",
        &[(REFUSED, "_x20 1x40")],
        22,
        &["Rejecting"],
    ),
    (
        "they refuse again",
        &[(REFUSED, "3x20 4x40")],
        22,
        &["Rejecting"],
    ),
    ("they refused an hour ago", &[(REFUSED, "4x60")], 40, &[]),
    ("pullpass itself denies", &[(DENIED, "0+5x60")], 22, &[]),
    (
        "an API server fails open for the first time",
        &[(OPEN, "_x20 1x40")],
        22,
        &["FailingOpen"],
    ),
    (
        "it fails open again",
        &[(OPEN, "3x20 4x40")],
        22,
        &["FailingOpen"],
    ),
    ("it failed open an hour ago", &[(OPEN, "4x60")], 40, &[]),
    (
        "another's webhook fails open",
        &[(OPEN_OF_OTHERS, "0+5x60")],
        22,
        &[],
    ),
    (
        "a certificate has a day left",
        &[(EXPIRY, "86400x60")],
        10,
        &["CertificateExpiring", "CertificateNotRenewed"],
    ),
    (
        "it has ten days left",
        &[(EXPIRY, "864000x60")],
        10,
        &["CertificateNotRenewed"],
    ),
    (
        "it has fifteen days left",
        &[(EXPIRY, "1296000x60")],
        10,
        &[],
    ),
    (
        "five of a hundred answers are slow",
        &[(FAST, "0+570x60")],
        30,
        &["Slow"],
    ),
    (
        "they are slow for a short time",
        &[(FAST, "0+570x60")],
        8,
        &[],
    ),
    (
        "five of a thousand answers are slow",
        &[(FAST, "0+597x60")],
        30,
        &[],
    ),
    (
        "a request made the code panic",
        &[(PANICS, "0x20 1x40")],
        22,
        &["Panics"],
    ),
    ("that was an hour ago", &[(PANICS, "1x60")], 50, &[]),
    (
        "a policy is kept out",
        &[(REJECTED, "0x20 1x40")],
        22,
        &["PolicyRejected"],
    ),
    ("it was corrected", &[(REJECTED, "1x20 0x40")], 22, &[]),
    (
        "replicas differ for 6 minutes",
        &[(TABLE, "_x20 1x40")],
        27,
        &["TablesDiffer"],
    ),
    (
        "replicas differ for 3 minutes",
        &[(TABLE, "_x20 1x40")],
        24,
        &[],
    ),
    (
        "a watch fails again and again",
        &[(WATCH, "0+1x60")],
        30,
        &["CacheStale"],
    ),
    ("a watch failed once", &[(WATCH, "0x20 1x40")], 32, &[]),
    (
        "a resource was never listed",
        &[(SYNCED, "0x60")],
        12,
        &["CacheStale"],
    ),
    (
        "a resource takes minutes to be listed",
        &[(SYNCED, "0x5 1x55")],
        12,
        &[],
    ),
    (
        "no controller leads for 6 minutes",
        &[(LEADER, "1x20 0x40")],
        27,
        &["NoLeader"],
    ),
    (
        "there is no controller",
        &[(LEADER, "_x60")],
        27,
        &["NoLeader"],
    ),
    (
        "a new one leads after a minute",
        &[(LEADER, "1x20 0x1 1x40")],
        27,
        &[],
    ),
    (
        "the controller fails for 20 minutes",
        &[(ERRORS, "0+1x60")],
        25,
        &["ControllerErrors"],
    ),
    (
        "it tries again every five minutes and fails",
        &[(ERRORS, "0x4 1x4 2x4 3x4 4x4 5x4 6x4 7x4 8x4 9x4 10x10")],
        40,
        &["ControllerErrors"],
    ),
    ("it failed once", &[(ERRORS, "0x20 1x40")], 38, &[]),
    (
        "the value of a credential has expired",
        &[(EXPIRED, "1200x60"), (DUE, "600x60")],
        21,
        &["CredentialExpired", "CredentialOverdue"],
    ),
    (
        "it expires in a minute, and a new one is due",
        &[(EXPIRED, "1200x60"), (DUE, "600x60")],
        19,
        &[],
    ),
    (
        "a new value has been due for 11 minutes",
        &[(DUE, "600x60")],
        22,
        &["CredentialOverdue"],
    ),
    (
        "it came after 9 minutes",
        &[(DUE, "600x19 22200x40")],
        25,
        &[],
    ),
    (
        "another controller leads after a restart, and shows the same",
        &[
            (DUE, "600x15 _x45"),
            (
                r#"pullpass_credential_renewal_timestamp_seconds{namespace="pullpass-system", pod="d", credential="ecr"}"#,
                "_x15 600x45",
            ),
        ],
        22,
        &["CredentialOverdue"],
    ),
    (
        "somebody else's Secret stands there for 11 minutes",
        &[(FOREIGN, "0x20 2x40")],
        32,
        &["SecretNotOurs"],
    ),
    (
        "it was there for a short time",
        &[(FOREIGN, "0x20 2x5 0x35")],
        32,
        &[],
    ),
    (
        "a Pod has been held for 6 minutes",
        &[(OLDEST, "0x20 0+60x40")],
        27,
        &["PodsHeld"],
    ),
    (
        "a Pod has been held for 4 minutes",
        &[(OLDEST, "0x20 0+60x40")],
        25,
        &[],
    ),
    (
        "one Pod after the other is held for a minute",
        &[(OLDEST, "0x20 60x40")],
        50,
        &[],
    ),
];

fn case(&(name, differs, minute, firing): &Row) -> Value {
    let well = WELL
        .iter()
        .filter(|(series, _)| !differs.iter().any(|(other, _)| other == series));
    let series = well
        .chain(differs)
        .map(|(series, values)| json!({"series": series, "values": values}));
    let samples = firing
        .iter()
        .map(|alert| json!({"labels": format!("{{alertname=\"Pullpass{alert}\"}}"), "value": 1}));
    json!({
        "name": name, "interval": "1m", "input_series": series.collect::<Vec<_>>(),
        "promql_expr_test": [{
            "expr": "count by (alertname) (ALERTS{alertstate=\"firing\"})",
            "eval_time": format!("{minute}m"), "exp_samples": samples.collect::<Vec<_>>(),
        }],
    })
}

#[test]
fn each_alert_fires_when_it_should_and_only_then() {
    let directory = tempfile::tempdir().unwrap();
    let put = |name: &str, value: &Value| {
        std::fs::write(directory.path().join(name), value.to_string()).unwrap();
    };
    put("rules.yaml", &rules());
    let cases: Vec<Value> = ROWS.iter().map(case).collect();
    put(
        "test.yaml",
        &json!({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": cases}),
    );
    for args in [
        &["check", "rules", "rules.yaml"][..],
        &["test", "rules", "test.yaml"],
    ] {
        let output = tool("promtool")
            .current_dir(&directory)
            .args(args)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {told}{said}");
    }
    let fires = |alert: &str| {
        let row =
            |(_, _, _, firing): &Row| firing.iter().any(|name| format!("Pullpass{name}") == alert);
        ROWS.iter().any(row)
    };
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        assert!(fires(name), "no row in which {name} fires");
    }
}

#[test]
fn each_alert_says_what_it_is_and_has_its_page() {
    let page = read("docs/alerts.md");
    let headings: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    let all = alerts();
    let names: BTreeSet<&str> = all
        .iter()
        .map(|alert| alert["alert"].as_str().unwrap())
        .collect();
    assert_eq!(names, headings);
    for alert in &all {
        let name = alert["alert"].as_str().unwrap();
        let notes = &alert["annotations"];
        for key in ["summary", "description"] {
            let note = notes[key].as_str().unwrap();
            assert!(note.ends_with('.'), "{name}: {key}");
            for rest in note.split("$labels.").skip(1) {
                let label: String = rest.chars().take_while(char::is_ascii_lowercase).collect();
                let grouped = alert["expr"].as_str().unwrap().split("by (").skip(1);
                let mut groups = grouped.map(|group| group.split(')').next().unwrap());
                let has = groups.all(|group| group.split(", ").any(|other| other == label));
                assert!(has, "{name} loses the label {label}");
            }
        }
        let anchor = format!("https://pullpass.dev/docs/alerts#{}", name.to_lowercase());
        assert_eq!(notes["runbook_url"], json!(anchor));
        let severity = alert["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning"].contains(&severity), "{name}");
    }
}
