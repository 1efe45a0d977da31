//! The command `idem` on ledgers that services share, on real servers.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that cannot go on fails its test"
)]

mod moved;
mod postgres;
mod redis;
#[path = "../cli/served.rs"]
#[allow(
    dead_code,
    reason = "the other tests of the command use the rest of it"
)]
mod served;
#[path = "../cli/support.rs"]
#[allow(
    dead_code,
    reason = "the other tests of the command use the rest of it"
)]
mod support;

use std::process::ExitCode;

use libtest_mimic::Arguments;
use serde_json::Value;

/// Returns the trials of functions on servers of a kind.
macro_rules! tests {
    ($server:literal $kind:expr; $($needs:ident $module:ident::$name:ident,)*) => {
        vec![$(idem_test_support::servers::trial(
            concat!($server, "::", stringify!($module), "::", stringify!($name)),
            $kind,
            idem_test_support::servers::Needs::$needs,
            $module::$name,
        )),*]
    };
}
pub(crate) use tests;

fn main() -> ExitCode {
    let tests = [postgres::all(), redis::all()];
    let tests = tests.into_iter().flatten().collect();
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}

/// Returns the kinds of the findings of `idem doctor --json`.
fn kinds(checkup: &Value) -> Vec<&str> {
    let findings = checkup["findings"].as_array().unwrap().iter();
    findings
        .map(|finding| finding["kind"].as_str().unwrap())
        .collect()
}

/// Returns whether one of the promises of `idem doctor --json` says this.
fn promises(checkup: &Value, part: &str) -> bool {
    let promised = checkup["promised"].as_array().unwrap().iter();
    promised
        .map(|said| said.as_str().unwrap())
        .any(|said| said.contains(part))
}
