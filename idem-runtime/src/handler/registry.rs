//! Which function has which handler name.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64};

use foldhash::fast::RandomState;
use parking_lot::RwLock;

use super::Handler;
use crate::error::Error;
use crate::metrics::Meters;
use crate::pause::{Gate, Pauses};

/// The functions that this process has called, by name. A name has one function: two would mix
/// their records.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    named: RwLock<HashMap<Arc<str>, Arc<RegisteredHandler>, RandomState>>,
}

/// A function and its name, shared by its calls.
#[derive(Debug)]
pub(crate) struct RegisteredHandler {
    pub(crate) name: Arc<str>,
    pub(crate) handler: &'static Handler,
    pub(crate) meters: Meters,
    /// Whether one of its results was read back from its JSON.
    pub(crate) reads_back: AtomicBool,
    /// When a recorded result that does not decode was last logged, in milliseconds since 1970.
    pub(crate) undecodable_logged: AtomicI64,
    /// The paths of `redact(…)`, which are in each of its records.
    pub(crate) redacted: Option<Arc<[String]>>,
    /// Whether its calls may run.
    pub(crate) gate: Arc<Gate>,
}

impl Registry {
    /// Returns the function of this name, if this process has called it.
    pub(crate) fn get(&self, name: &str) -> Option<&'static Handler> {
        self.named.read().get(name).map(|named| named.handler)
    }

    /// Returns the names of today of all functions, some more than once.
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        let named = self.named.read();
        named.values().map(|it| Arc::clone(&it.name)).collect()
    }

    /// Returns the name of today of the function that has or had this one.
    pub(crate) fn today(&self, name: &str) -> Option<Arc<str>> {
        let named = self.named.read();
        named.get(name).map(|named| Arc::clone(&named.name))
    }

    /// Returns the function of this name, and registers it at its first call. Fails if another
    /// function has the name, now or as an earlier one.
    pub(crate) fn get_or_register(
        &self,
        name: &str,
        handler: &'static Handler,
        pauses: &Pauses,
    ) -> Result<Arc<RegisteredHandler>, Error> {
        let known = self.named.read().get(name).cloned();
        let named = match known {
            Some(named) => named,
            None => self.register(name, handler, pauses)?,
        };
        is_free(name, named.handler, handler).map(|()| named)
    }

    fn register(
        &self,
        name: &str,
        handler: &'static Handler,
        pauses: &Pauses,
    ) -> Result<Arc<RegisteredHandler>, Error> {
        let name: Arc<str> = name.into();
        let meters = Meters::new(Arc::clone(&name));
        let paths = || handler.redact.iter().map(ToString::to_string).collect();
        let redacted = (!handler.redact.is_empty()).then(paths);
        let reads_back = AtomicBool::new(false);
        let new = Arc::new(RegisteredHandler {
            name: Arc::clone(&name),
            handler,
            meters,
            reads_back,
            undecodable_logged: AtomicI64::new(i64::MIN),
            redacted,
            gate: pauses.gate(&name),
        });
        let mut named = self.named.write();
        for was in handler.was {
            named
                .get(*was)
                .map_or(Ok(()), |first| is_free(was, first.handler, handler))?;
        }
        for was in handler.was {
            named
                .entry((*was).into())
                .or_insert_with(|| Arc::clone(&new));
        }
        Ok(Arc::clone(named.entry(name).or_insert(new)))
    }
}

/// Checks that both functions of a name are the same one.
fn is_free(name: &str, first: &'static Handler, second: &'static Handler) -> Result<(), Error> {
    if std::ptr::eq(first, second) {
        return Ok(());
    }
    Err(Error::NameTaken {
        handler: name.to_owned(),
        first: format!("{}:{}", first.file, first.line),
        second: format!("{}:{}", second.file, second.line),
    })
}
