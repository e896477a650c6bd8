//! What two versions of an entity differ in: the places, never the values.

use serde_json::Value as Json;

/// The fields that tell the elements of a list apart, tried in this order.
const NAMES: [&str; 6] = ["group_code", "item_code", "group_id", "digest", "seq", "code"];

/// The paths at which two versions' `data` differ, in the order of the fields; elements of lists by their code
/// (`groups[002001].items[000101].value_raw`). At most `most` of them.
pub fn between(before: &Json, after: &Json, most: usize) -> Vec<String> {
    let mut found = Vec::new();
    walk("", Some(before), Some(after), most, &mut found);
    found
}

fn walk(path: &str, before: Option<&Json>, after: Option<&Json>, most: usize, found: &mut Vec<String>) {
    if before == after || found.len() >= most {
        return;
    }
    match (before, after) {
        (Some(Json::Object(before)), Some(Json::Object(after))) => {
            let added = after.keys().filter(|name| !before.contains_key(*name));
            for name in before.keys().chain(added) {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                walk(&path, before.get(name), after.get(name), most, found);
            }
        }
        (Some(Json::Array(before)), Some(Json::Array(after))) => {
            let (before, after) = (named(before), named(after));
            let find = |list: &[(String, &Json)], name: &str| {
                list.iter().find(|(other, _)| other == name).map(|(_, element)| *element).cloned()
            };
            let added = after.iter().filter(|(name, _)| !before.iter().any(|(other, _)| other == name));
            for (name, _) in before.iter().chain(added) {
                let (one, other) = (find(&before, name), find(&after, name));
                let told = match (&one, &other) {
                    (None, _) => " is new",
                    (_, None) => " is gone",
                    _ => "",
                };
                let path = format!("{path}[{name}]");
                if told.is_empty() {
                    walk(&path, one.as_ref(), other.as_ref(), most, found);
                } else if found.len() < most {
                    found.push(format!("{path}{told}"));
                }
            }
        }
        _ => found.push(path.to_owned()),
    }
}

/// The elements of a list with what they are called: by their code, and by their place where that is not unique.
fn named(list: &[Json]) -> Vec<(String, &Json)> {
    let mut all: Vec<(String, &Json)> = Vec::with_capacity(list.len());
    for (at, element) in list.iter().enumerate() {
        let code = NAMES.iter().find_map(|name| match element.get(name)? {
            Json::String(text) => Some(text.clone()),
            Json::Number(number) => Some(number.to_string()),
            _ => None,
        });
        let instance = element.get("instance").and_then(Json::as_str).filter(|instance| *instance != "1");
        let name = match (code, instance) {
            (Some(code), Some(instance)) => format!("{code}/{instance}"),
            (Some(code), None) => code,
            (None, _) => at.to_string(),
        };
        let name = if all.iter().any(|(other, _)| *other == name) { format!("{name}#{at}") } else { name };
        all.push((name, element));
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changes_name_places_by_their_codes_and_no_values() {
        let before = json!({ "a": 1, "groups": [
            { "group_code": "G1", "items": [
                { "item_code": "1", "instance": "1", "v": "5" }, { "item_code": "2", "instance": "left", "v": "6" },
            ] },
            { "group_code": "G2" },
        ] });
        let mut after = before.clone();
        assert!(between(&before, &after, 10).is_empty());
        after["groups"][0]["items"][1]["v"] = json!("7");
        after["groups"][0]["items"][0]["unit"] = json!("g/L");
        after["groups"][1] = json!({ "group_code": "G3" });
        let told =
            ["groups[G1].items[1].unit", "groups[G1].items[2/left].v", "groups[G2] is gone", "groups[G3] is new"];
        assert_eq!(between(&before, &after, 10), told);
        assert_eq!(between(&before, &after, 2).len(), 2);
        // Another order of the rows is no change of theirs, and one code twice is told apart by its place.
        let (one, other) =
            (json!([{ "code": "A", "v": 1 }, { "code": "B" }]), json!([{ "code": "B" }, { "code": "A", "v": 2 }]));
        assert_eq!(between(&one, &other, 10), ["[A].v"]);
        let (one, other) =
            (json!([{ "code": "A" }, { "code": "A", "v": 1 }]), json!([{ "code": "A" }, { "code": "A" }]));
        assert_eq!(between(&one, &other, 10), ["[A#1].v"]);
    }
}
