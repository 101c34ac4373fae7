//! What people and other tools do to Secrets: what is ours is healed, what is not, or not any more, is left as it is.

use super::*;

/// What is done to a namespace's Secret.
type Deed = Box<dyn Fn(&Hand<'_>)>;

/// Somebody who may do everything to one Secret.
struct Hand<'e> {
    estate: &'e Estate<'e>,
    namespace: String,
    name: String,
}

impl Hand<'_> {
    fn at(&self) -> String {
        secret_path(&self.namespace, &self.name)
    }

    fn merge(&self, patch: &Value) {
        self.estate.admin().merge(&self.at(), patch).done();
    }

    fn delete(&self) {
        self.estate.admin().delete(&self.at(), None).done();
    }

    fn object(&self) -> Option<Value> {
        self.estate.secret(&self.namespace, &self.name)
    }

    /// Deletes it and makes another one before the controller can, with these metadata.
    fn replace(&self, type_: &str, labels: &Value, annotations: &Value) {
        let mut secret = pull_secret(&self.name, &[("quay.io", "mine:own")]);
        secret["metadata"]["labels"] = labels.clone();
        secret["metadata"]["annotations"] = annotations.clone();
        secret["type"] = json!(type_);
        wait_until("it is somebody else's", || {
            self.estate.admin().delete(&self.at(), None);
            let all = format!("/api/v1/namespaces/{}/secrets", self.namespace);
            self.estate.admin().post(&all, &secret).status == 201
        });
    }
}

fn deed(deed: impl Fn(&Hand<'_>) + 'static) -> Deed {
    Box::new(deed)
}

#[test]
#[expect(clippy::too_many_lines, reason = "the table has that many rows")]
fn what_is_ours_is_healed_and_what_is_not_is_left_alone() {
    let estate = Estate::on(Plane::shared(), POLICY);
    let ledger = Ledger::of(&estate, "quay");
    rotate(&estate, "robot:one");
    estate.put(POLICY);
    let controller = estate.control();
    let ours = json!({OURS: "pullpass"});
    let content = |login: &str| json!({"data": {".dockerconfigjson": pull_secret("", &[("quay.io", login)])["data"][".dockerconfigjson"]}});
    let (edited, emptied) = (
        content("mine:own"),
        json!({"data": {".dockerconfigjson": STANDARD.encode("{}")}}),
    );
    let deeds: Vec<(Deed, bool, &str)> = vec![
        (
            deed(|hand| {
                hand.delete();
            }),
            true,
            "deleted",
        ),
        (
            deed(move |hand| hand.merge(&edited)),
            true,
            "its value edited",
        ),
        (
            deed(move |hand| hand.merge(&emptied)),
            true,
            "its value emptied",
        ),
        (
            deed(|hand| {
                hand.merge(&json!({"metadata": {"annotations": {"pullpass.dev/policy": "else"}}}));
            }),
            true,
            "an annotation edited",
        ),
        (
            deed(|hand| hand.merge(&json!({"metadata": {"annotations": null}}))),
            true,
            "its annotations removed",
        ),
        (
            deed(|hand| {
                hand.merge(
                    &json!({"metadata": {"labels": {"team": "web"}, "annotations": {"a": "b"}}}),
                );
            }),
            true,
            "labels and annotations of others beside ours",
        ),
        (
            deed(|hand| hand.merge(&json!({"metadata": {"labels": {OURS: null}}}))),
            false,
            "our label removed",
        ),
        (
            deed(|hand| hand.merge(&json!({"metadata": {"labels": {OURS: "helm"}}}))),
            false,
            "another manager's label",
        ),
        (
            deed({
                let ours = ours.clone();
                move |hand| {
                    hand.replace(
                        "Opaque",
                        &ours,
                        &json!({"pullpass.dev/namespace": hand.namespace}),
                    );
                }
            }),
            false,
            "another type under our label",
        ),
        (
            deed(|hand| hand.replace("kubernetes.io/dockerconfigjson", &json!({}), &json!({}))),
            false,
            "somebody else's in its place",
        ),
        (
            deed({
                let ours = ours.clone();
                move |hand| {
                    hand.replace(
                        "kubernetes.io/dockerconfigjson",
                        &ours,
                        &json!({"pullpass.dev/namespace": "elsewhere"}),
                    );
                }
            }),
            false,
            "copied from another namespace, label and all",
        ),
        (
            deed(move |hand| hand.replace("kubernetes.io/dockerconfigjson", &ours, &json!({}))),
            false,
            "copied with our label alone",
        ),
    ];
    let namespaces = estate.namespaces(deeds.len());
    ledger.until(deeds.len(), "robot:one");
    let (mut healed, mut left) = (Vec::new(), Vec::new());
    for ((deed, heals, why), namespace) in deeds.iter().zip(&namespaces) {
        let hand = Hand {
            estate: &estate,
            namespace: namespace.clone(),
            name: estate.name("quay"),
        };
        let before = hand.object().unwrap();
        ledger.excuse(namespace);
        deed(&hand);
        if *heals {
            wait_until(&format!("{why}: it is healed"), || {
                hand.object().is_some_and(|now| {
                    now["data"] == before["data"]
                        && now["metadata"]["annotations"]["pullpass.dev/policy"] == "company"
                        && now["metadata"]["annotations"]["pullpass.dev/namespace"]
                            == json!(namespace)
                })
            });
            healed.push(namespace.clone());
        } else {
            left.push((hand, *why));
        }
    }
    let foreign = copies(&estate, "quay", "foreign");
    wait_until("the others' are told", || {
        count(&controller, &foreign) == left.len() as u64
    });
    let before: Vec<_> = left.iter().map(|(hand, _)| hand.object()).collect();

    // One that nobody can change, ours as it is.
    let frozen = Hand {
        estate: &estate,
        namespace: estate.namespaces(1).remove(0),
        name: estate.name("quay"),
    };
    ledger.excuse(&frozen.namespace);
    ledger.until(healed.len() + 1, "robot:one");
    wait_until("its copy is there", || frozen.object().is_some());
    frozen.merge(&json!({"immutable": true}));
    rotate(&estate, "robot:two");
    ledger.until(healed.len(), "robot:two");
    let immutable = writes(&estate, "quay", "immutable");
    wait_until("it is told", || count(&controller, &immutable) > 0);
    let stale = copies(&estate, "quay", "stale");
    wait_until("its value is", || count(&controller, &stale) == 1);
    frozen.delete();
    ledger.until(healed.len() + 1, "robot:two");

    // Their rows go, and none of the others' Secrets.
    for ((hand, why), before) in left.iter().zip(before) {
        assert_eq!(hand.object(), before, "{why}: it was touched");
    }
    estate.until_event(estate.own(), "policies", "SecretNotOurs");
    let wanted = [healed, vec![frozen.namespace.clone()]].concat();
    ledger.end(&Row {
        fault: "Secrets deleted, edited, replaced, copied by hand",
        values: &["robot:one", "robot:two"],
        wanted: &wanted,
        waited: None,
        happened: &format!(
            "{} deeds, {} of them healed, the Secrets of others as they were",
            deeds.len() + 1,
            wanted.len()
        ),
    });
    let hands: Vec<_> = left
        .iter()
        .map(|(hand, why)| (hand, hand.object(), why))
        .collect();
    estate.installation.remove("policies");
    for namespace in &wanted {
        estate.until_gone(namespace, "quay");
    }
    for (hand, before, why) in hands {
        assert_eq!(hand.object(), before, "{why}: it was removed");
    }
    controller.stop();
}
