//! What must hold for any input: each check takes bytes, and panics if something does not hold.
//!
//! The package's tests run the checks on every file in `fuzz/corpus` and on small changes of them;
//! `cargo xtask fuzz` runs them under libFuzzer.

mod envelope;
mod fields;
mod fingerprint;
mod handler;
mod key;
mod records;

// A crate for procedural macros exports nothing else, so the attribute's modules are compiled
// again.
#[path = "../../../idem-macros/src/args/mod.rs"]
mod args;
#[path = "../../../idem-macros/src/attempt.rs"]
mod attempt;
#[path = "../../../idem-macros/src/attribute.rs"]
mod attribute;
#[path = "../../../idem-macros/src/check.rs"]
mod check;
#[path = "../../../idem-macros/src/each.rs"]
mod each;
#[path = "../../../idem-macros/src/errors.rs"]
mod errors;
#[path = "../../../idem-macros/src/expand.rs"]
mod expand;
#[path = "../../../idem-macros/src/item.rs"]
mod item;
#[path = "../../../idem-macros/src/leftover.rs"]
mod leftover;
#[path = "../../../idem-macros/src/params.rs"]
mod params;
#[path = "../../../idem-macros/src/pattern.rs"]
mod pattern;
#[path = "../../../idem-macros/src/redact.rs"]
mod redact;
#[path = "../../../idem-macros/src/resolve.rs"]
mod resolve;

pub use envelope::envelope;
pub use fingerprint::fingerprint;
pub use handler::handler;
pub use key::key;
pub use records::records;
