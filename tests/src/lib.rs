//! Nothing but the attribute's documentation, so that its examples are tried where the runtime is known.
#![doc = include_str!("../../idem-macros/src/idempotent.md")]
