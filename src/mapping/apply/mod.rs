//! Follows a plan through one document. Pure: the same document gives the same outcome.
//!
//! Here is the entity as a whole; `take` gets single values, `list` the rows.

mod file;
mod list;
mod take;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use connector_api::Value;
use serde::Deserialize as _;

use self::take::plain;
use super::lines::Made;
use super::node::{self, Fields, Node};
use super::plan::*;
use super::readers::reference::Person;
use super::readers::text;
use super::rules::{self, Findings, Rule};
use super::source::{Found, Row, Scope, SourcePath};
use super::typed::Typed as _;
use super::{Context, Input, critical};
use crate::model::entity::{Envelope, Manifest, Provenance, Sex};
use crate::model::{
    CriticalValue, Entity, EntityKey, EntityType, ExamItem, ExamItemGroup, ExamPackage, ExamReport, File, Finding,
    Held, Lifecycle, Mapped, Outcome, Severity, Wish, canonical,
};

/// One outcome for each entity in the document.
pub(super) fn apply(plan: &Plan, entity: EntityType, context: &Context, input: Input<'_>) -> Vec<Outcome> {
    follow(plan, entity, context, input, || None)
}

/// The same, each outcome with the values that were taken for it.
pub(super) fn explain(
    plan: &Plan,
    entity: EntityType,
    context: &Context,
    input: Input<'_>,
) -> Vec<(Outcome, Vec<Made>)> {
    let taken: RefCell<Vec<Rc<RefCell<Vec<Made>>>>> = RefCell::default();
    let outcomes = follow(plan, entity, context, input, || {
        let trace = Rc::default();
        taken.borrow_mut().push(Rc::clone(&trace));
        Some(trace)
    });
    let mut taken = taken.into_inner().into_iter().map(|trace| trace.take());
    outcomes.into_iter().map(|outcome| (outcome, taken.next().unwrap_or_default())).collect()
}

/// Where the values that are taken are noted.
type Trace = Option<Rc<RefCell<Vec<Made>>>>;

fn follow(
    plan: &Plan,
    entity: EntityType,
    context: &Context,
    input: Input<'_>,
    trace: impl Fn() -> Trace,
) -> Vec<Outcome> {
    let top = Scope { row: Row::Map(&input.document.root), up: None, rows: None };
    let mut raised = Vec::new();
    let Some(each) = &plan.each else {
        let mut outcomes = vec![Run::new(plan, context, trace()).entity(entity, input, &top, &mut raised)];
        outcomes.append(&mut raised);
        return outcomes;
    };
    let rows = each.rows(&top).unwrap_or_default();
    if rows.is_empty() {
        let mut findings = Findings::new(&plan.weights);
        findings.add(&rules::NO_ENTITY, "", format!("{} holds nothing", each.text));
        return vec![held(entity, None, findings.list, Vec::new())];
    }
    let scopes = rows.into_iter().map(|row| Scope { row, up: Some(&top), rows: None });
    let outcomes =
        scopes.map(|scope| Run::new(plan, context, trace()).entity(entity, input, &scope, &mut raised)).collect();
    let mut outcomes = once_each(plan, entity, outcomes);
    outcomes.append(&mut raised);
    outcomes
}

/// Holds the entities that a record holds twice with different content: the second would take the
/// place of the first, and what only the first one says would be gone.
fn once_each(plan: &Plan, entity: EntityType, mut outcomes: Vec<Outcome>) -> Vec<Outcome> {
    let mut first: HashMap<&EntityKey, &Outcome> = HashMap::new();
    let mut contradicted: HashSet<EntityKey> = HashSet::new();
    for outcome in &outcomes {
        let (Outcome::Mapped(Mapped { key, .. }) | Outcome::Held(Held { key: Some(key), .. })) = outcome else {
            continue;
        };
        let same = match (first.entry(key).or_insert(outcome), outcome) {
            (Outcome::Mapped(one), Outcome::Mapped(other)) => (&one.wish, &one.data) == (&other.wish, &other.data),
            (one, other) => std::ptr::eq(*one, other),
        };
        if !same {
            contradicted.insert(key.clone());
        }
    }
    for outcome in &mut outcomes {
        if let Outcome::Mapped(mapped) = outcome
            && contradicted.contains(&mapped.key)
        {
            let mut findings = Findings::new(&plan.weights);
            let message = "the record holds this entity more than once, with different content";
            findings.add_value(&rules::REPEATED_ENTITY, "", message, &mapped.key.key);
            *outcome = held(entity, Some(mapped.key.clone()), findings.list, std::mem::take(&mut mapped.search));
        }
    }
    outcomes
}

/// A held outcome, whose reason is its heaviest finding.
pub(super) fn held(entity: EntityType, key: Option<EntityKey>, findings: Vec<Finding>, search: Vec<String>) -> Outcome {
    let weight = findings.iter().map(|finding| finding.severity).max();
    let reason = findings.iter().find(|finding| Some(finding.severity) == weight).map(|finding| finding.code.clone());
    Outcome::Held(Held { entity: Some(entity), key, reason: reason.unwrap_or_default(), findings, search })
}

/// A step of the path into the entity.
#[derive(Clone, Copy)]
enum Step {
    Field(&'static str),
    Index(usize),
}

/// The mapping of one entity.
pub(super) struct Run<'a> {
    pub(super) plan: &'a Plan,
    pub(super) context: &'a Context,
    pub(super) findings: Findings<'a>,
    path: Vec<Step>,
    manifest: Manifest,
    /// Names that were told to be missing, so that a thousand rows tell it once.
    missing: Vec<&'a str>,
    /// How often a name was missing, told or not.
    misses: usize,
    /// Whose report it is, as soon as that is known.
    pub(super) person: Person,
    /// The person's key and the exam number, as soon as they are known.
    examinee: Option<String>,
    exam_no: Option<String>,
    /// Files of the row that is being read, and those of its rows that hold several.
    pending: Vec<file::Pending>,
    more_files: Vec<Fields<'a>>,
    /// The files of the entity.
    files: Vec<File>,
    /// The name under which the last value was found.
    pub(super) found: &'a str,
    /// The last time that each line read, and what it was: the rows of a list often say the same one.
    pub(super) times: Vec<(&'a Alternative, Cow<'a, str>, String)>,
    trace: Trace,
}

/// A value as the source wrote it, trimmed at the ends.
pub(super) struct Literal<'a> {
    pub(super) text: Cow<'a, str>,
    /// The value, where the source itself typed it.
    pub(super) typed: Option<&'a Value>,
}

/// What a field's line gave: the literal, and what it says.
pub(super) type Taken<'a> = (Option<Cow<'a, str>>, Option<Node<'a>>);

impl<'a> Run<'a> {
    fn new(plan: &'a Plan, context: &'a Context, trace: Trace) -> Run<'a> {
        let findings = Findings::new(&plan.weights);
        Run {
            plan,
            context,
            findings,
            path: Vec::new(),
            manifest: Manifest::default(),
            missing: Vec::new(),
            misses: 0,
            person: Person::default(),
            examinee: None,
            exam_no: None,
            pending: Vec::new(),
            more_files: Vec::new(),
            files: Vec::new(),
            found: "",
            times: Vec::new(),
            trace,
        }
    }

    /// The entity; its critical values are added to `raised`.
    fn entity(
        mut self,
        entity: EntityType,
        input: Input<'_>,
        scope: &Scope<'_, 'a>,
        raised: &mut Vec<Outcome>,
    ) -> Outcome
    where
        Self: 'a,
    {
        let key = self.key(entity, scope);
        self.check_owner(scope);
        let revision = self.revision(scope);
        let fields = self.object(&self.plan.fields, scope);
        let search = search_words(&fields, key.as_ref());
        let wish = self.wish(&fields, scope);
        let disabled = matches!(node::field(&fields, "enabled"), Some(Node::Bool(false)));
        let lifecycle = match &wish {
            Wish::Present if disabled => Lifecycle::Disabled,
            Wish::Present => Lifecycle::Active,
            Wish::Absent { reason } if reason == "deleted" => Lifecycle::Deleted,
            Wish::Absent { .. } => Lifecycle::Withdrawn,
        };
        let Some(key) = key else { return held(entity, None, self.findings.list, search) };
        let mut envelope = Envelope {
            hospital_id: self.context.hospital.clone(),
            campus_id: self.context.campus.clone(),
            source_system: self.context.source.clone(),
            entity_type: entity.as_str().to_owned(),
            business_key: key.key.clone(),
            lifecycle,
            provenance: Provenance {
                source_ref: input.source_ref.to_owned(),
                adapter: self.context.adapter.clone(),
                charset: input.charset.map(str::to_owned),
            },
            issues: Vec::new(),
            manifest: std::mem::take(&mut self.manifest),
        };
        if !envelope.manifest.adds_up() {
            self.findings.add(&rules::MANIFEST_MISMATCH, "envelope.manifest", "rows read and rows mapped differ");
        }
        if entity == EntityType::ExamReport && self.plan.raises_critical {
            raised.extend(critical::raise(&fields, &envelope, &wish, &self.findings.list, &search));
        }
        let typed = typed(entity, fields);
        if let Wish::Absent { .. } = wish {
            // What is taken back must go at once, whatever else is wrong with it; but not where it
            // may be somebody else's.
            let heavy = self
                .findings
                .list
                .iter()
                .any(|finding| finding.severity == Severity::Reject || finding.code == rules::CAMPUS_MISMATCH.code);
            if !heavy {
                let data = match typed {
                    Ok(mut typed) => {
                        *typed.envelope_mut() = envelope;
                        typed.to_canonical_json()
                    }
                    Err(_) => canonical::to_vec(&serde_json::json!({ "envelope": envelope })),
                };
                return self.finish(key, wish, data, search, revision);
            }
            return held(entity, Some(key), self.findings.list, search);
        }
        let mut typed = match typed {
            Ok(typed) => typed,
            Err(error) => {
                let told = self.findings.list.iter().any(|finding| finding.severity >= Severity::Hold);
                if !told {
                    let message = "what was read does not make an entity";
                    self.findings.add_value(&rules::MODEL_MISMATCH, "", message, &error.to_string());
                }
                return held(entity, Some(key), self.findings.list, search);
            }
        };
        rules::settle(&mut typed, &mut self.findings);
        if self.plan.assembly.is_some() {
            // What this part lacks may be in another one: the whole is judged when it is composed.
            self.findings.list.retain(|finding| !rules::report::is_of_the_whole(&finding.code));
        }
        if self.findings.list.iter().any(|finding| finding.severity >= Severity::Hold) {
            return held(entity, Some(key), self.findings.list, search);
        }
        envelope.issues = std::mem::take(&mut self.findings.list);
        *typed.envelope_mut() = envelope;
        let data = typed.to_canonical_json();
        self.finish(key, wish, data, search, revision)
    }

    fn finish(
        mut self,
        key: EntityKey,
        wish: Wish,
        data: Result<Vec<u8>, serde_json::Error>,
        search: Vec<String>,
        revision: Option<String>,
    ) -> Outcome {
        match data {
            Ok(data) => {
                // What is taken back names no files.
                let files = if wish == Wish::Present { self.files } else { Vec::new() };
                let assembly = self.plan.assembly.clone().map(Box::new);
                Outcome::Mapped(Mapped { key, wish, data, search, files, assembly, revision })
            }
            Err(error) => {
                let message = "the entity can't be written";
                self.findings.add_value(&rules::MODEL_MISMATCH, "", message, &error.to_string());
                held(key.entity, Some(key), self.findings.list, search)
            }
        }
    }

    fn key(&mut self, entity: EntityType, scope: &Scope<'_, 'a>) -> Option<EntityKey> {
        let mut key = String::new();
        key.push_str(&self.context.campus);
        key.push(':');
        key.push_str(self.plan.scope.as_deref().unwrap_or(&self.context.source));
        let plan = self.plan;
        self.path.push(Step::Field("business_key"));
        let mut whole = !plan.key.is_empty();
        for (at, part) in plan.key.iter().enumerate() {
            key.push(if at == 0 { ':' } else { '/' });
            match self.take(&super::shape::Kind::Text, part, scope) {
                // `A/B` and `C` must not be the key of `A` and `B/C`.
                (_, Some(Node::Text(text))) if plan.key.len() > 1 && text.contains(['/', '%']) => {
                    key.push_str(&text.replace('%', "%25").replace('/', "%2F"));
                }
                (_, Some(Node::Text(text))) if !text.is_empty() => key.push_str(&text),
                _ => whole = false,
            }
        }
        if !whole {
            self.find(&rules::EMPTY_KEY, "a part of the key is empty", None);
        }
        self.path.pop();
        whole.then(|| EntityKey::new(entity, key))
    }

    /// Whether the record is this hospital's and this campus's at all.
    fn check_owner(&mut self, scope: &Scope<'_, 'a>) {
        let plan = self.plan;
        let checks = [
            (&plan.hospital, self.context.hospital.as_str(), &rules::HOSPITAL_MISMATCH, "hospital_id"),
            (&plan.campus, self.context.campus.as_str(), &rules::CAMPUS_MISMATCH, "campus_id"),
        ];
        for (path, own, rule, field) in checks {
            let Some(path) = path else { continue };
            let stated = match path.find(scope) {
                Found::Value(value) => plain(value).map(|text| text::trim(&text).to_owned()),
                _ => None,
            };
            if stated.as_deref() != Some(own) {
                let stated = stated.unwrap_or_default();
                self.findings.add_value(rule, format!("envelope.{field}"), "the record names another one", &stated);
            }
        }
    }

    fn wish(&mut self, fields: &Fields<'a>, scope: &Scope<'_, 'a>) -> Wish {
        let plan = self.plan;
        for (when, reason) in &plan.absent {
            if self.holds(when, scope) == Some(true) {
                return Wish::Absent { reason: reason.clone() };
            }
        }
        match (plan.fields.shape, node::text_of(fields, "status")) {
            ("ExamReport", Some("withdrawn")) => Wish::Absent { reason: "reversed".to_owned() },
            ("ExamReport", Some("draft")) => Wish::Absent { reason: "draft".to_owned() },
            _ => Wish::Present,
        }
    }

    /// Adds a finding at the field that is being read.
    pub(super) fn find(&mut self, rule: &Rule, message: &str, value: Option<&str>) {
        let path = self.at();
        match value {
            Some(value) => self.findings.add_value(rule, path, message, value),
            None => self.findings.add(rule, path, message),
        }
    }

    /// Notes a value that was taken for the field that is being read.
    pub(super) fn note(&self, literal: Option<&Literal<'_>>) {
        if let (Some(trace), Some(literal)) = (&self.trace, literal) {
            let made = Made { path: self.at(), from: self.found.to_owned(), raw: literal.text.clone().into_owned() };
            trace.borrow_mut().push(made);
        }
    }

    /// The path of the field that is being read.
    pub(super) fn at(&self) -> String {
        let mut path = String::new();
        for step in &self.path {
            match step {
                Step::Field(name) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(name);
                }
                Step::Index(at) => path.push_str(&format!("[{at}]")),
            }
        }
        path
    }

    fn missing(&mut self, path: &'a SourcePath) {
        self.missing_name(&path.text);
    }

    /// Tells that the source has no column of that name.
    fn missing_name(&mut self, name: &'a str) {
        self.misses += 1;
        if !self.missing.contains(&name) {
            self.missing.push(name);
            let message = format!("the source has no {name}");
            self.find(&rules::MISSING_COLUMN, &message, None);
        }
    }

    fn object(&mut self, plan: &'a ObjectPlan, scope: &Scope<'_, 'a>) -> Fields<'a> {
        // A line fills up to three fields.
        let mut fields: Fields<'a> = Vec::with_capacity(plan.fields.len() * 2 + 4);
        for field in &plan.fields {
            self.path.push(Step::Field(field.name));
            let before = (self.findings.list.len() + self.misses, fields.len());
            self.field(field, scope, &mut fields);
            if field.required && fields.len() == before.1 && self.findings.list.len() + self.misses == before.0 {
                self.find(&rules::MISSING_VALUE, "the source has no value, and the entity needs one", None);
            }
            self.path.pop();
        }
        self.complete(plan.shape, &mut fields);
        fields
    }

    /// What hisync fills where the mapping does not.
    fn complete(&mut self, shape: &str, fields: &mut Fields<'a>) {
        let lacks = |fields: &Fields<'a>, name: &str| node::field(fields, name).is_none();
        if shape == "ExamVisit" {
            self.exam_no = node::text_of(fields, "exam_no").map(str::to_owned);
            let day = node::text_of(fields, "exam_date").or_else(|| node::text_of(fields, "registered_at")?.get(..10));
            self.person.on = day.and_then(|day| day.parse().ok());
            self.person.stated_age = match node::field(fields, "stated_age") {
                Some(Node::Integer(age)) => Some(*age),
                _ => None,
            };
        }
        match shape {
            "ExamVisit" if lacks(fields, "visit_key") => {
                let Some(number) = node::text_of(fields, "exam_no") else { return };
                let day = node::text_of(fields, "registered_at").or_else(|| node::text_of(fields, "exam_date"));
                let mut key = format!("{}:{number}", self.context.campus);
                if let Some(day) = day.and_then(|day| day.get(..10)) {
                    key.push(':');
                    key.push_str(day);
                }
                fields.push(("visit_key", Node::Text(key.into())));
            }
            "Attachment" => self.look_at_files(fields),
            "ResultItem" => {
                // An empty flag may mean "normal", but not of a result that is not there.
                let absent = node::text_of(fields, "value_kind") == Some("absent");
                if absent && node::text_of(fields, "flag_source_raw").is_none_or(str::is_empty) {
                    fields.retain(|(name, _)| *name != "flag_source");
                }
                if lacks(fields, "instance") {
                    fields.push(("instance", Node::text("1")));
                }
                if lacks(fields, "is_critical") {
                    fields.push(("is_critical", Node::Bool(false)));
                }
            }
            "Examinee" => {
                self.examinee = node::text_of(fields, "examinee_key").map(str::to_owned);
                self.person.sex = match node::text_of(fields, "sex") {
                    Some("male") => Some(Sex::Male),
                    Some("female") => Some(Sex::Female),
                    _ => None,
                };
                self.person.birth = node::text_of(fields, "birth_date").and_then(|day| day.parse().ok());
            }
            _ => {}
        }
    }

    fn field(&mut self, field: &'a FieldPlan, scope: &Scope<'_, 'a>, fields: &mut Fields<'a>) {
        match &field.read {
            Read::Object(plan) => {
                let inner = self.object(plan, scope);
                fields.push((field.name, Node::Map(inner)));
            }
            Read::List(plan) => {
                let list = self.list(plan, scope);
                fields.push((field.name, Node::List(list)));
            }
            Read::Texts(alternatives) => {
                let list = self.texts(alternatives, scope);
                if !list.is_empty() {
                    fields.push((field.name, Node::List(list)));
                }
            }
            Read::Scalar(kind, alternatives) => {
                let (raw, value) = self.take(kind, alternatives, scope);
                if let (Some(name), Some(raw)) = (field.raw, raw) {
                    fields.push((name, Node::Text(raw)));
                    // The literal alone does not fill a required field.
                    if value.is_none() && field.required {
                        fields.pop();
                    }
                }
                if let Some(value) = value {
                    fields.push((field.name, value));
                }
            }
            Read::Enabled(switches, empty_is_off) => self.switches(switches, *empty_is_off, scope, fields),
            Read::Composite(Composite::Content, alternatives) => self.content(alternatives, scope),
            Read::Composite(composite, alternatives) => self.composite(*composite, alternatives, scope, fields),
        }
    }

    fn texts(&mut self, alternatives: &'a [Alternative], scope: &Scope<'_, 'a>) -> Vec<Node<'a>> {
        let mut list = Vec::new();
        for alternative in alternatives {
            if let Source::From(paths) = &alternative.source
                && let [path] = paths.as_slice()
                && let Some(Found::Value(Value::List(values))) = Some(path.find(scope))
            {
                let texts = values.iter().filter_map(plain).map(|text| text::store(&text).into_owned());
                list.extend(texts.filter(|text| !text.is_empty()).map(|text| Node::Text(text.into())));
                continue;
            }
            let (_, node) = self.take(&super::shape::Kind::Text, std::slice::from_ref(alternative), scope);
            let Some(Node::Text(text)) = node else { continue };
            let mut parts = vec![&*text];
            for separator in &alternative.split {
                parts = parts.into_iter().flat_map(|part| part.split(separator.as_str())).collect();
            }
            let parts = parts.into_iter().map(text::trim).filter(|part| !part.is_empty());
            list.extend(parts.map(|part| Node::Text(part.to_owned().into())));
        }
        list
    }

    fn switches(&mut self, switches: &'a [Switch], empty_is_off: bool, scope: &Scope<'_, 'a>, fields: &mut Fields<'a>) {
        let mut reasons = Vec::new();
        let mut certain = true;
        for switch in switches {
            let value = match switch.from.find(scope) {
                Found::Missing if switch.optional || self.plan.missing_is_null => None,
                Found::Missing => {
                    self.missing(&switch.from);
                    certain = false;
                    continue;
                }
                Found::Value(value) => plain(value),
                Found::Joined(text) => Some(Cow::Owned(text)),
                Found::Several => None,
            };
            let value = value.map(|value| text::trim(&value).to_owned()).unwrap_or_default();
            let off = if value.is_empty() { empty_is_off } else { switch.off.contains(&value) };
            if off {
                reasons.push(Node::Text(Cow::Borrowed(switch.reason.as_str())));
            } else if !value.is_empty() && !switch.on.is_empty() && !switch.on.contains(&value) {
                self.find(&rules::UNREADABLE_VALUE, "the switch is neither on nor off", Some(&value));
                certain = false;
            }
        }
        if certain {
            fields.push(("enabled", Node::Bool(reasons.is_empty())));
            if !reasons.is_empty() {
                fields.push(("disabled_reasons", Node::List(reasons)));
            }
        }
    }
}

/// The words by which a person looks for the entity.
fn search_words(fields: &Fields<'_>, key: Option<&EntityKey>) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut add = |word: &str| {
        if !word.is_empty() && !words.iter().any(|known| known == word) {
            words.push(word.to_owned());
        }
    };
    if let Some(Node::Map(visit)) = node::field(fields, "visit") {
        node::text_of(visit, "exam_no").into_iter().for_each(&mut add);
    }
    for name in ["report_no", "package_code", "group_code", "item_code"] {
        node::text_of(fields, name).into_iter().for_each(&mut add);
    }
    if let Some(natural) = key.and_then(|key| key.key.splitn(3, ':').nth(2)) {
        natural.split('/').for_each(&mut add);
    }
    words
}

fn typed(entity: EntityType, mut fields: Fields<'_>) -> Result<Entity, serde_json::Error> {
    // The envelope is set afterwards, typed; here it only has to be there.
    fields.push(("envelope", Node::Map(Vec::new())));
    let node = Node::Map(fields);
    Ok(match entity {
        EntityType::ExamItem => Entity::ExamItem(Box::new(ExamItem::deserialize(enveloped(node))?)),
        EntityType::ExamItemGroup => Entity::ExamItemGroup(Box::new(ExamItemGroup::deserialize(enveloped(node))?)),
        EntityType::ExamPackage => Entity::ExamPackage(Box::new(ExamPackage::deserialize(enveloped(node))?)),
        EntityType::ExamReport => Entity::ExamReport(Box::new(ExamReport::of(node)?)),
        EntityType::CriticalValue => Entity::CriticalValue(Box::new(CriticalValue::of(node)?)),
    })
}

/// The same with an empty envelope that serde can read.
fn enveloped(node: Node<'_>) -> Node<'_> {
    let Node::Map(mut fields) = node else { return node };
    let empty = || Node::text("");
    if let Some((_, envelope)) = fields.iter_mut().find(|(name, _)| *name == "envelope") {
        *envelope = Node::Map(vec![
            ("hospital_id", empty()),
            ("campus_id", empty()),
            ("source_system", empty()),
            ("entity_type", empty()),
            ("business_key", empty()),
            ("lifecycle", Node::text("active")),
            ("provenance", Node::Map(vec![("source_ref", empty()), ("adapter", empty())])),
            ("issues", Node::List(Vec::new())),
            (
                "manifest",
                Node::Map(vec![
                    ("rows_read", Node::Integer(0)),
                    ("mapped", Node::Integer(0)),
                    ("duplicates", Node::Integer(0)),
                    ("excluded", Node::List(Vec::new())),
                ]),
            ),
        ]);
    }
    Node::Map(fields)
}
