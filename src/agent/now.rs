//! What is in force at the moment, for tasks that live longer than a configuration.

use std::sync::{Arc, PoisonError, RwLock};

use crate::config::Config;
use crate::ops;

/// The configuration in force, and the state that is shown. Clones share them.
#[derive(Clone)]
pub struct Now(Arc<RwLock<(Arc<Config>, Arc<ops::State>)>>);

impl Now {
    pub(super) fn new(config: Arc<Config>, state: ops::State) -> Now {
        Now(Arc::new(RwLock::new((config, Arc::new(state)))))
    }

    pub(super) fn put(&self, config: Arc<Config>, state: ops::State) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = (config, Arc::new(state));
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// The state that is shown.
    pub fn state(&self) -> Arc<ops::State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }
}
