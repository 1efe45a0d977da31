//! Panics that were caught.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Does what the user's code does outside of an attempt. A panic there is the message's trouble and
/// not its caller's: one that unwinds is recorded nowhere, and its message comes again for ever.
pub(crate) fn caught(work: &mut dyn FnMut()) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| text(&*panic))
}

/// A panic's message.
pub(crate) fn text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
