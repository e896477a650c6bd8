//! Digests by which the agent and upstream compare what they have without sending it.
//!
//! A version is one line; the digest of many is the exclusive-or of their hashes, so that it does not depend on an
//! order and each side can keep it up to date. Versions are grouped by entity type, by the UTC day of the event's
//! `time`, and by the first bytes of the hash of their subject.

use sha2::{Digest as _, Sha256};

use super::Sequence;

/// A SHA-256.
pub type Hash = [u8; 32];

/// How many bytes of the subject's hash a group's prefix may have at most: far more than any number of entities needs.
pub const DEEPEST: usize = 8;

/// Where an entity's version is grouped: the SHA-256 of its subject.
pub fn place(subject: &str) -> Hash {
    Sha256::digest(subject).into()
}

/// The hash of one version: SHA-256 over `{subject}\n{sequence}\nsha256-{hex of the content hash}`.
pub fn leaf(subject: &str, sequence: Sequence, content: &Hash) -> Hash {
    Sha256::digest(format!("{subject}\n{sequence}\nsha256-{}", hex::encode(content))).into()
}

/// The days since 1970 (UTC) of a time in microseconds since 1970.
pub fn day_of(micros: i64) -> i64 {
    micros.div_euclid(86_400_000_000)
}

/// What a group of versions adds up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many.
    pub count: u64,
    /// The exclusive-or of their hashes; zero for none.
    pub digest: Hash,
}

impl Sum {
    /// Adds the version with this hash.
    pub fn add(&mut self, leaf: &Hash) {
        self.count += 1;
        for (sum, byte) in self.digest.iter_mut().zip(leaf) {
            *sum ^= byte;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of `docs/contract.md`, worked out by another program.
    #[test]
    fn digests_are_those_of_the_contract() {
        let first = leaf("exam_item/main:peis:A", Sequence(1_767_225_600_000_000), &Sha256::digest("{}").into());
        assert_eq!(hex::encode(first), "09a39972cdfb5dafd454d9d109e40340daaadad48eba3b2a2b7a703dbc9d2851");
        let second = leaf("exam_item/main:peis:B", Sequence(1_767_225_600_000_001), &Sha256::digest("{}").into());
        assert_eq!(hex::encode(second), "03b660f45412e23265ce6e11ca6146d1c3a21d415dc2a5d382ab0ce8ad0f77bb");
        let mut sum = Sum::default();
        sum.add(&first);
        sum.add(&second);
        assert_eq!(
            (sum.count, hex::encode(sum.digest)),
            (2, "0a15f98699e9bf9db19ab7c0c38545911908c795d3789ef9a9d17cd511925fea".to_owned())
        );
        assert_eq!(hex::encode(&place("exam_item/main:peis:A")[..2]), "b822");
        let mut other = Sum::default();
        other.add(&second);
        other.add(&first);
        assert_eq!(sum, other, "the order does not count");
    }

    #[test]
    fn days_begin_at_midnight_utc() {
        assert_eq!([day_of(-1), day_of(0), day_of(86_399_999_999), day_of(86_400_000_000)], [-1, 0, 0, 1]);
    }
}
