//! Routing labels of single entities: which events a chain of services shall send to another version of itself.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use super::{EntityKey, EntityType};

/// One rule. An empty list takes whatever there is; a rule takes what all of its lists take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneRule {
    /// The label.
    pub lane: String,
    /// Streams (`source/stream`), or whole sources.
    pub streams: Vec<String>,
    /// Kinds of entity.
    pub entities: Vec<EntityType>,
    /// Entities: by subject (`exam_report/main:peis:0301170001`), by key, or by the last part of the key (an exam
    /// number, a code).
    pub keys: Option<BTreeSet<String>>,
    /// The share of entities, in percent; always the same ones.
    pub percent: Option<u32>,
}

impl LaneRule {
    fn takes(&self, key: &EntityKey, stream: &str) -> bool {
        let source = stream.split_once('/').map_or(stream, |(source, _)| source);
        let short = key.key.rsplit(':').next().unwrap_or_default();
        (self.streams.is_empty() || self.streams.iter().any(|name| name == stream || name == source))
            && (self.entities.is_empty() || self.entities.contains(&key.entity))
            && self
                .keys
                .as_ref()
                .is_none_or(|keys| keys.contains(&key.key) || keys.contains(short) || keys.contains(&key.subject()))
            && self.percent.is_none_or(|percent| share(key) < percent)
    }
}

/// Where an entity stands among a hundred: the same for every agent and version.
fn share(key: &EntityKey) -> u32 {
    let hash: [u8; 32] = Sha256::digest(key.subject()).into();
    u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]) % 100
}

/// The rules of a hospital; the first that takes an entity labels it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lanes(pub Vec<LaneRule>);

impl Lanes {
    /// The label of an entity that a stream (`source/stream`) gives.
    pub fn of(&self, key: &EntityKey, stream: &str) -> Option<&str> {
        self.0.iter().find(|rule| rule.takes(key, stream)).map(|rule| rule.lane.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: &str) -> EntityKey {
        EntityKey::new(EntityType::ExamReport, format!("main:peis:{number}"))
    }

    fn rule(lane: &str) -> LaneRule {
        LaneRule { lane: lane.to_owned(), ..LaneRule::default() }
    }

    #[test]
    fn the_first_rule_that_takes_an_entity_labels_it() {
        let keys = |list: &[&str]| Some(list.iter().map(|key| (*key).to_owned()).collect());
        let lanes = Lanes(vec![
            LaneRule {
                keys: keys(&["0301170001", "main:peis:0301170002", "exam_report/main:peis:03"]),
                ..rule("named")
            },
            LaneRule { streams: vec!["lab/reports".to_owned()], ..rule("of-a-stream") },
            LaneRule { streams: vec!["pacs".to_owned()], ..rule("of-a-source") },
            LaneRule { entities: vec![EntityType::ExamItem], ..rule("of-a-kind") },
        ]);
        for (number, stream, lane) in [
            ("0301170001", "lab/reports", Some("named")),
            ("0301170002", "peis/reports", Some("named")),
            ("03", "peis/reports", Some("named")),
            ("0301170003", "lab/reports", Some("of-a-stream")),
            ("0301170003", "pacs/images", Some("of-a-source")),
            ("0301170003", "peis/reports", None),
        ] {
            assert_eq!(lanes.of(&key(number), stream), lane, "{number} of {stream}");
        }
        let item = EntityKey::new(EntityType::ExamItem, "main:peis:1");
        assert_eq!(lanes.of(&item, "peis/items"), Some("of-a-kind"));
        assert_eq!(Lanes::default().of(&item, "peis/items"), None);
    }

    #[test]
    fn a_share_is_about_as_large_as_it_says_and_always_of_the_same_entities() {
        let lanes = |percent| Lanes(vec![LaneRule { percent: Some(percent), ..rule("next") }]);
        let taken = |percent: u32| -> Vec<usize> {
            let lanes = lanes(percent);
            (0..2_000).filter(|n| lanes.of(&key(&n.to_string()), "peis/reports").is_some()).collect()
        };
        assert!(taken(0).is_empty() && taken(100).len() == 2_000);
        let (five, ten) = (taken(5), taken(10));
        assert!((60..=140).contains(&five.len()), "{}", five.len());
        assert!(five.iter().all(|n| ten.contains(n)), "a larger share keeps those of the smaller one");
    }
}
