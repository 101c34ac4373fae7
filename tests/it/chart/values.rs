//! What each value changes of the default rendering, and that it changes nothing else; the renderings as they are.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use super::written::written;
use super::{CHART, Objects, documents, helm, named, template_with, whole};
use crate::command::run_with;

#[test]
fn the_default_rendering_is_what_it_was() {
    insta::assert_snapshot!("default", template_with("", &[]).stdout);
}

/// Everything that is off by default.
const OPTIONAL: &str = "
webhook:
  autoscaling: {enabled: true}
  clientCA: {configMapName: callers}
certManager: {enabled: true}
networkPolicy:
  enabled: true
  apiServerCIDRs: [192.0.2.0/28]
  metricsFrom: [{namespaceSelector: {matchLabels: {team: monitoring}}}]
serviceMonitor:
  enabled: true
  labels: {release: prometheus}
";

#[test]
fn the_optional_objects_are_what_they_were() {
    let on = named(whole(OPTIONAL));
    let off = named(whole(""));
    let added = on.iter().filter(|(key, _)| !off.contains_key(*key));
    let added: Vec<String> = added
        .map(|(_, object)| serde_json::to_string_pretty(object).unwrap())
        .collect();
    insta::assert_snapshot!("optional", added.join("\n"));
}

#[test]
fn helm_lint_finds_nothing() {
    for values in ["", OPTIONAL] {
        let ran = run_with(
            helm(&["lint", "--strict", "--values", "-", CHART]),
            values.as_bytes(),
        );
        assert_eq!(ran.status, 0, "{}{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.contains("0 chart(s) failed"), "{}", ran.stdout);
        assert!(!ran.stdout.contains("[WARNING]"), "{}", ran.stdout);
    }
}

/// What is different, one line each: `Kind name /path: before → after`.
fn differences(before: &Objects, after: &Objects) -> BTreeSet<String> {
    let mut told = BTreeSet::new();
    for key in before.keys().chain(after.keys()) {
        match (before.get(key), after.get(key)) {
            (Some(old), Some(new)) => compare(&format!("{key} "), old, new, &mut told),
            (None, _) => drop(told.insert(format!("+ {key}"))),
            (_, None) => drop(told.insert(format!("- {key}"))),
        }
    }
    told
}

fn compare(at: &str, old: &Value, new: &Value, told: &mut BTreeSet<String>) {
    match (old, new) {
        _ if old == new => {}
        (Value::Object(before), Value::Object(after)) => {
            for key in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
                let at = format!("{at}/{key}");
                match (before.get(key), after.get(key)) {
                    (Some(old), Some(new)) => compare(&at, old, new, told),
                    (None, Some(new)) => drop(told.insert(format!("{at} + {new}"))),
                    (Some(old), None) => drop(told.insert(format!("{at} - {old}"))),
                    (None, None) => {}
                }
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            let is_list_of_objects = before.iter().chain(after).any(Value::is_object);
            if is_list_of_objects && before.len() == after.len() {
                for (index, (old, new)) in before.iter().zip(after).enumerate() {
                    compare(&format!("{at}/{index}"), old, new, told);
                }
                return;
            }
            for gone in before.iter().filter(|old| !after.contains(old)) {
                told.insert(format!("{at} - {gone}"));
            }
            for come in after.iter().filter(|new| !before.contains(new)) {
                told.insert(format!("{at} + {come}"));
            }
        }
        _ => drop(told.insert(format!("{at}: {old} → {new}"))),
    }
}

/// The paths of values that a text sets.
fn set(text: &str) -> Vec<String> {
    fn walk(at: &str, value: &Value, known: &BTreeSet<String>, found: &mut Vec<String>) {
        if known.contains(at) {
            found.push(at.to_owned());
            return;
        }
        let fields = value
            .as_object()
            .unwrap_or_else(|| panic!("{at} is no value"));
        for (key, value) in fields {
            let at = if at.is_empty() {
                key.clone()
            } else {
                format!("{at}.{key}")
            };
            walk(&at, value, known, found);
        }
    }
    let known = written().into_iter().filter(|value| !value.is_heading);
    let known = known.map(|value| value.path).collect();
    let mut found = Vec::new();
    walk("", &documents(text)[0], &known, &mut found);
    found
}

/// Each row is values; the snapshot has every difference that they make, and no other may be there. A row of two is
/// compared with its first: what the value needs to have an effect.
const INSTALLATION: &[&[&str]] = &[
    &["global: {imageRegistry: mirror.example}"],
    &["global: {imagePullSecrets: [{name: own}]}"],
    &["image: {registry: mirror.example}"],
    &["image: {registry: ''}"],
    &["image: {repository: acme/pullpass}"],
    &["image: {tag: edge}"],
    &[
        "image: {tag: edge}",
        "image: {digest: 'sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef'}",
    ],
    &["image: {pullPolicy: Always}"],
    &["commonLabels: {team: platform}"],
    &["commonAnnotations: {owner: platform}"],
    &["extraObjects: [{apiVersion: v1, kind: ConfigMap, metadata: {name: mine}}]"],
    &[
        "policies: {company: {rules: [{name: hub, match: {images: [docker.io]}, inject: {imagePullSecrets: [hub]}}], credentials: [{name: hub, from: {secretRef: {name: dockerhub}}, holdPods: true}]}}",
    ],
    &["namespaceMode: opt-in"],
    &["excludedNamespaces: [b, a]"],
    &["allowOptOut: false"],
    &["tenantPolicies: {enabled: true}"],
    &[
        "proxy: {https: 'http://proxy.example:3128', http: 'proxy.example:3128', noProxy: '.svc,10.0.0.0/8'}",
    ],
    &["log: {level: 'warn,pullpass=debug'}"],
    &["log: {format: text}"],
    &["rbac: {create: false}"],
    &["resourceQuota: {enabled: false}"],
    &["test: {enabled: false}"],
    &["networkPolicy: {enabled: true}"],
    &[
        "networkPolicy: {enabled: true}",
        "networkPolicy: {enabled: true, apiServerCIDRs: [192.0.2.0/28]}",
    ],
    &[
        "networkPolicy: {enabled: true}",
        "networkPolicy: {enabled: true, metricsFrom: [{podSelector: {}}]}",
    ],
    &[
        "networkPolicy: {enabled: true}",
        "networkPolicy: {enabled: true, egressCIDRs: [169.254.0.0/16, 192.0.2.9/32]}",
    ],
    &["serviceMonitor: {enabled: true}"],
    &[
        "serviceMonitor: {enabled: true}",
        "serviceMonitor: {enabled: true, namespace: monitoring}",
    ],
    &[
        "serviceMonitor: {enabled: true}",
        "serviceMonitor: {enabled: true, labels: {release: p}}",
    ],
    &[
        "serviceMonitor: {enabled: true}",
        "serviceMonitor: {enabled: true, interval: 15s}",
    ],
    &[
        "serviceMonitor: {enabled: true}",
        "serviceMonitor: {enabled: true, relabelings: [{targetLabel: a}]}",
    ],
    &[
        "serviceMonitor: {enabled: true}",
        "serviceMonitor: {enabled: true, metricRelabelings: [{targetLabel: a}]}",
    ],
    &["prometheusRule: {enabled: true}"],
    &[
        "prometheusRule: {enabled: true}",
        "prometheusRule: {enabled: true, namespace: monitoring}",
    ],
    &[
        "prometheusRule: {enabled: true}",
        "prometheusRule: {enabled: true, labels: {release: p}}",
    ],
    &[
        "prometheusRule: {enabled: true}",
        "prometheusRule: {enabled: true, disabled: [ControllerErrors]}",
    ],
    &[
        "prometheusRule: {enabled: true}",
        "prometheusRule: {enabled: true, extraGroups: [{name: mine, rules: []}]}",
    ],
    &["grafanaDashboard: {enabled: true}"],
    &[
        "grafanaDashboard: {enabled: true}",
        "grafanaDashboard: {enabled: true, namespace: monitoring}",
    ],
    &[
        "grafanaDashboard: {enabled: true}",
        "grafanaDashboard: {enabled: true, labels: {dashboards: 'yes'}}",
    ],
    &["certManager: {enabled: true}"],
    &[
        "certManager: {enabled: true}",
        "certManager: {enabled: true, issuerRef: {name: company, kind: ClusterIssuer}}",
    ],
    &[
        "certManager: {enabled: true}",
        "certManager: {enabled: true, duration: 48h, renewBefore: 24h}",
    ],
];

const WEBHOOK: &[&[&str]] = &[
    &["webhook: {failurePolicy: Fail}"],
    &["webhook: {timeoutSeconds: 9}"],
    &["webhook: {configurationName: 50-pullpass}"],
    &["webhook: {ephemeralContainerWarnings: false}"],
    &["webhook: {validatePolicies: false}"],
    &["webhook: {annotations: {owner: platform}}"],
    &[
        "webhook: {namespaceSelector: {matchLabels: {team: a}, matchExpressions: [{key: b, operator: Exists}]}}",
    ],
    &["webhook: {objectSelector: {matchExpressions: [{key: b, operator: Exists}]}}"],
    &["webhook: {matchConditions: [{name: mine, expression: 'true'}]}"],
    &["webhook: {port: 9443}"],
    &["webhook: {adminPort: 9792}"],
    &[
        "webhook: {port: 9443}",
        "webhook: {port: 9443, hostNetwork: true}",
    ],
    &["webhook: {url: 'https://hooks.example:8443/pullpass/'}"],
    &["webhook: {url: 'https://[2001:db8::1]'}"],
    &["webhook: {drainSeconds: 20}"],
    &["webhook: {clientCA: {configMapName: callers}}"],
    &["webhook: {service: {type: LoadBalancer}}"],
    &["webhook: {service: {annotations: {internal: 'true'}}}"],
    &["webhook: {service: {ipFamilyPolicy: PreferDualStack}}"],
    &["webhook: {service: {ipFamilies: [IPv6, IPv4]}}"],
    &["webhook: {tls: {existingSecret: mine}}"],
    &[
        "webhook: {tls: {existingSecret: mine}}",
        "webhook: {tls: {existingSecret: mine, caBundle: '-----BEGIN CERTIFICATE-----'}}",
    ],
    &["webhook: {autoscaling: {enabled: true}}"],
    &[
        "webhook: {autoscaling: {enabled: true}}",
        "webhook: {autoscaling: {enabled: true, minReplicas: 1, maxReplicas: 9, targetCPUUtilizationPercentage: 50}}",
    ],
];

const CONTROLLER: &[&[&str]] = &[
    &[
        "certManager: {enabled: true}",
        "{certManager: {enabled: true}, controller: {enabled: false}}",
    ],
    &["controller: {credentialNames: [ecr]}"],
    &["controller: {sourceSecretNames: [dockerhub]}"],
    &["controller: {holdPods: true}"],
    &["controller: {retiredCredentialNames: [old]}"],
    &["controller: {caBundle: '-----BEGIN CERTIFICATE-----'}"],
    &[
        "controller: {caBundle: '-----BEGIN CERTIFICATE-----'}",
        "controller: {caBundle: '-----BEGIN CERTIFICATE----- another'}",
    ],
    &["controller: {admissionGuard: {enabled: false}}"],
];

/// What both processes have, for either.
const EITHER: &[&str] = &[
    "replicaCount: 1",
    "resources: {limits: {memory: 1Gi}}",
    "podSecurityContext: {fsGroup: 2000}",
    "containerSecurityContext: {runAsUser: 65532}",
    "podDisruptionBudget: {enabled: false}",
    "podDisruptionBudget: {maxUnavailable: 50%, unhealthyPodEvictionPolicy: IfHealthyBudget}",
    "podLabels: {team: platform}",
    "podAnnotations: {team: platform}",
    "livenessProbe: {timeoutSeconds: 3}",
    "readinessProbe: {periodSeconds: 9}",
    "updateStrategy: {rollingUpdate: {maxSurge: 2}}",
    "topologySpreadConstraints: []",
    "topologySpreadConstraints: [{topologyKey: rack, maxSkew: 2, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {a: b}}}]",
    "affinity: {nodeAffinity: {}}",
    "nodeSelector: {disk: ssd}",
    "tolerations: [{key: edge, operator: Exists}]",
    "priorityClassName: ''",
    "terminationGracePeriodSeconds: 60",
    "extraArgs: [--context=x]",
    "extraEnv: [{name: RUST_BACKTRACE, value: '1'}]",
    "extraVolumes: [{name: tmp, emptyDir: {}}]",
    "extraVolumeMounts: [{name: tmp, mountPath: /tmp}]",
    "serviceAccount: {name: mine}",
    "serviceAccount: {create: false, name: mine}",
    "serviceAccount: {annotations: {role: a}}",
    "serviceAccount: {automountServiceAccountToken: false}",
];

/// What each row changes, one paragraph a row.
fn changes<'a>(rows: impl IntoIterator<Item = Vec<&'a str>>) -> String {
    let default = named(whole(""));
    let mut told = String::new();
    for row in rows {
        let (before, values) = match row[..] {
            [values] => (default.clone(), values),
            [base, values] => (named(whole(base)), values),
            _ => panic!("{row:?}"),
        };
        told.push_str(&row.join("\n  ⇒ "));
        told.push('\n');
        let differences = differences(&before, &named(whole(values)));
        assert!(!differences.is_empty(), "{values} has no effect");
        for difference in differences {
            writeln!(told, "    {difference}").unwrap();
        }
    }
    told
}

fn rows<'a>(table: &'a [&'a [&'a str]]) -> impl Iterator<Item = Vec<&'a str>> {
    table.iter().map(|row| row.to_vec())
}

/// The same value of each process.
fn either(process: &str) -> Vec<String> {
    let rows = EITHER.iter();
    rows.map(|value| format!("{process}: {{{value}}}"))
        .collect()
}

#[test]
fn each_value_of_an_installation_changes_what_it_says_and_nothing_else() {
    insta::assert_snapshot!("installation", changes(rows(INSTALLATION)));
}

#[test]
fn each_value_of_the_webhook_changes_what_it_says_and_nothing_else() {
    let either = either("webhook");
    let either = either.iter().map(|row| vec![row.as_str()]);
    insta::assert_snapshot!("webhook", changes(rows(WEBHOOK).chain(either)));
}

#[test]
fn each_value_of_the_controller_changes_what_it_says_and_nothing_else() {
    let either = either("controller");
    let either = either.iter().map(|row| vec![row.as_str()]);
    insta::assert_snapshot!("controller", changes(rows(CONTROLLER).chain(either)));
}

/// They are in every name and namespace; these are held as a whole.
const NAMES: [(&str, &str); 3] = [
    ("nameOverride: hooks", "pullpass-hooks"),
    ("fullnameOverride: registry-hooks", "registry-hooks"),
    ("namespaceOverride: registry", "pullpass"),
];

#[test]
fn names_and_the_namespace_change_everywhere_at_once() {
    let fixed = [
        "00-pullpass",
        "pullpass-policies",
        "pullpass-ephemeralcontainers",
    ];
    let default = whole("");
    for (values, prefix) in NAMES {
        let all = whole(values);
        assert_eq!(all.len(), default.len(), "{values}");
        let namespace = if values.starts_with("namespace") {
            "registry"
        } else {
            "pullpass-system"
        };
        for object in &all {
            let name = object["metadata"]["name"].as_str().unwrap();
            assert!(
                name.starts_with(prefix) || fixed.contains(&name),
                "{values}: {name}"
            );
            let place = object["metadata"].get("namespace");
            assert!(
                place.is_none_or(|place| place == namespace),
                "{values}: {object}"
            );
            if namespace != "pullpass-system" {
                assert!(!object.to_string().contains("pullpass-system"), "{object}");
            }
        }
    }
}

#[test]
fn every_value_is_tried() {
    let mut tried: BTreeSet<String> = BTreeSet::new();
    let tables = [INSTALLATION, WEBHOOK, CONTROLLER].concat();
    let either = [either("webhook"), either("controller")].concat();
    let either = either.iter().map(String::as_str);
    let names = NAMES.iter().map(|(values, _)| *values);
    for values in tables.concat().into_iter().chain(either).chain(names) {
        tried.extend(set(values));
    }
    for value in written() {
        let is_tried = value.is_heading || tried.contains(&value.path);
        assert!(is_tried, "no row sets {}", value.path);
    }
}
