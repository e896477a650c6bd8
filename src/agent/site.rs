//! The composer of the store, which another configuration may replace.

use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, Utc};

use crate::mapping::Site;
use crate::model::dictionary::{Compared, Dictionary};
use crate::model::guard::{Change, Guards};
use crate::model::{Compose, EntityKey, EntityType, Finding, Held, Outcome, Part};

/// A site that can be another one from the next transaction on.
pub(super) struct LiveSite(RwLock<Arc<Site>>);

impl LiveSite {
    pub(super) fn new(site: Site) -> LiveSite {
        LiveSite(RwLock::new(Arc::new(site)))
    }

    pub(super) fn put(&self, site: Site) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(site);
    }

    fn now(&self) -> Arc<Site> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Compose for LiveSite {
    fn compose(&self, key: &EntityKey, parts: &[Part<'_>]) -> Outcome {
        self.now().compose(key, parts)
    }

    fn doubt_change(&self, key: &EntityKey, before: &[u8], after: &[u8]) -> Option<Held> {
        self.now().doubt_change(key, before, after)
    }

    fn told_by_release(&self, key: &EntityKey, before: &[u8], after: &[u8]) -> Option<Vec<u8>> {
        self.now().told_by_release(key, before, after)
    }

    fn guards(&self, stream: &str) -> Option<Guards> {
        self.now().guards(stream)
    }

    fn doubt_changes(&self, stream: &str, changes: &[Change<'_>], total: usize) -> Vec<Finding> {
        self.now().doubt_changes(stream, changes, total)
    }

    fn compares(&self, entity: EntityType, stream: &str) -> bool {
        self.now().compares(entity, stream)
    }

    fn compare(&self, key: &EntityKey, parts: &[(String, Vec<u8>)], dictionary: &dyn Dictionary) -> Compared {
        self.now().compare(key, parts, dictionary)
    }

    fn with_issues(&self, key: &EntityKey, data: &[u8], findings: &[Finding]) -> Option<Vec<u8>> {
        self.now().with_issues(key, data, findings)
    }

    fn is_news(&self, before: Option<&[u8]>, after: &[u8], now: DateTime<Utc>) -> bool {
        self.now().is_news(before, after, now)
    }
}
