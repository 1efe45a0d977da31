//! What goes wrong around a ledger on PostgreSQL, on real servers that the tests start and kill.
//!
//! Whatever it is: every order stands once in the business table, every answer to it is the same,
//! and no body starts once its order was answered.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that cannot go on fails its test"
)]

mod bounced;
mod child;
mod contended;
mod crowded;
mod cut;
mod exhausted;
mod killed;
mod load;
mod promoted;
mod secured;
mod shop;
mod stalled;
mod stopped;
mod told;
mod unreachable;

use std::process::ExitCode;
use std::sync::Arc;

use idem_test_support::servers::{Needs, POSTGRES, Server, trial};
use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    // `RUST_LOG=idem_runtime=debug` shows what a failing test was doing.
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    if let Some(task) = child::Task::own() {
        task.run();
        return ExitCode::SUCCESS;
    }
    let tests = [
        killed::all(),
        cut::all(),
        stalled::all(),
        unreachable::all(),
        exhausted::all(),
        contended::all(),
        promoted::all(),
        crowded::all(),
        stopped::all(),
        bounced::all(),
        secured::all(),
        told::all(),
    ];
    let tests = tests.into_iter().flatten().collect();
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}

/// Returns a test that has a server of its own.
fn test<F, T>(name: &'static str, test: F) -> Trial
where
    F: FnOnce(Arc<Server>) -> T + Send + 'static,
    T: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    trial(name, &POSTGRES, Needs::Own, test)
}
