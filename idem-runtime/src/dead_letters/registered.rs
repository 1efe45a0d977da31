//! The functions that a service has registered: how a handler is called again, and how a message is
//! published.

use std::any::Any;
use std::collections::HashMap;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures_util::FutureExt;
use parking_lot::RwLock;
use serde::Serialize;

use crate::call::panic;
use crate::clock::BoxFuture;
use crate::json::Json;
use crate::json::problem::json_problem;
use crate::protocol::DeadLetter;

/// One call of a handler with a letter's payload: its result as JSON, or its error's text.
pub(super) type Running = BoxFuture<'static, Result<Json, String>>;
/// Begins such a call with the JSON of its argument or the bytes of its message, or returns why they
/// do not fit.
pub(super) type Runner = Arc<dyn Fn(&[u8]) -> Result<Running, String> + Send + Sync>;
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

    /// Returns the names.
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.read().keys().cloned().collect()
    }

    /// Returns the function of this name.
    pub(super) fn get(&self, name: &str) -> Option<F> {
        self.0.read().get(name).cloned()
    }
}

/// Begins a call of a handler for a letter. A panic is an error of the run: the call has recorded its
/// own outcome.
pub(super) fn running<F, R, E>(call: impl FnOnce() -> F) -> Running
where
    F: Future<Output = Result<R, E>> + Send + 'static,
    R: Serialize,
    E: Display,
{
    let running = catch_unwind(AssertUnwindSafe(call));
    Box::pin(async move {
        let running =
            AssertUnwindSafe(running.map_err(|caught| panicked(&*caught))?).catch_unwind();
        let result = running
            .await
            .map_err(|caught| panicked(&*caught))?
            .map_err(|error| format!("{error:#}"))?;
        Json::from_serialize(&result)
            .map_err(|error| format!("its result is not JSON: {}", json_problem(&error)))
    })
}

fn panicked(caught: &(dyn Any + Send)) -> String {
    format!(
        "the function that calls the handler panicked: {}",
        panic::text(caught)
    )
}

/// Returns a publisher whose errors are texts.
pub(super) fn publisher<F, E>(
    publish: impl Fn(DeadLetter) -> F + Send + Sync + 'static,
) -> Publisher
where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Display,
{
    Arc::new(move |letter| {
        let publishing = publish(letter);
        Box::pin(async move { publishing.await.map_err(|error| format!("{error:#}")) })
    })
}
