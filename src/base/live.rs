//! A value that changes while the process runs: each reader takes it as it is at that moment.

use std::sync::{Arc, PoisonError, RwLock};

/// Handle of the value; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Live<T>(Arc<RwLock<T>>);

impl<T: Clone> Live<T> {
    /// A value that nobody has changed yet.
    pub fn new(value: T) -> Self {
        Live(Arc::new(RwLock::new(value)))
    }

    /// The value of now.
    pub fn now(&self) -> T {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Changes the value for all who ask from now on.
    pub fn set(&self, value: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = value;
    }
}
