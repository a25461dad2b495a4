use std::collections::HashSet;

use serde_json::Value;

use super::*;
use crate::openapi;

fn document() -> Value {
    serde_json::from_str(&openapi::text()).unwrap()
}

#[test]
fn every_operation_has_a_place_and_a_verb_of_its_own() {
    let operations = operations();
    let places: HashSet<_> = operations.iter().map(|o| (o.method.clone(), o.path)).collect();
    assert_eq!(places.len(), operations.len());
    let names: HashSet<_> = operations.iter().map(Operation::id).collect();
    assert_eq!(names.len(), operations.len());
}

#[test]
fn every_operation_stands_in_the_document() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    for operation in operations() {
        let path = format!("{}{}", openapi::PREFIX, operation.path);
        let method = operation.method.as_str().to_ascii_lowercase();
        let described = &document["paths"][&path][&method];
        assert_eq!(described["operationId"], operation.id(), "{method} {path}");
        let names: Vec<_> = operation.path_names().collect();
        let listed = described["parameters"].as_array().cloned().unwrap_or_default();
        for name in names {
            assert!(listed.iter().any(|p| p["name"] == name && p["in"] == "path"), "{method} {path}: {name}");
        }
    }
}

/// What a reference points to.
fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let Some(target) = schema["$ref"].as_str() else { return schema };
    let name = target.strip_prefix("#/components/schemas/").unwrap();
    &document["components"]["schemas"][name]
}

#[test]
fn no_body_takes_a_field_that_the_document_does_not_name() {
    let document = document();
    for operation in operations() {
        let Some(schema) = &operation.shape.body else { continue };
        let schema = serde_json::to_value(schema).unwrap();
        let schema = resolve(&document, &schema);
        assert_eq!(schema["additionalProperties"], false, "{}", operation.id());
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str));
                map.values().for_each(|v| walk(v, found));
            }
            Value::Array(items) => items.iter().for_each(|v| walk(v, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let document = document();
    let mut references = Vec::new();
    walk(&document, &mut references);
    assert!(references.len() > 100);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[test]
fn no_two_types_share_a_name() {
    let mut known: std::collections::BTreeMap<String, Value> = std::collections::BTreeMap::new();
    for operation in operations() {
        for (name, schema) in &operation.shape.schemas {
            let schema = serde_json::to_value(schema).unwrap();
            let before = known.entry(name.clone()).or_insert_with(|| schema.clone());
            assert_eq!(*before, schema, "{name}: name one of them with #[schema(as = …)]");
        }
    }
}

/// A field that must be given has no default: an empty one would not even be legal.
#[test]
fn what_is_required_has_no_default() {
    let document = document();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let Some(fields) = schema["properties"].as_object() else { continue };
        for (field, about) in fields {
            let (default, least) = (&about["default"], ["minLength", "minItems"].map(|l| about[l].as_u64()));
            let is_empty = default == "" || default.as_array().is_some_and(Vec::is_empty);
            assert!(!is_empty || least == [None, None], "{name}.{field}: {about}");
        }
    }
}
