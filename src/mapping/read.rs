//! From a literal to the value of a field: chooses the reader and tells what it could not read.

use std::borrow::Cow;

use connector_api::Value;

use super::apply::{Literal, Run};
use super::node::{Fields, Node};
use super::plan::{Alternative, CodeTable, Composite, Source};
use super::readers::date::{self, Stamp};
use super::readers::number::{self, MoneyError, Scale};
use super::readers::result::Reading;
use super::readers::{flag, reference, result, text, unit};
use super::rules::{self, concepts};
use super::shape::Kind;
use super::source::Scope;
use crate::model::entity::{ApplicableSex, ReferenceRange};
use crate::model::{Finding, Severity, canonical};

/// Whether a literal is one of the texts, or one of the days, that mean nothing.
pub(super) fn means_none(plan: &Alternative, literal: &Literal<'_>) -> bool {
    if plan.none.iter().any(|none| *none == *literal.text) {
        return true;
    }
    if plan.none_days.is_empty() {
        return false;
    }
    let stamp = match literal.typed {
        Some(Value::Time(time)) => Some(Stamp::of(*time)),
        // A source writes its sentinel in another form than its days: the unambiguous ones count too.
        _ => {
            let text = text::fold(&literal.text);
            let day = if plan.time.is_some() { text.split(' ').next().unwrap_or_default() } else { &*text };
            date::read(day, &plan.grammars).or_else(|| date::read(day, &[]))
        }
    };
    stamp.is_some_and(|stamp| plan.none_days.contains(&stamp.date))
}

/// What a literal says for a field of that kind; `None`, with a finding, where it says nothing.
pub(super) fn scalar<'a>(
    run: &mut Run<'a>,
    kind: &'a Kind,
    plan: &'a Alternative,
    literal: &Literal<'a>,
) -> Option<Node<'a>> {
    let words = match kind {
        Kind::Enum(words) => words.as_slice(),
        _ => &[],
    };
    if matches!(kind, Kind::Concept) {
        return concept(plan, literal);
    }
    if let Some(codes) = &plan.codes {
        let word = code(run, codes, &literal.text, words)?;
        return Some(match kind {
            Kind::Bool => Node::Bool(word == "true"),
            _ => Node::Text(Cow::Borrowed(word)),
        });
    }
    let value = &*literal.text;
    let node = match kind {
        Kind::Text | Kind::Name | Kind::IdNumber => return self_text(run, kind, literal),
        Kind::Enum(words) => words.iter().find(|word| *word == value).map(|word| Node::Text(Cow::Borrowed(word))),
        Kind::Integer => number::integer(&text::fold(value)).map(Node::Integer),
        Kind::Age => number::age(&text::fold(value)).map(Node::Integer),
        Kind::Money => return money(run, value, plan.scale),
        Kind::Decimal => match result::read(value) {
            Reading::Numeric(number) => Some(Node::Text(number.into())),
            _ => None,
        },
        Kind::Bool => match literal.typed {
            Some(Value::Bool(truth)) => Some(Node::Bool(*truth)),
            _ => number::truth(&text::fold(value)).map(Node::Bool),
        },
        Kind::Date | Kind::Time => return stamp(run, kind, plan, literal),
        Kind::Object(_) | Kind::Objects(_) | Kind::Texts | Kind::Concept => None,
    };
    if node.is_none() {
        run.find(&rules::UNREADABLE_VALUE, "this can't be read as the field's value", Some(value));
    }
    node
}

fn self_text<'a>(run: &mut Run<'a>, kind: &Kind, literal: &Literal<'a>) -> Option<Node<'a>> {
    let damaged = match kind {
        Kind::Name => text::is_damaged_name(&literal.text),
        _ => text::is_damaged(&literal.text),
    };
    if damaged {
        run.find(&rules::DAMAGED_TEXT, "characters of this text were lost before it was read", Some(&literal.text));
        return None;
    }
    Some(Node::Text(match kind {
        Kind::IdNumber => Cow::Owned(text::fold(&literal.text).to_ascii_uppercase()),
        _ => literal.text.clone(),
    }))
}

/// The standard word for a local code. An unknown one weighs what its table says.
fn code<'a>(run: &mut Run<'a>, codes: &'a CodeTable, local: &str, words: &'a [String]) -> Option<&'a str> {
    if let Some(word) = codes.codes.get(local) {
        return Some(word);
    }
    let severity = if codes.flag { Severity::Warn } else { Severity::Hold };
    let message = format!("code table {} does not have this code", codes.name);
    run.findings.list.push(Finding::new(rules::UNKNOWN_CODE.code, severity, run.at(), message).value(local));
    words.iter().find(|word| codes.flag && *word == "unknown").map(String::as_str)
}

/// What an item is. An item that nobody has listed has no identity, and rules that need one leave it be.
fn concept<'a>(plan: &'a Alternative, literal: &Literal<'a>) -> Option<Node<'a>> {
    match &plan.codes {
        Some(codes) => codes.codes.get(&*literal.text).map(|word| Node::Text(Cow::Borrowed(word.as_str()))),
        None => concepts::is_code(&literal.text).then(|| Node::Text(literal.text.clone())),
    }
}

fn money<'a>(run: &mut Run<'a>, value: &str, scale: Option<Scale>) -> Option<Node<'a>> {
    match number::money(&text::fold(value), scale?) {
        Ok(fen) => Some(Node::Integer(fen)),
        Err(MoneyError::Fraction) => {
            run.find(&rules::MONEY_FRACTION, "the price has a part of a fen", Some(value));
            None
        }
        Err(MoneyError::Unreadable) => {
            run.find(&rules::UNREADABLE_VALUE, "this is no price", Some(value));
            None
        }
    }
}

fn stamp<'a>(run: &mut Run<'a>, kind: &Kind, plan: &'a Alternative, literal: &Literal<'a>) -> Option<Node<'a>> {
    let before = run.times.iter().position(|(of, ..)| std::ptr::eq(*of, plan));
    let typed = matches!(literal.typed, Some(Value::Time(_)));
    if let Some((_, text, read)) = before.map(|at| &run.times[at])
        && !typed
        && *text == literal.text
    {
        return Some(Node::Text(Cow::Owned(read.clone())));
    }
    let read = stamp_text(run, kind, plan, literal)?;
    if !typed {
        let known = (plan, literal.text.clone(), read.clone());
        match before {
            Some(at) => run.times[at] = known,
            None => run.times.push(known),
        }
    }
    Some(Node::Text(Cow::Owned(read)))
}

fn stamp_text(run: &mut Run<'_>, kind: &Kind, plan: &Alternative, literal: &Literal<'_>) -> Option<String> {
    let read = match literal.typed {
        Some(Value::Time(time)) => Some(Stamp::of(*time)),
        _ if plan.time.is_some() => date::read_apart(&text::fold(&literal.text), &plan.grammars),
        _ => date::read(&text::fold(&literal.text), &plan.grammars),
    };
    let Some(read) = read else {
        run.find(&rules::UNREADABLE_VALUE, "this date fits no grammar of the field", Some(&literal.text));
        return None;
    };
    if !read.is_plausible() {
        run.find(&rules::IMPLAUSIBLE_DATE, "this day is no plausible one; does it mean none?", Some(&literal.text));
        return None;
    }
    let own = run.context.timezone;
    let zone = plan.zone.unwrap_or(own);
    if matches!(kind, Kind::Date) {
        return Some(read.date_in(zone).to_string());
    }
    match read.time_in(zone) {
        Some(time) => {
            let time = if zone == own { time } else { time.with_timezone(&own).fixed_offset() };
            Some(canonical::time_text(time).unwrap_or_else(|| time.to_rfc3339()))
        }
        None => {
            run.find(&rules::UNREADABLE_VALUE, "the wall clock never showed this time", Some(&literal.text));
            None
        }
    }
}

impl<'a> Run<'a> {
    /// Fills the fields that one line stands for.
    pub(super) fn composite(
        &mut self,
        composite: Composite,
        alternatives: &'a [Alternative],
        scope: &Scope<'_, 'a>,
        fields: &mut Fields<'a>,
    ) {
        let mut chosen = None;
        let mut literal = None;
        for alternative in alternatives {
            if let Source::Bounds(low, high) = &alternative.source {
                return self.bounds(composite, low, high, alternative.optional, scope, fields);
            }
            let Some(found) = self.literal_if(alternative, scope) else { continue };
            let found = match found {
                Ok(found) => found,
                Err(node) => return constant(composite, node, fields),
            };
            let found = found.filter(|found| !means_none(alternative, found));
            let taken = found.as_ref().is_some_and(|found| !found.text.is_empty());
            if found.is_some() {
                literal = found;
            }
            chosen = Some(alternative);
            if taken {
                break;
            }
            if let Some(default) = &alternative.default {
                return constant(composite, default.clone(), fields);
            }
        }
        match composite {
            Composite::Value => self.value(chosen, literal, fields),
            Composite::Unit => self.unit(literal, fields),
            Composite::Reference | Composite::References => {
                let Some(literal) = literal.filter(|literal| !literal.text.is_empty()) else { return };
                if composite == Composite::References {
                    let ranges = reference::read_all(&literal.text).into_iter().map(range_node).collect();
                    fields.push(("reference_ranges", Node::List(ranges)));
                    return;
                }
                let range = reference::read(&literal.text, &self.person);
                self.reference(composite, Some(literal.text), range, fields);
            }
            Composite::Content => {}
            Composite::Flag => self.flag(chosen, literal, fields),
            Composite::Critical => {
                let Some((plan, literal)) = chosen.zip(literal).filter(|(_, literal)| !literal.text.is_empty()) else {
                    return;
                };
                static BOOL: Kind = Kind::Bool;
                if let Some(node) = scalar(self, &BOOL, plan, &literal) {
                    fields.push(("is_critical", node));
                }
            }
        }
    }

    fn value(&mut self, plan: Option<&'a Alternative>, literal: Option<Literal<'a>>, fields: &mut Fields<'a>) {
        let Some(literal) = literal else {
            fields.push(("value_kind", Node::text("absent")));
            return;
        };
        if text::is_damaged(&literal.text) {
            self.find(
                &rules::DAMAGED_TEXT,
                "characters of this result were lost before it was read",
                Some(&literal.text),
            );
            return;
        }
        let own = plan.and_then(|plan| plan.absent.get(&*literal.text));
        let text = |text: String| Node::Text(Cow::Owned(text));
        let kind = match own {
            Some(reason) => {
                fields.push(("absent_reason", Node::Text(Cow::Borrowed(reason))));
                "absent"
            }
            None => match result::read(&literal.text) {
                Reading::Numeric(number) => {
                    fields.push(("value_num", text(number)));
                    "numeric"
                }
                Reading::Comparator(comparator, number) => {
                    fields.push(("comparator", Node::text(comparator)));
                    fields.push(("value_num", text(number)));
                    "comparator"
                }
                Reading::Range(low, high) => {
                    fields.push(("value_low", text(low)));
                    fields.push(("value_high", text(high)));
                    "range"
                }
                Reading::Titer(low, high) => {
                    fields.push(("value_low", text(low)));
                    fields.push(("value_high", text(high)));
                    "titer"
                }
                Reading::Ordinal => "ordinal",
                Reading::Coded => "coded",
                Reading::Text => "text",
                Reading::Absent(reason) => {
                    if let Some(reason) = reason {
                        fields.push(("absent_reason", Node::text(reason)));
                    }
                    "absent"
                }
            },
        };
        fields.push(("value_kind", Node::text(kind)));
        fields.push(("value_raw", Node::Text(literal.text)));
    }

    fn unit(&mut self, literal: Option<Literal<'a>>, fields: &mut Fields<'a>) {
        let Some(literal) = literal.filter(|literal| !literal.text.is_empty()) else { return };
        match unit::read(&literal.text) {
            Some(unit::Certainty::Certain(ucum)) => fields.push(("unit_ucum", Node::text(ucum))),
            Some(unit::Certainty::Uncoded) => {}
            Some(unit::Certainty::Doubtful(_)) | None => {
                let message = match unit::suggestion(&literal.text) {
                    Some(ucum) => Cow::Owned(format!("this unit is not certain; {ucum} may be meant")),
                    None => Cow::Borrowed("this unit is not certain"),
                };
                self.find(&rules::UNIT_UNKNOWN, &message, Some(&literal.text));
            }
        }
        fields.push(("unit_raw", Node::Text(literal.text)));
    }

    fn flag(&mut self, plan: Option<&'a Alternative>, literal: Option<Literal<'a>>, fields: &mut Fields<'a>) {
        let Some(plan) = plan else { return };
        let value = literal.as_ref().map_or("", |literal| &*literal.text);
        let word: Option<&'a str> = match &plan.codes {
            Some(codes) if !value.is_empty() || codes.codes.contains_key("") => code(self, codes, value, &[]),
            None if !value.is_empty() => {
                let word = flag::read(&text::fold(value));
                if word.is_none() {
                    self.find(&rules::FLAG_UNKNOWN, "this flag is not known", Some(value));
                }
                word
            }
            _ => plan.empty.as_deref(),
        };
        if let Some(word) = word {
            fields.push(("flag_source", Node::Text(Cow::Borrowed(word))));
        }
        if let Some(literal) = literal {
            fields.push(("flag_source_raw", Node::Text(literal.text)));
        }
    }

    fn bounds(
        &mut self,
        composite: Composite,
        low: &'a super::source::SourcePath,
        high: &'a super::source::SourcePath,
        optional: bool,
        scope: &Scope<'_, 'a>,
        fields: &mut Fields<'a>,
    ) {
        let mut end = |path: &'a super::source::SourcePath| {
            let literal = self.first(std::slice::from_ref(path), optional, scope)?;
            Some(literal.text.into_owned()).filter(|text| !text.is_empty())
        };
        let (low, high) = (end(low), end(high));
        let raw = match (&low, &high) {
            (Some(low), Some(high)) => format!("{low}-{high}"),
            (Some(low), None) => format!(">={low}"),
            (None, Some(high)) => format!("<={high}"),
            (None, None) => return,
        };
        let number = |end: &Option<String>| match end.as_deref().map(result::read) {
            None => Ok(None),
            Some(Reading::Numeric(number)) => Ok(Some(crate::model::entity::DecimalText(number))),
            Some(_) => Err(()),
        };
        let range = match (number(&low), number(&high)) {
            (Ok(low), Ok(high)) => ReferenceRange {
                low_inclusive: low.as_ref().map(|_| true),
                high_inclusive: high.as_ref().map(|_| true),
                low,
                high,
                ..ReferenceRange::default()
            },
            _ => ReferenceRange { text: Some(raw.clone()), ..ReferenceRange::default() },
        };
        self.reference(composite, Some(raw.into()), Some(range), fields);
    }

    fn reference(
        &mut self,
        composite: Composite,
        raw: Option<Cow<'a, str>>,
        range: Option<ReferenceRange>,
        fields: &mut Fields<'a>,
    ) {
        let Some(range) = range else { return };
        if composite == Composite::References {
            fields.push(("reference_ranges", Node::List(vec![range_node(range)])));
            return;
        }
        fields.push(("reference", range_node(range)));
        if let Some(raw) = raw {
            fields.push(("reference_raw", Node::Text(raw)));
        }
    }
}

fn range_node<'a>(range: ReferenceRange) -> Node<'a> {
    let mut fields: Fields<'a> = Vec::with_capacity(4);
    let sex = range.sex.map(|sex| match sex {
        ApplicableSex::Male => "male",
        ApplicableSex::Female => "female",
        ApplicableSex::Both => "both",
    });
    fields.extend(sex.map(|sex| ("sex", Node::text(sex))));
    fields.extend(range.age_low.map(|age| ("age_low", Node::Integer(age.into()))));
    fields.extend(range.age_high.map(|age| ("age_high", Node::Integer(age.into()))));
    fields.extend(range.low.map(|low| ("low", Node::Text(low.0.into()))));
    fields.extend(range.low_inclusive.map(|inside| ("low_inclusive", Node::Bool(inside))));
    fields.extend(range.high.map(|high| ("high", Node::Text(high.0.into()))));
    fields.extend(range.high_inclusive.map(|inside| ("high_inclusive", Node::Bool(inside))));
    fields.extend(range.text.map(|text| ("text", Node::Text(text.into()))));
    Node::Map(fields)
}

/// A fixed value for a composite, in the words of the file.
fn constant<'a>(composite: Composite, node: Node<'a>, fields: &mut Fields<'a>) {
    match (composite, node) {
        (Composite::Critical, node) => fields.push(("is_critical", node)),
        (Composite::Unit, node @ Node::Text(_)) => {
            if let Node::Text(text) = &node
                && let Some(ucum) = unit::ucum(text)
            {
                fields.push(("unit_ucum", Node::text(ucum)));
            }
            fields.push(("unit_raw", node));
        }
        (Composite::Flag, Node::Text(text)) => {
            if let Some(word) = flag::read(&text::fold(&text)) {
                fields.push(("flag_source", Node::text(word)));
            }
            fields.push(("flag_source_raw", Node::Text(text)));
        }
        (Composite::Value, _) => fields.push(("value_kind", Node::text("absent"))),
        _ => {}
    }
}
