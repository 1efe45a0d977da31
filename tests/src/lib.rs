//! Nothing but what is written about idem, so that its examples are tried where the runtime is
//! known.

#[doc = include_str!("../../idem-macros/src/idempotent.md")]
mod attribute {}

#[doc = include_str!("../../README.md")]
mod readme {}

#[doc = include_str!("../../README.zh-CN.md")]
mod readme_in_chinese {}
