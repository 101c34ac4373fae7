//! values.schema.json: every object is closed but the few that say why not, it knows the defaults, and policies as
//! `pullpass schema` does.

use pullpass::policy::schema;
use serde_json::{Value, json};

use super::{CHART, committed, documents};

fn values_schema() -> Value {
    let text = std::fs::read_to_string(format!("{CHART}/values.schema.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Calls back for every schema in a schema, with its place.
fn walk(at: &str, schema: &Value, see: &mut impl FnMut(&str, &Value)) {
    see(at, schema);
    let Some(fields) = schema.as_object() else {
        return;
    };
    for (key, value) in fields {
        let here = format!("{at}/{key}");
        match key.as_str() {
            "properties" | "definitions" => {
                for (name, inner) in value.as_object().unwrap() {
                    walk(&format!("{here}/{name}"), inner, see);
                }
            }
            "items" | "additionalProperties" | "not" if value.is_object() => {
                walk(&here, value, see);
            }
            "allOf" | "anyOf" | "oneOf" => {
                for inner in value.as_array().unwrap() {
                    walk(&here, inner, see);
                }
            }
            _ => {}
        }
    }
}

#[test]
fn every_object_is_closed_but_free_maps_and_what_kubernetes_describes() {
    let mut objects = 0;
    walk("", &values_schema(), &mut |at, schema| {
        let has_properties = schema.get("properties").is_some();
        // A condition on an object that is described, and closed, around it.
        if at.contains("Of/") || at.ends_with("Of") {
            return;
        }
        if schema["type"] != json!("object") {
            assert!(!has_properties, "{at} has no type");
            return;
        }
        objects += 1;
        let description = schema["description"].as_str().unwrap_or("");
        match schema.get("additionalProperties") {
            Some(Value::Bool(false)) => {}
            // A free map: every value is described, no key is.
            Some(Value::Object(_)) => assert!(!has_properties, "{at} is open"),
            _ => assert!(
                at == "/properties/global" || description.starts_with("As Kubernetes has it: "),
                "{at} is open and does not say why"
            ),
        }
    });
    assert!(objects > 60, "{objects}");
}

#[test]
fn the_schema_knows_the_values_and_no_others() {
    fn compare(at: &str, schema: &Value, values: &Value) {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            return;
        };
        let known: Vec<&String> = properties.keys().collect();
        for name in &known {
            assert!(
                values.get(name.as_str()).is_some(),
                "{at}/{name} is no value"
            );
            compare(
                &format!("{at}/{name}"),
                &properties[name.as_str()],
                &values[name.as_str()],
            );
        }
        for name in values.as_object().unwrap().keys() {
            assert!(known.contains(&name), "{at}/{name} is not in the schema");
        }
    }
    let text = std::fs::read_to_string(format!("{CHART}/values.yaml")).unwrap();
    let mut values = documents(&text).remove(0);
    // No default has its fields.
    values["certManager"]["issuerRef"] = json!({"name": "", "kind": "", "group": ""});
    compare("", &values_schema(), &values);
}

#[test]
fn policies_are_described_as_by_pullpass_schema() {
    let mut chart = values_schema();
    let printed = schema::schema().to_value();
    assert_eq!(
        chart["properties"]["policies"]["additionalProperties"]["$ref"],
        "#/definitions/Spec"
    );
    let mut names = vec!["Spec".to_owned()];
    let mut next = 0;
    while let Some(name) = names.get(next).cloned() {
        next += 1;
        let definition = &printed["definitions"][&name];
        assert!(definition.is_object(), "{name}");
        chart["definitions"][&name] = definition.clone();
        walk("", definition, &mut |_, schema| {
            let Some(reference) = schema["$ref"].as_str() else {
                return;
            };
            let name = reference.trim_start_matches("#/definitions/").to_owned();
            if !names.contains(&name) {
                names.push(name);
            }
        });
    }
    assert!(names.len() > 20, "{names:?}");
    // Ours begin with a small letter: one that policies have no more goes.
    let definitions = chart["definitions"].as_object_mut().unwrap();
    definitions.retain(|name, _| names.contains(name) || name.starts_with(char::is_lowercase));
    let text = serde_json::to_string_pretty(&chart).unwrap();
    committed(
        "deploy/helm/pullpass/values.schema.json",
        &format!("{text}\n"),
    );
}
