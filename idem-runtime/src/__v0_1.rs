//! The items that only the attribute's expansion calls: the name carries the version, so that an
//! expansion of another version cannot compile against it by chance.

pub use crate::call::begin::{Begin, Unhandled, events, look, look_now};
pub use crate::call::{Call, found_existing, upgraded};
pub use crate::handler::Handler;
pub use crate::handler::bounds::{again, check, member};
pub use crate::message::CallBuilder;
