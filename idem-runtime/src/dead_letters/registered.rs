//! The functions that a service has registered: how a handler is called again, and how a message is
//! published.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::clock::BoxFuture;
use crate::json::Json;
use crate::protocol::DeadLetter;

/// One call of a handler with a letter's payload: its result as JSON, or its error's text.
pub(super) type Running = BoxFuture<'static, Result<Json, String>>;
pub(super) type Runner = Arc<dyn Fn(&str) -> Result<Running, String> + Send + Sync>;
pub(super) type Publisher =
    Arc<dyn Fn(DeadLetter) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// How handlers are called again, by their names in the ledger.
pub(crate) type Runners = Registered<Runner>;
/// How messages are published, by [`Origin::place`](crate::protocol::Origin::place).
pub(crate) type Publishers = Registered<Publisher>;

/// Functions by name.
pub(crate) struct Registered<F>(RwLock<HashMap<String, F>>);

impl<F> Default for Registered<F> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<F: Clone> Registered<F> {
    /// Registers a function; it replaces an earlier one.
    pub(super) fn insert(&self, name: String, function: F) {
        self.0.write().insert(name, function);
    }

    /// Returns the function of this name.
    pub(super) fn get(&self, name: &str) -> Option<F> {
        self.0.read().get(name).cloned()
    }
}
