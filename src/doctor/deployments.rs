//! The two Deployments: as many replicas ready as asked for.

use serde_json::Value;

use super::{Check, Facts, State, is_of, name};

const NAME: &str = "deployment";

pub(super) fn checks(facts: &Facts) -> Vec<Check> {
    let object = format!("Deployments in `{}`", facts.namespace);
    if let Some(check) = facts.deployments.unread(NAME, &object) {
        return vec![check];
    }
    let all = facts.deployments.items();
    if all.is_empty() {
        let message = format!(
            "none is labelled `{}`: it may run elsewhere",
            super::PART_OF
        );
        return vec![Check::new(NAME, State::Skipped, &object, message)];
    }
    all.iter().map(deployment).collect()
}

fn deployment(deployment: &Value) -> Check {
    let number = |pointer: &str, default| {
        let value = deployment.pointer(pointer).and_then(Value::as_u64);
        value.unwrap_or(default)
    };
    let (ready, wanted) = (
        number("/status/readyReplicas", 0),
        number("/spec/replicas", 1),
    );
    let object = format!("Deployment `{}`", name(deployment));
    let message = format!("{ready} of {wanted} replicas are ready");
    let state = match (ready, wanted) {
        (_, 0) => State::Warning,
        (0, _) if is_of(deployment, "webhook") => State::Error,
        (ready, wanted) if ready < wanted => State::Warning,
        _ => State::Ok,
    };
    let check = Check::new(NAME, state, &object, message);
    if state == State::Ok {
        return check;
    }
    check.help(format!(
        "`kubectl describe deployment {}` and the Pods' `/readyz` tell why",
        name(deployment)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn replicas_are_ready_or_told() {
        for (component, ready, wanted, want, why) in [
            ("webhook", 2, 2, State::Ok, "all"),
            ("webhook", 1, 2, State::Warning, "one serves"),
            ("webhook", 0, 2, State::Error, "nobody serves"),
            ("webhook", 0, 0, State::Warning, "scaled down on purpose"),
            (
                "controller",
                0,
                2,
                State::Warning,
                "Pods get their secrets all the same",
            ),
        ] {
            let object = json!({
                "metadata": {"name": "x", "labels": {"app.kubernetes.io/component": component}},
                "spec": {"replicas": wanted},
                "status": {"readyReplicas": ready},
            });
            assert_eq!(deployment(&object).state, want, "{why}");
        }
    }
}
