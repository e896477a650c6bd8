//! What two versions of an entity differ in, field by field, with elements of lists known by what they are and not by
//! where they stand.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::tally::Kind;
use crate::mapping::without_places;
use crate::ops::mask;

/// One difference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Difference {
    pub(super) kind: Kind,
    /// The field without places: `groups.items.unit_raw`.
    pub(super) field: String,
    /// The field with the codes of the elements: `groups[002001].items[000101].unit_raw`.
    pub(super) place: String,
    /// The code of the innermost element.
    pub(super) code: Option<String>,
    /// Masked.
    pub(super) before: Json,
    /// Masked.
    pub(super) after: Json,
}

/// Where the walk is.
#[derive(Clone, Default)]
struct Place {
    field: String,
    shown: String,
    code: Option<String>,
}

impl Place {
    fn member(&self, name: &str) -> Place {
        let joined = |to: &str| if to.is_empty() { name.to_owned() } else { format!("{to}.{name}") };
        Place { field: joined(&self.field), shown: joined(&self.shown), code: self.code.clone() }
    }

    fn element(&self, element: &Element<'_>) -> Place {
        Place {
            field: self.field.clone(),
            shown: format!("{}[{}]", self.shown, element.shown),
            code: element.code.clone().or_else(|| self.code.clone()),
        }
    }

    /// The first member: `examinee`.
    fn top(&self) -> &str {
        self.field.split('.').next().unwrap_or_default()
    }

    fn name(&self) -> &str {
        self.field.rsplit('.').next().unwrap_or_default()
    }
}

/// The fields that a code table fills, beside those whose names say that they are codes.
const CODED: &[&str] = &[
    "sex",
    "marital_status",
    "status",
    "report_kind",
    "kind",
    "severity",
    "applicable_sex",
    "exam_kind",
    "id_type",
    "value_kind",
    "value_type",
    "comparator",
    "absent_reason",
    "selection_mode",
];

fn kind_of(place: &Place) -> Kind {
    let name = place.name();
    if place.top() == "envelope" {
        Kind::Envelope
    } else if name == "seq" {
        Kind::Order
    } else if name.starts_with("unit") {
        Kind::Unit
    } else if name.starts_with("flag") || name == "critical" {
        Kind::Flag
    } else if name == "code" || name.ends_with("_code") || CODED.contains(&name) {
        Kind::Code
    } else {
        Kind::Value
    }
}

/// What differs between two versions' `data`; empty only where they are equal.
pub(super) fn differences(before: &Json, after: &Json) -> Vec<Difference> {
    let mut found = Vec::new();
    walk(&Place::default(), before, after, &mut found);
    if found.is_empty() && before != after {
        // Findings follow the order of what they are about.
        let place = Place::default().member("envelope").member("issues");
        tell(Kind::Order, &place, &Json::Null, &Json::Null, &mut found);
    }
    found
}

fn tell(kind: Kind, place: &Place, before: &Json, after: &Json, found: &mut Vec<Difference>) {
    let (before, after) = (shown(place, before), shown(place, after));
    let Place { field, shown: place, code } = place.clone();
    found.push(Difference { kind, field, place, code, before, after });
}

/// A value as anyone may see it: what it is masked by is where it stands.
fn shown(place: &Place, value: &Json) -> Json {
    let (top, name) = (place.top(), place.name());
    let inner = Json::Object(Map::from_iter([(name.to_owned(), value.clone())]));
    let whole = if top == name { inner } else { Json::Object(Map::from_iter([(top.to_owned(), inner)])) };
    let mut masked = mask::masked_json(&whole);
    let outer = masked.get_mut(top).map(Json::take).unwrap_or_default();
    if top == name { outer } else { outer.get(name).cloned().unwrap_or_default() }
}

fn walk(place: &Place, before: &Json, after: &Json, found: &mut Vec<Difference>) {
    if before == after {
        return;
    }
    match (before, after) {
        (Json::Object(before), Json::Object(after)) => {
            let added = after.keys().filter(|name| !before.contains_key(*name));
            for name in before.keys().chain(added) {
                let (one, other) = (before.get(name), after.get(name));
                walk(&place.member(name), one.unwrap_or(&Json::Null), other.unwrap_or(&Json::Null), found);
            }
        }
        (Json::Array(before), Json::Array(after)) => {
            let objects = before.iter().chain(after).all(Json::is_object);
            if objects { elements(place, before, after, found) } else { scalars(place, before, after, found) }
        }
        (_, Json::Null) => tell(in_envelope(place, Kind::Missing), place, before, after, found),
        (Json::Null, _) => tell(in_envelope(place, Kind::New), place, before, after, found),
        _ => tell(kind_of(place), place, before, after, found),
    }
}

fn in_envelope(place: &Place, kind: Kind) -> Kind {
    if place.top() == "envelope" { Kind::Envelope } else { kind }
}

/// Lists of plain values.
fn scalars(place: &Place, before: &[Json], after: &[Json], found: &mut Vec<Difference>) {
    let sorted = |list: &[Json]| {
        let mut texts: Vec<String> = list.iter().map(Json::to_string).collect();
        texts.sort_unstable();
        texts
    };
    let kind = if sorted(before) == sorted(after) { Kind::Order } else { kind_of(place) };
    let list = |list: &[Json]| Json::Array(list.to_vec());
    tell(kind, place, &list(before), &list(after), found);
}

/// An element of a list, by what it is.
struct Element<'j> {
    json: &'j Json,
    /// What makes it the same element in another version.
    identity: String,
    /// What it is called: codes of the catalogue, nothing of a person.
    shown: String,
    code: Option<String>,
}

/// Fields that identify an element, tried in this order.
const CODES: [&str; 4] = ["group_code", "item_code", "group_id", "package_code"];
/// What an element is known by where its code has changed, tried in this order.
const NAMES: [&str; 5] = ["item_name", "group_name", "package_name", "seq", "kind"];

fn text(json: &Json, name: &str) -> Option<String> {
    match json.get(name)? {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn named(list: &[Json]) -> Vec<Element<'_>> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let element = |json| {
        let part = |name: &str| text(json, name).unwrap_or_default();
        let code = CODES.iter().find_map(|name| text(json, name));
        let instance = text(json, "instance").filter(|instance| instance != "1");
        let (mut identity, mut shown) = match &code {
            Some(code) => (code.clone(), code.clone()),
            // A finding says where it is by place, which another order changes.
            None if json.get("message").is_some() => {
                let path = without_places(&part("path"));
                (format!("{}\u{1f}{path}\u{1f}{}", part("code"), part("source_value")), part("code"))
            }
            None if json.get("digest").is_some() => (part("digest"), part("kind")),
            None if json.get("text").is_some() => {
                (format!("{}\u{1f}{}\u{1f}{}", part("kind"), part("code"), part("text")), part("kind"))
            }
            None => {
                let first = ["code", "reason", "kind", "system", "name"].iter().find_map(|name| text(json, name));
                (first.unwrap_or_default(), part("reason"))
            }
        };
        if let Some(instance) = instance {
            identity = format!("{identity}\u{1f}{instance}");
            shown = format!("{shown}/{}", mask::mask(&instance));
        }
        // The same thing several times: the first is the first.
        let times = seen.entry(identity.clone()).and_modify(|n| *n += 1).or_insert(1);
        if *times > 1 {
            identity = format!("{identity}\u{1e}{times}");
            shown = format!("{shown}#{times}");
        }
        Element { json, identity, shown, code }
    };
    list.iter().map(element).collect()
}

fn elements(place: &Place, before: &[Json], after: &[Json], found: &mut Vec<Difference>) {
    let (before, after) = (named(before), named(after));
    let pairs = pairs(&before, &after);
    let findings = place.field == "envelope.issues";
    let order: Vec<usize> = (0..before.len()).filter_map(|at| pairs.get(&at).copied()).collect();
    if !findings && !order.is_sorted() {
        tell(in_envelope(place, Kind::Order), place, &Json::Null, &Json::Null, found);
    }
    for (at, one) in before.iter().enumerate() {
        match pairs.get(&at).map(|other| &after[*other]) {
            // Where a finding stands is told by the order of what it is about.
            Some(other) if findings => {
                let plain = |json: &Json| {
                    let mut json = json.clone();
                    json.as_object_mut().map(|map| map.remove("path"));
                    json
                };
                walk(&place.element(one), &plain(one.json), &plain(other.json), found);
            }
            Some(other) => walk(&place.element(one), one.json, other.json, found),
            None => tell(in_envelope(place, Kind::Missing), &place.element(one), one.json, &Json::Null, found),
        }
    }
    let taken: Vec<usize> = pairs.into_values().collect();
    for (at, other) in after.iter().enumerate() {
        if !taken.contains(&at) {
            tell(in_envelope(place, Kind::New), &place.element(other), &Json::Null, other.json, found);
        }
    }
}

/// Which element of `after` is which of `before`: by identity, and those left over by a name that only one has.
fn pairs(before: &[Element<'_>], after: &[Element<'_>]) -> BTreeMap<usize, usize> {
    let places: HashMap<&str, usize> = after.iter().enumerate().map(|(at, e)| (e.identity.as_str(), at)).collect();
    let mut pairs: BTreeMap<usize, usize> = BTreeMap::new();
    for (at, element) in before.iter().enumerate() {
        if let Some(other) = places.get(element.identity.as_str()) {
            pairs.insert(at, *other);
        }
    }
    let taken: Vec<usize> = pairs.values().copied().collect();
    fn left(elements: &[Element<'_>], known: impl Fn(usize) -> bool) -> HashMap<String, Option<usize>> {
        let mut left: HashMap<String, Option<usize>> = HashMap::new();
        for (at, element) in elements.iter().enumerate().filter(|(at, _)| !known(*at)) {
            let name = NAMES.iter().find_map(|name| Some(format!("{name}={}", text(element.json, name)?)));
            if let Some(name) = name {
                left.entry(name).and_modify(|several| *several = None).or_insert(Some(at));
            }
        }
        left
    }
    let others = left(after, |at| taken.contains(&at));
    for (name, at) in left(before, |at| pairs.contains_key(&at)) {
        if let (Some(at), Some(Some(other))) = (at, others.get(&name)) {
            pairs.insert(at, *other);
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(before: &Json, after: &Json) -> Vec<(Kind, String)> {
        differences(before, after).into_iter().map(|difference| (difference.kind, difference.place)).collect()
    }

    fn report() -> Json {
        json!({
            "envelope": { "issues": [
                { "code": "unit-unknown", "severity": "info", "path": "groups[0].items[1].unit_raw", "message": "m" },
            ] },
            "examinee": { "name": "王明", "birth_date": "1988-06-01", "sex": "male" },
            "groups": [
                { "group_code": "G1", "group_name": "血糖", "items": [
                    { "item_code": "1", "item_name": "空腹血糖", "instance": "1", "value_raw": "5.1", "unit_raw": "mmol/L" },
                    { "item_code": "2", "item_name": "尿酸", "instance": "1", "value_raw": "300", "flag_source": "normal" },
                ] },
                { "group_code": "G2", "group_name": "眼科", "items": [] },
            ],
            "conclusions": [
                { "seq": 1, "kind": "summary", "text": "血糖正常" }, { "seq": 2, "kind": "advice", "text": "复查" },
            ],
        })
    }

    #[test]
    fn each_kind_of_change_is_told_where_it_is() {
        let before = report();
        let mut after = report();
        after["groups"][0]["items"][0]["unit_raw"] = json!("mg/dL");
        after["groups"][0]["items"][0]["value_raw"] = json!("92");
        after["groups"][0]["items"][1]["flag_source"] = json!("high");
        after["groups"][0]["items"][1]["unit_raw"] = json!("umol/L");
        after["examinee"]["sex"] = json!("female");
        after["examinee"]["birth_date"] = Json::Null;
        let place = |place: &str| place.to_owned();
        let mut found = told(&before, &after);
        found.sort();
        assert_eq!(
            found,
            [
                (Kind::Value, place("groups[G1].items[1].value_raw")),
                (Kind::Unit, place("groups[G1].items[1].unit_raw")),
                (Kind::Flag, place("groups[G1].items[2].flag_source")),
                (Kind::Code, place("examinee.sex")),
                (Kind::Missing, place("examinee.birth_date")),
                (Kind::New, place("groups[G1].items[2].unit_raw")),
            ]
        );
        assert!(differences(&before, &before).is_empty());
    }

    #[test]
    fn another_order_is_told_as_order_and_nothing_else() {
        let before = report();
        let mut after = report();
        after["groups"][0]["items"].as_array_mut().unwrap().reverse();
        after["envelope"]["issues"][0]["path"] = json!("groups[0].items[0].unit_raw");
        assert_eq!(told(&before, &after), [(Kind::Order, "groups[G1].items".to_owned())]);
        let mut after = report();
        after["conclusions"].as_array_mut().unwrap().reverse();
        after["conclusions"][0]["seq"] = json!(1);
        after["conclusions"][1]["seq"] = json!(2);
        assert!(told(&before, &after).iter().all(|(kind, _)| *kind == Kind::Order));
        let mut after = report();
        let twice = after["envelope"]["issues"][0].clone();
        let mut before = report();
        for (report, codes) in [(&mut before, ["a", "b"]), (&mut after, ["b", "a"])] {
            let issues = codes.map(|code| {
                let mut issue = twice.clone();
                issue["code"] = json!(code);
                issue
            });
            report["envelope"]["issues"] = Json::from(issues.to_vec());
        }
        assert_eq!(told(&before, &after), [(Kind::Order, "envelope.issues".to_owned())]);
    }

    #[test]
    fn another_code_of_a_thing_with_the_same_name_is_a_change_of_its_code() {
        let before = report();
        let mut after = report();
        after["groups"][0]["items"][0]["item_code"] = json!("GLU");
        assert_eq!(told(&before, &after), [(Kind::Code, "groups[G1].items[1].item_code".to_owned())]);
        after["groups"][0]["items"][0]["item_name"] = json!("血糖");
        let mut found = told(&before, &after);
        found.sort();
        let items =
            [(Kind::Missing, "groups[G1].items[1]".to_owned()), (Kind::New, "groups[G1].items[GLU]".to_owned())];
        assert_eq!(found, items);
    }

    #[test]
    fn values_of_people_are_masked_and_units_are_not() {
        let before = report();
        let mut after = report();
        after["examinee"]["name"] = json!("王小明");
        after["conclusions"][0]["text"] = json!("血糖升高");
        after["groups"][0]["items"][0]["unit_raw"] = json!("mg/dL");
        let shown: Vec<_> = differences(&before, &after).into_iter().map(|found| (found.before, found.after)).collect();
        assert!(shown.contains(&(json!("mmol/L"), json!("mg/dL"))));
        assert!(shown.contains(&(json!("●●"), json!("●●●"))));
        assert!(shown.contains(&(json!("●●●●"), json!("●●●●"))));
    }
}
