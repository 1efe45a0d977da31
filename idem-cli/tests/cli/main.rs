//! The command `idem` as people and scripts use it: the real program, real folders, a real service
//! over HTTP.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that cannot go on fails its test"
)]

mod backup;
mod doctor;
mod editing;
mod erasing;
mod letters;
mod many;
mod numbers;
mod pauses;
mod publish;
mod redacted;
mod reused;
mod rules;
mod served;
mod service;
mod support;
mod terminal;
mod usage;
mod wait;
