//! The guides, so that their examples are tested with the runtime and its testing tools at hand.
//! `README.md` is tested as the documentation of `idem-runtime`.

#[doc = include_str!("../../idem-macros/src/idempotent.md")]
mod attribute {}

#[doc = include_str!("../../README.zh-CN.md")]
mod readme_in_chinese {}

#[doc = include_str!("../../docs/changing-a-handler.md")]
mod changing_a_handler {}

#[doc = include_str!("../../docs/guarantees.md")]
mod guarantees {}

#[doc = include_str!("../../docs/dead-letters.md")]
mod dead_letters {}

#[doc = include_str!("../../docs/brokers.md")]
mod brokers {}

#[doc = include_str!("../../docs/outages.md")]
mod outages {}

#[doc = include_str!("../../docs/outbox.md")]
mod outbox {}

#[doc = include_str!("../../docs/monitoring.md")]
mod monitoring {}

#[doc = include_str!("../../docs/operations.md")]
mod operations {}

#[doc = include_str!("../../docs/testing.md")]
mod testing {}
