#![doc = include_str!("../README.md")]

mod error;
mod failpoints;
mod log;
mod process;
mod run;
mod walk;
mod walker;

pub use failpoints::{Crash, CrashKind, FAILPOINTS};
pub use log::{Entry, Event, Start};
pub use process::Process;
pub use run::Run;
pub use walk::{Walk, everywhere};
