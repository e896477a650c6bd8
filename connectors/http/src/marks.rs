//! "Downloaded" marks: set only for what is safely stored, and again until the source accepts them.

use std::collections::HashSet;

use connector_api::{FaultClass, SourceError, Value};

use crate::answer::{unreadable, word};
use crate::plan::StreamPlan;
use crate::session::Session;
use crate::template::{Vars, visible};

/// How many records one call marks.
const AT_ONCE: usize = 100;

/// More marks than this are not kept when the source keeps refusing them: it offers the records again.
const MOST_WAITING: usize = 50_000;

/// A record that is to be marked.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    word: String,
    key: minijinja::Value,
    row: minijinja::Value,
}

impl Mark {
    pub(crate) fn new(key: &Value, row: minijinja::Value) -> Mark {
        Mark { word: word(key).unwrap_or_default(), key: visible(key), row }
    }
}

/// The marks of one stream.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// Of what the last fetch returned: not known to be stored.
    handed: Vec<Mark>,
    /// Of what is stored.
    waiting: Vec<Mark>,
}

impl Marks {
    /// What was handed over and never confirmed is not marked.
    pub(crate) fn forget_handed(&mut self) {
        self.handed.clear();
    }

    pub(crate) fn hand(&mut self, marks: Vec<Mark>) {
        self.handed = marks;
    }

    pub(crate) fn confirm(&mut self) {
        for mark in self.handed.drain(..) {
            if !self.waiting.iter().any(|known| known.word == mark.word) {
                self.waiting.push(mark);
            }
        }
        self.waiting.truncate(MOST_WAITING);
    }

    /// Tells the source. What it does not accept waits for the next time.
    pub(crate) async fn send(&mut self, session: &Session, plan: &StreamPlan) -> Result<(), SourceError> {
        let Some((taken, call)) = &plan.taken else { return Ok(()) };
        let at_once = if call.uses("keys") { AT_ONCE } else { 1 };
        let mut refused = Vec::new();
        let all = self.waiting.len();
        while !self.waiting.is_empty() {
            let some = &self.waiting[..self.waiting.len().min(at_once)];
            let mut vars =
                Vars::from([("keys", some.iter().map(|mark| mark.key.clone()).collect::<minijinja::Value>())]);
            if at_once == 1 {
                vars.insert("key", some[0].key.clone());
                vars.insert("row", some[0].row.clone());
            }
            let answered = match session.call(call, &vars, None, false).await {
                Ok(answered) => answered,
                Err(error) => {
                    // What was refused before waits as well.
                    self.waiting.append(&mut refused);
                    return Err(error);
                }
            };
            let accepted: Option<HashSet<String>> = match (&taken.accepted, &answered.opened) {
                (None, Some(_)) => None,
                (_, None) => Some(HashSet::new()),
                (Some(path), Some(opened)) => match opened.words(path, &session.rules) {
                    Ok(words) => Some(words.into_iter().collect()),
                    Err(failure) => {
                        self.waiting.append(&mut refused);
                        return Err(unreadable(&call.what, failure));
                    }
                },
            };
            let sent = some.len();
            let rest = self.waiting.split_off(sent);
            let told = std::mem::replace(&mut self.waiting, rest);
            refused
                .extend(told.into_iter().filter(|mark| accepted.as_ref().is_some_and(|set| !set.contains(&mark.word))));
        }
        if refused.is_empty() {
            return Ok(());
        }
        let says = format!("{}: {} of {all} records were not accepted as taken", call.what, refused.len());
        self.waiting = refused;
        Err(SourceError::retry(FaultClass::Data, says).hint("they are safely stored, and are marked again next time"))
    }
}
