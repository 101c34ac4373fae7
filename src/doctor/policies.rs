//! Policy ConfigMaps → the table that they make, by the engine that serves, and which are rejected.

use std::sync::Arc;

use serde_json::Value;

use super::{Check, Facts, Found, State, name};
use crate::diagnostic::Severity;
use crate::policy::config_maps::{Compiled, ConfigMapName, ConfigMaps, Content, Report, Verdict};
use crate::policy::document::{RegistryPolicy, Scope};

const NAME: &str = "policy";

fn map_name(facts: &Facts, object: &Value) -> ConfigMapName {
    ConfigMapName {
        namespace: Arc::from(&*facts.namespace),
        name: Arc::from(name(object)),
    }
}

fn content(name: &ConfigMapName, object: &Value) -> Content {
    let data = object.get("data").and_then(Value::as_object);
    let data = data.into_iter().flatten();
    Content::new(
        name,
        data.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))),
    )
}

/// The table of the ConfigMaps as they are now, unless they could not be read.
pub(super) fn compile(facts: &Facts) -> Option<Compiled> {
    let Found::Object(_) = facts.config_maps else {
        return None;
    };
    let mut maps = ConfigMaps::new(Arc::from(&*facts.namespace));
    for object in facts.config_maps.items() {
        let name = map_name(facts, object);
        let content = content(&name, object);
        maps.set(name, content);
    }
    Some(maps.compile())
}

/// The policies without an error in them, as they were written.
pub(super) fn documents(facts: &Facts) -> Vec<RegistryPolicy> {
    let maps = facts.config_maps.items().iter();
    maps.flat_map(|object| {
        content(&map_name(facts, object), object)
            .parse(&Scope::Cluster)
            .policies
    })
    .collect()
}

pub(super) fn checks(facts: &Facts, compiled: Option<&Compiled>) -> Vec<Check> {
    let object = format!("ConfigMaps in `{}`", facts.namespace);
    let Some(compiled) = compiled else {
        let unread = facts.config_maps.unread(NAME, &object);
        return unread.into_iter().collect();
    };
    let mut checks: Vec<Check> = compiled.reports.iter().filter_map(rejected).collect();
    let table = &compiled.table;
    let said = format!(
        "{} policies, {} rules, digest `{}`",
        table.policies().len(),
        table.rules(),
        table.digest()
    );
    checks.push(if table.rules() == 0 {
        Check::new(
            NAME,
            State::Warning,
            &object,
            "there is no rule: nothing is injected",
        )
        .help("apply a ConfigMap that holds a policy, labelled `pullpass.dev/policy: \"true\"`")
    } else {
        Check::new(NAME, State::Ok, &object, said)
    });
    checks
}

fn rejected(report: &Report) -> Option<Check> {
    if report.verdict == Verdict::Loaded {
        return None;
    }
    let errors: Vec<String> = report
        .diagnostics
        .iter()
        .filter(|found| found.severity() == Severity::Error)
        .map(ToString::to_string)
        .collect();
    let object = format!("ConfigMap `{}`", report.name);
    let message = format!("is rejected: {}", super::few(&errors));
    Some(Check::new(NAME, State::Error, &object, message).help(format!(
        "mend it; `kubectl get configmap {} -n {} -o yaml | pullpass lint -` shows every mistake. \
         A replica that had a good version of it before keeps that one",
        report.name.name, report.name.namespace
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::SystemTime;

    #[test]
    fn policies_are_loaded_or_rejected() {
        let good = "apiVersion: pullpass.dev/v1\nkind: RegistryPolicy\nmetadata: {name: a}\nspec:\n  \
                    rules:\n  - {name: hub, match: {images: [docker.io]}, inject: {imagePullSecrets: [h]}}\n";
        for (texts, want, why) in [
            (&[good][..], &[State::Ok][..], "a good one"),
            (&[], &[State::Warning], "none"),
            (
                &["a: ["],
                &[State::Error, State::Warning],
                "a bad one alone",
            ),
            (
                &[good, "a: ["],
                &[State::Error, State::Ok],
                "a bad one beside it",
            ),
            (
                &[good, good],
                &[State::Error, State::Ok],
                "a name that is taken",
            ),
        ] {
            let items: Vec<Value> = texts
                .iter()
                .enumerate()
                .map(|(i, text)| json!({"metadata": {"name": format!("m{i}")}, "data": {"p.yaml": text}}))
                .collect();
            let mut facts = Facts::new("own", SystemTime::UNIX_EPOCH);
            facts.config_maps = Found::Object(json!({"items": items}));
            let checks = checks(&facts, compile(&facts).as_ref());
            let states: Vec<State> = checks.iter().map(|check| check.state).collect();
            assert_eq!(states, want, "{why}: {checks:?}");
        }
    }
}
