//! Warns of `redact(…)` paths that the arguments' types do not have: such a path hides nothing.
//!
//! JSON shows only the fields that one message has. A type's `Serialize` also names the fields that
//! it leaves out, which tells a misspelt path from one whose part is absent.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use parking_lot::Mutex;
use serde::Serialize;

use super::step;
use super::type_path::{Seen, follow};

/// What the calls of one handler have shown of its paths.
///
/// A path through an `Option` or a list ends where that is empty, so the calls 1, 2, 4, 8 and so on
/// are checked until every path has been followed to its end.
#[derive(Debug)]
pub(crate) struct Spelling {
    calls: AtomicU32,
    settled: AtomicBool,
    known: Mutex<Vec<&'static str>>,
}

impl Spelling {
    pub(crate) const fn new() -> Self {
        Self {
            calls: AtomicU32::new(0),
            settled: AtomicBool::new(false),
            known: Mutex::new(Vec::new()),
        }
    }

    /// Returns whether this call is to be checked.
    pub(crate) fn is_due(&self) -> bool {
        let calls = self.calls.load(Relaxed);
        !self.settled.load(Relaxed) && (calls == 0 || calls.is_power_of_two())
    }

    /// Counts a call.
    pub(crate) fn called(&self) {
        if !self.settled.load(Relaxed) {
            self.calls.fetch_add(1, Relaxed);
        }
    }

    /// Follows the paths into an argument, and logs each that leads nowhere, once.
    pub(crate) fn warn_unmatched<T: Serialize + ?Sized>(
        &self,
        handler: &str,
        paths: &'static [&'static str],
        argument: &str,
        value: &T,
    ) {
        for path in paths {
            let (first, Some(rest)) = step(path) else {
                continue;
            };
            if first != argument || self.known.lock().contains(path) {
                continue;
            }
            // A panic of `Serialize` is reported where the argument itself is written.
            let look = std::panic::AssertUnwindSafe(|| follow(rest, value));
            let seen = std::panic::catch_unwind(look).unwrap_or(Seen::Absent);
            if let Seen::Absent = seen {
                continue;
            }
            let mut known = self.known.lock();
            known.push(path);
            if paths
                .iter()
                .all(|path| !path.contains('.') || known.contains(path))
            {
                self.settled.store(true, Relaxed);
            }
            drop(known);
            let Seen::NoSuchField { of, name, like } = seen else {
                continue;
            };
            if let Some(like) = like {
                tracing::warn!(
                    handler,
                    path,
                    "nothing to redact: `{of}` has no field `{name}` in its JSON; did you mean `{like}`?"
                );
            } else {
                // It may be a variant of an enum whose JSON does not say so.
                tracing::info!(
                    handler,
                    path,
                    "nothing to redact: `{of}` has no field `{name}` in its JSON this time"
                );
            }
        }
    }
}
