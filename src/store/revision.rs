//! Versions that the source itself orders: an older one that comes late must not take the place of a newer one.

use std::cmp::Ordering;

use super::Error;
use super::prepare::{Doubtful, doubtful};
use crate::model::{EntityKey, Finding, Held, Severity};

/// The reason code of a version that is older than the one before it.
pub(super) const OLDER_REVISION: &str = "older-revision";

/// Whether a revision is older than the one that is known. Where either says nothing, or they are not of one kind, they
/// tell nothing: the order of arrival counts.
pub(super) fn is_older(new: Option<&str>, known: Option<&str>) -> bool {
    let (Some(new), Some(known)) = (new, known) else { return false };
    compare(new, known) == Some(Ordering::Less)
}

/// Whole numbers by their value; texts of one length (times in one form) by their characters.
fn compare(one: &str, other: &str) -> Option<Ordering> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits(one) && digits(other) {
        let (one, other) = (one.trim_start_matches('0'), other.trim_start_matches('0'));
        return Some(one.len().cmp(&other.len()).then_with(|| one.cmp(other)));
    }
    // `2026-11-20 9:05` would come after `2026-11-20 10:00`: what is not of one length is not compared.
    let alike = |one: char, other: char| one.is_ascii_digit() == other.is_ascii_digit();
    let one_form = one.chars().count() == other.chars().count()
        && one.chars().zip(other.chars()).all(|(one, other)| alike(one, other));
    one_form.then(|| one.cmp(other))
}

/// What is held for it.
pub(super) fn older(key: &EntityKey) -> Result<Doubtful, Error> {
    let message = "the source says that this version is older than the one that came before it";
    doubtful(Held {
        entity: Some(key.entity),
        key: Some(key.clone()),
        reason: OLDER_REVISION.to_owned(),
        findings: vec![Finding::new(OLDER_REVISION, Severity::Hold, "", message)],
        search: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_ordered_and_nothing_else_is() {
        for (new, known) in [("1", "2"), ("9", "10"), ("009", "10"), ("99999999999999999998", "99999999999999999999")] {
            assert!(is_older(Some(new), Some(known)) && !is_older(Some(known), Some(new)), "{new} {known}");
        }
        assert!(is_older(Some("2026-11-20 09:59:59"), Some("2026-11-20 10:00:00")));
        for (new, known) in
            [("2", "2"), ("02", "2"), ("A", "10"), ("2026-11-20 9:05", "2026-11-20 10:00"), ("A1", "1A")]
        {
            assert!(!is_older(Some(new), Some(known)) && !is_older(Some(known), Some(new)), "{new} {known}");
        }
        assert!(!is_older(None, Some("2")) && !is_older(Some("1"), None));
    }
}
