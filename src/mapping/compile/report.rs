//! What `[mapping]` says of reports alone: files, critical values, parts.

use super::Compiler;
use crate::mapping::attachment;
use crate::mapping::tree::{Entry, Leaf, Table};
use crate::model::{Assembly, EntityType, HEADER};

/// So long the parts of a report are waited for, unless a mapping says otherwise.
const WAIT_HOURS: u32 = 72;
/// The longest: a year.
const LONGEST_WAIT: u32 = 24 * 366;

impl Compiler<'_> {
    fn whole_number(&mut self, entry: Option<&Entry>, least: i64, most: i64) -> Option<i64> {
        let entry = entry?;
        match entry.tree.leaf {
            Leaf::Integer(number) if (least..=most).contains(&number) => Some(number),
            _ => {
                let message = format!("a whole number between {least} and {most} is expected");
                self.problem(entry.tree.spot.problem("wrong-type", message));
                None
            }
        }
    }

    fn for_reports_only(&mut self, mapping: &Table, key: &str) {
        if self.entity != EntityType::ExamReport
            && let Some(entry) = mapping.get(key)
        {
            self.problem(entry.key.problem("useless-key", format!("`{key}` is for reports only")));
        }
    }

    pub(super) fn attachment_max_bytes(&mut self, mapping: &Table) -> usize {
        const KEY: &str = "attachment_max_bytes";
        self.for_reports_only(mapping, KEY);
        let number = self.whole_number(mapping.get(KEY), 1, attachment::MOST_BYTES as i64);
        number.and_then(|number| usize::try_from(number).ok()).unwrap_or(attachment::MAX_BYTES)
    }

    pub(super) fn raises_critical(&mut self, mapping: &Table) -> bool {
        const KEY: &str = "critical_values";
        self.for_reports_only(mapping, KEY);
        match self.text(mapping.get(KEY)).as_deref() {
            None | Some("raise") => true,
            Some("report") => false,
            Some(other) => {
                let message = format!("`{KEY}` is \"raise\" or \"report\", not {other:?}");
                let problem = mapping.get(KEY).map(|entry| entry.tree.spot.problem("bad-word", message));
                problem.into_iter().for_each(|problem| self.problem(problem));
                true
            }
        }
    }

    /// `same_visit_days = 180`: two versions further apart are two visits.
    pub(super) fn same_visit_days(&mut self, mapping: &Table) -> Option<u32> {
        const KEY: &str = "same_visit_days";
        self.for_reports_only(mapping, KEY);
        let number = self.whole_number(mapping.get(KEY), 1, 36_500);
        number.and_then(|number| u32::try_from(number).ok())
    }

    /// `part`, `waits_for` and `wait_hours`.
    pub(super) fn assembly(&mut self, mapping: &Table) -> Option<Assembly> {
        for key in ["part", "waits_for", "wait_hours"] {
            self.for_reports_only(mapping, key);
        }
        let part = self.text(mapping.get("part"));
        let waits_for = self.plain_texts(mapping.get("waits_for"));
        let hours = self.whole_number(mapping.get("wait_hours"), 1, i64::from(LONGEST_WAIT));
        let is_header = part.as_deref() == Some(HEADER);
        if let (false, Some(entry)) = (is_header, mapping.get("waits_for")) {
            let problem = entry.key.problem("useless-key", "only the header says what it waits for");
            self.problem(problem.hint(format!("write: part = \"{HEADER}\"")));
        }
        let part = match part {
            Some(part) if !part.trim().is_empty() => part,
            Some(_) => {
                let spot = mapping.get("part").map(|entry| entry.tree.spot.clone());
                spot.into_iter().for_each(|spot| self.problem(spot.problem("bad-word", "a part has a name")));
                return None;
            }
            None => {
                if let Some(entry) = mapping.get("wait_hours") {
                    let problem = entry.key.problem("useless-key", "only parts are waited for");
                    self.problem(problem.hint(format!("write: part = \"{HEADER}\", or another name")));
                }
                return None;
            }
        };
        Some(Assembly {
            part,
            waits_for,
            wait_hours: hours.and_then(|hours| u32::try_from(hours).ok()).unwrap_or(WAIT_HOURS),
        })
    }
}
