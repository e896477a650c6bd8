//! Gets single values: candidates, conditions, expressions.

use std::borrow::Cow;

use connector_api::Value;
use minijinja::Value as Operand;

use super::{Literal, Run, Taken};
use crate::mapping::node::Node;
use crate::mapping::plan::*;
use crate::mapping::readers::text;
use crate::mapping::source::{Found, Scope, SourcePath};
use crate::mapping::{read, rules, shape};

impl<'a> Run<'a> {
    /// The first alternative that applies and finds something.
    pub(in crate::mapping) fn take(
        &mut self,
        kind: &'a shape::Kind,
        alternatives: &'a [Alternative],
        scope: &Scope<'_, 'a>,
    ) -> Taken<'a> {
        let mut seen = None;
        for alternative in alternatives {
            let Some(literal) = self.literal_if(alternative, scope) else { continue };
            let literal = match literal {
                Ok(literal) => literal,
                Err(node) => return (seen, Some(node)),
            };
            if let Some(literal) = literal {
                let none = literal.text.is_empty() || read::means_none(alternative, &literal);
                let listed = |codes: &CodeTable| codes.codes.contains_key(&*literal.text);
                if !none || alternative.codes.as_deref().is_some_and(listed) {
                    let node = read::scalar(self, kind, alternative, &literal);
                    return (Some(literal.text), node);
                }
                seen = Some(literal.text);
            }
            if let Some(default) = &alternative.default {
                return (seen, Some(default.clone()));
            }
        }
        (seen, None)
    }

    /// The literal of an alternative whose condition holds; `Err` for a constant.
    pub(in crate::mapping) fn literal_if(
        &mut self,
        alternative: &'a Alternative,
        scope: &Scope<'_, 'a>,
    ) -> Option<Result<Option<Literal<'a>>, Node<'a>>> {
        if let Some(when) = &alternative.when
            && self.holds(when, scope) != Some(true)
        {
            return None;
        }
        Some(match &alternative.source {
            Source::Const(node) => Err(node.clone()),
            Source::Nothing | Source::Bounds(..) => Ok(None),
            Source::Expr(expression) => Ok(self.evaluate(expression, scope).and_then(|value| {
                if value.is_none() || value.is_undefined() {
                    return None;
                }
                let text = value.to_string();
                Some(Literal { text: Cow::Owned(text::store(&text).into_owned()), typed: None })
            })),
            Source::From(paths) => {
                let literal = self.first(paths, alternative.optional, scope);
                self.note(literal.as_ref());
                match (&alternative.time, literal) {
                    (Some(time), Some(date)) if !date.text.is_empty() => {
                        let time = self.first(std::slice::from_ref(time), alternative.optional, scope);
                        let time = time.filter(|time| !time.text.is_empty());
                        Ok(Some(time.map_or(Literal { text: date.text.clone(), typed: date.typed }, |time| Literal {
                            text: Cow::Owned(format!("{} {}", date.text, time.text)),
                            typed: None,
                        })))
                    }
                    (_, literal) => Ok(literal),
                }
            }
        })
    }

    /// The first path that leads to something; an empty text where one is all there is.
    pub(in crate::mapping) fn first(
        &mut self,
        paths: &'a [SourcePath],
        optional: bool,
        scope: &Scope<'_, 'a>,
    ) -> Option<Literal<'a>> {
        let mut exists = false;
        let mut empty = None;
        for path in paths {
            let literal = match path.find(scope) {
                Found::Missing => continue,
                Found::Several => {
                    let message = format!("{} holds several values", path.text);
                    self.find(&rules::NOT_A_SCALAR, &message, None);
                    return None;
                }
                Found::Joined(text) => Literal { text: Cow::Owned(text::store(&text).into_owned()), typed: None },
                Found::Value(Value::Null) => {
                    exists = true;
                    continue;
                }
                Found::Value(value) => match plain(value) {
                    Some(Cow::Borrowed(text)) => Literal { text: text::store(text), typed: Some(value) },
                    Some(Cow::Owned(text)) => Literal { text: Cow::Owned(text), typed: Some(value) },
                    None => {
                        let message = format!("{} is a {}", path.text, value.kind());
                        self.find(&rules::NOT_A_SCALAR, &message, None);
                        return None;
                    }
                },
            };
            exists = true;
            self.found = &path.text;
            if !literal.text.is_empty() {
                return Some(literal);
            }
            empty = Some(literal);
        }
        if !exists
            && !optional
            && !self.plan.missing_is_null
            && let Some(path) = paths.first()
        {
            self.missing_name(path.asked(scope));
        }
        empty
    }

    /// Whether a condition holds; `None`, with a finding, where that can't be worked out.
    pub(super) fn holds(&mut self, condition: &'a Condition, scope: &Scope<'_, 'a>) -> Option<bool> {
        match condition {
            Condition::Expression(expression) => self.evaluate(expression, scope).map(|value| value.is_true()),
            Condition::Words { from, words, inside } => {
                let before = self.findings.list.len();
                let literal = self.first(std::slice::from_ref(from), false, scope);
                if self.findings.list.len() > before {
                    return None;
                }
                let text = literal.as_ref().map_or("", |literal| &*literal.text);
                // A name that was told before is missing still.
                if matches!(from.find(scope), Found::Missing) && !self.plan.missing_is_null {
                    return None;
                }
                Some(words.iter().any(|word| word == text) == *inside)
            }
        }
    }

    fn evaluate(&mut self, expression: &'a Expression, scope: &Scope<'_, 'a>) -> Option<Operand> {
        let mut bound: Vec<(&str, Operand)> = Vec::new();
        let mut members: [(&str, Vec<(&str, Operand)>); 3] = [("row", vec![]), ("up", vec![]), ("root", vec![])];
        for need in &expression.needs {
            let (Need::Member(_, path) | Need::Bound(_, path)) = need;
            let operand = match path.find(scope) {
                Found::Missing => {
                    if !self.plan.missing_is_null {
                        self.missing(path);
                        return None;
                    }
                    Operand::from(())
                }
                Found::Several => {
                    self.find(&rules::NOT_A_SCALAR, &format!("{} holds several values", path.text), None);
                    return None;
                }
                Found::Joined(text) => Operand::from(text),
                Found::Value(value) => operand(value),
            };
            match need {
                Need::Bound(name, _) => bound.push((name, operand)),
                Need::Member(head, path) => {
                    if let Some((_, list)) = members.iter_mut().find(|(name, _)| name == head) {
                        list.push((&path.text, operand));
                    }
                }
            }
        }
        for (head, list) in members.into_iter().filter(|(_, list)| !list.is_empty()) {
            bound.push((head, Operand::from_pairs(list)));
        }
        match expression.compiled.eval(Operand::from_pairs(bound)) {
            Ok(value) => Some(value),
            Err(_) => {
                self.find(&rules::EXPRESSION, "the expression can't be worked out", None);
                None
            }
        }
    }
}

/// A single value as text; `None` for what is not single, and for null.
pub(super) fn plain(value: &Value) -> Option<Cow<'_, str>> {
    Some(match value {
        Value::Text(text) => Cow::Borrowed(text),
        Value::Decimal(decimal) => Cow::Borrowed(decimal.as_str()),
        Value::Integer(number) => Cow::Owned(number.to_string()),
        Value::Bool(truth) => Cow::Borrowed(if *truth { "true" } else { "false" }),
        Value::Time(time) => Cow::Owned(time.to_string()),
        Value::Null | Value::Bytes(_) | Value::List(_) | Value::Map(_) => return None,
    })
}

impl<'a> Run<'a> {
    /// By what the source orders the versions of the entity. A column that is gone must not look like no order.
    pub(super) fn revision(&mut self, scope: &Scope<'_, 'a>) -> Option<String> {
        let path = self.plan.revision.as_ref()?;
        match path.find(scope) {
            Found::Value(value) => {
                plain(value).map(|text| text::trim(&text).to_owned()).filter(|text| !text.is_empty())
            }
            Found::Joined(text) => Some(text),
            Found::Missing | Found::Several if self.plan.missing_is_null => None,
            Found::Missing | Found::Several => {
                self.missing(path);
                None
            }
        }
    }
}

/// A value in an expression: always text, so that `'0'` and 0 are the same; null is `none`.
fn operand(value: &Value) -> Operand {
    match value {
        Value::Bool(truth) => Operand::from(*truth),
        value => plain(value).map_or_else(|| Operand::from(()), |text| Operand::from(text::trim(&text))),
    }
}
