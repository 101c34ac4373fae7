//! Rights: what an API server would let each account do, against the documented table.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::diagnostic::Source;
use crate::load::{LoadOptions, load};

/// `account, where, resource, name` → verbs. No name in the list is every object.
type Rights = BTreeMap<(String, String, String, String), BTreeSet<String>>;

const NONE: &str = "";
const COPIED: &str = "{name: hub, from: {secretRef: {name: hub-source}}}";
const FETCHED: &str =
    "{name: ecr, from: {ecr: {accountIds: ['123456789012'], regions: [us-east-1]}}}";
const HELD: &str = "{name: ecr, from: {ecr: {accountIds: ['123456789012'], regions: [us-east-1]}}, holdPods: true}";
const FOREIGN: &str = "{name: vault, from: {existing: {}}}";
const FOREIGN_HELD: &str = "{name: vault, from: {existing: {}}, holdPods: true}";

fn usual() -> Options {
    Options {
        namespace: "own".to_owned(),
        tls_secret: "pullpass-webhook-tls".to_owned(),
        certificates: Certificates::Controller {
            configuration: "00-pullpass".to_owned(),
        },
        tenant_policies: false,
        sweep: Sweep::Report,
    }
}

fn rendered(credentials: &[&str], options: &Options) -> Vec<Value> {
    let policy = format!(
        "apiVersion: pullpass.dev/v1\nkind: RegistryPolicy\nmetadata: {{name: p}}\nspec:\n  \
             rules: [{{name: r, match: {{images: ['*']}}, inject: {{imagePullSecrets: [x]}}}}]\n  \
             credentials: [{}]\n",
        credentials.join(", ")
    );
    let policy = policy.replace("  credentials: []\n", "");
    let loaded = load(&[Source::new("p", policy)], &[], &LoadOptions::default());
    assert!(!loaded.has_error(), "{:?}", loaded.diagnostics);
    objects(&loaded.snapshot.table.credentials(), options)
}

/// Every right of both accounts, through their bindings as an API server would follow them.
fn rights(objects: &[Value]) -> Rights {
    let mut rights = Rights::new();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let texts =
        |value: &Value| -> Vec<String> { value.as_array().unwrap().iter().map(text).collect() };
    for binding in objects {
        let Some(role) = binding.get("roleRef") else {
            continue;
        };
        let place = binding["metadata"].get("namespace");
        let found: Vec<&Value> = objects
            .iter()
            .filter(|o| o["kind"] == role["kind"] && o["metadata"]["name"] == role["name"])
            .filter(|o| o["metadata"].get("namespace") == place)
            .collect();
        let [role] = found[..] else {
            panic!("{binding} binds {found:?}")
        };
        let [subject] = &binding["subjects"].as_array().unwrap()[..] else {
            panic!("{binding}")
        };
        let exists = objects.iter().any(|o| {
            o["kind"] == "ServiceAccount"
                && o["metadata"]["name"] == subject["name"]
                && o["metadata"]["namespace"] == subject["namespace"]
        });
        assert!(exists, "{subject} is no account");
        for rule in role["rules"].as_array().unwrap() {
            let names = rule
                .get("resourceNames")
                .map_or(vec!["*".to_owned()], texts);
            assert!(!names.is_empty(), "{rule}");
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    for name in &names {
                        let resource = format!("{resource}.{group}");
                        let key = (
                            text(&subject["name"]),
                            place.map_or("cluster".to_owned(), text),
                            resource.trim_end_matches('.').to_owned(),
                            name.clone(),
                        );
                        rights.entry(key).or_default().extend(texts(&rule["verbs"]));
                    }
                }
            }
        }
    }
    rights
}

/// Rows of `account | where | resource | names | verbs`; `read` is get, list, watch.
fn table(rows: &[&str]) -> Rights {
    let mut rights = Rights::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [who, place, resource, names, verbs] = cells[..] else {
            panic!("{row}")
        };
        for name in names.split_whitespace() {
            let key = [&format!("pullpass-{who}"), place, resource, name];
            let [who, place, resource, name] = key.map(ToOwned::to_owned);
            let row = rights.entry((who, place, resource, name)).or_default();
            for verb in verbs.replace("read", "get list watch").split_whitespace() {
                row.insert(verb.to_owned());
            }
        }
    }
    rights
}

const ALWAYS: [&str; 11] = [
    "webhook    | cluster | namespaces                  | *                    | read",
    "webhook    | cluster | serviceaccounts             | *                    | read",
    "webhook    | own     | configmaps                  | *                    | read",
    "webhook    | own     | secrets                     | pullpass-webhook-tls | read",
    "webhook    | own     | leases.coordination.k8s.io  | pullpass-controller  | read",
    "controller | cluster | namespaces                  | *                    | read",
    "controller | cluster | pods                        | *                    | read",
    "controller | cluster | events.events.k8s.io        | *                    | create patch",
    "controller | own     | configmaps                  | *                    | read",
    "controller | own     | configmaps | pullpass-status-0 pullpass-status-1 pullpass-status-2 \
         pullpass-status-3 pullpass-status-4 pullpass-status-5 pullpass-status-6 pullpass-status-7 \
         pullpass-status-8 pullpass-status-9 pullpass-status-a pullpass-status-b pullpass-status-c \
         pullpass-status-d pullpass-status-e pullpass-status-f                    | get create patch",
    "controller | own     | leases.coordination.k8s.io  | pullpass-controller  | get create patch",
];
const CERTIFICATES: [&str; 3] = [
    "controller | own     | secrets | pullpass-webhook-tls pullpass-ca | read create patch",
    "controller | cluster | mutatingwebhookconfigurations.admissionregistration.k8s.io | \
         00-pullpass | read patch",
    "controller | cluster | validatingwebhookconfigurations.admissionregistration.k8s.io | \
         pullpass-policies pullpass-ephemeralcontainers | read patch",
];

#[test]
fn each_account_has_the_rights_of_its_process_and_no_other() {
    let cert_manager = Options {
        certificates: Certificates::CertManager,
        ..usual()
    };
    let tenants = Options {
        tenant_policies: true,
        ..usual()
    };
    let swept = |sweep| Options { sweep, ..usual() };
    let everything = [&ALWAYS[..], &CERTIFICATES[..]].concat();
    for (credentials, options, base, more, why) in [
        (&[NONE][..], usual(), &everything, &[][..], "no credential"),
        (
            &[COPIED],
            usual(),
            &everything,
            &[
                "controller | cluster | secrets | hub        | read create patch delete",
                "controller | own     | secrets | hub-source | read",
            ],
            "a copied credential: its Secret anywhere, its source here",
        ),
        (
            &[FETCHED, COPIED],
            usual(),
            &everything,
            &[
                "controller | cluster | secrets | hub ecr    | read create patch delete",
                "controller | own     | secrets | hub-source | read",
            ],
            "two",
        ),
        (
            &[FOREIGN],
            usual(),
            &everything,
            &["controller | cluster | secrets | vault | read"],
            "what others make is never written",
        ),
        (
            &[HELD],
            usual(),
            &everything,
            &[
                "controller | cluster | secrets | ecr | read create patch delete",
                "controller | cluster | pods    | *   | patch",
            ],
            "a Pod that waits is released by a patch",
        ),
        (
            &[FOREIGN_HELD],
            usual(),
            &everything,
            &[
                "controller | cluster | secrets | vault | read",
                "controller | cluster | pods    | *     | patch",
            ],
            "also one that waits for what others make",
        ),
        (&[NONE], swept(Sweep::Off), &everything, &[], "no sweep"),
        (
            &[NONE],
            swept(Sweep::Recreate),
            &everything,
            &["controller | cluster | pods | * | delete"],
            "a sweep that recreates deletes",
        ),
        (
            &[NONE],
            tenants,
            &everything,
            &[
                "webhook    | cluster | configmaps | * | read",
                "controller | cluster | configmaps | * | read",
            ],
            "tenants' policies are read everywhere",
        ),
        (
            &[NONE],
            cert_manager,
            &ALWAYS.to_vec(),
            &[],
            "cert-manager has the certificates",
        ),
    ] {
        let credentials: Vec<&str> = credentials
            .iter()
            .copied()
            .filter(|c| !c.is_empty())
            .collect();
        let got = rights(&rendered(&credentials, &options));
        let want = table(&[&base[..], more].concat());
        assert_eq!(got, want, "{why}");
    }
}

#[test]
fn names_given_are_the_names_granted() {
    let options = Options {
        tls_secret: "other-tls".to_owned(),
        certificates: Certificates::Controller {
            configuration: "10-other".to_owned(),
        },
        ..usual()
    };
    let got = rights(&rendered(&[], &options));
    let names: BTreeSet<&str> = got.keys().map(|(_, _, _, name)| name.as_str()).collect();
    assert!(
        names.contains("other-tls") && names.contains("10-other"),
        "{names:?}"
    );
    assert!(!names.contains("pullpass-webhook-tls") && !names.contains("00-pullpass"));
}

#[test]
fn no_rule_is_a_wildcard_or_an_update_or_a_secret_without_a_name() {
    let options = Options {
        tenant_policies: true,
        sweep: Sweep::Recreate,
        ..usual()
    };
    for credentials in [&[][..], &[HELD, COPIED, FOREIGN]] {
        for object in rendered(credentials, &options) {
            for rule in object["rules"].as_array().into_iter().flatten() {
                let text = rule.to_string();
                for never in [
                    "\"*\"",
                    "\"update\"",
                    "\"deletecollection\"",
                    "\"escalate\"",
                    "[]",
                ] {
                    assert!(!text.contains(never), "{text}");
                }
                let is_secret = text.contains("\"secrets\"");
                assert!(!is_secret || rule.get("resourceNames").is_some(), "{text}");
                let writes = ["create", "patch", "delete"]
                    .iter()
                    .any(|verb| text.contains(verb));
                let role = object["metadata"]["name"].as_str().unwrap();
                assert!(!writes || role == CONTROLLER, "the webhook writes: {text}");
            }
        }
    }
}
