//! What goes wrong around a ledger on Redis, on real servers that the tests start and kill.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that cannot go on fails its test"
)]

mod disks;
mod letters;
mod lost;
mod promises;
mod shop;
mod trouble;

use std::process::ExitCode;
use std::sync::Arc;

use idem_test_support::servers::{Needs, REDIS, Server, trial};
use libtest_mimic::{Arguments, Trial};
use redis::{AsyncConnectionConfig, Client, FromRedisValue};

fn main() -> ExitCode {
    // `RUST_LOG=idem_runtime=debug` shows what a failing test was doing.
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let tests = [
        trouble::all(),
        lost::all(),
        promises::all(),
        disks::all(),
        letters::all(),
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
    trial(name, &REDIS, Needs::Own, test)
}

/// Sends a command, written as in a shell without quotes.
async fn tell<T: FromRedisValue>(server: &Server, command: &str) -> anyhow::Result<T> {
    let mut words = command.split(' ');
    let mut asked = redis::cmd(words.next().unwrap_or_default());
    for word in words {
        asked.arg(word);
    }
    let client = Client::open(server.address())?;
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let mut connection = client
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    Ok(asked.query_async(&mut connection).await?)
}
