//! What goes wrong around a ledger on Redis, on real servers that the tests start and kill.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that cannot go on fails its test"
)]

mod cluster;
mod disks;
mod letters;
mod lost;
mod nodes;
mod promises;
mod secrets;
mod secured;
mod sentinel;
mod shop;
mod trouble;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use idem_test_support::servers::{Needs, REDIS, Server, trial};
use idem_test_support::within;
use libtest_mimic::{Arguments, Trial};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue};

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
        secured::all(),
        sentinel::all(),
        cluster::all(),
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
    ask(server, &written(command)).await
}

fn written(command: &str) -> Cmd {
    let mut words = command.split(' ');
    let mut asked = redis::cmd(words.next().unwrap_or_default());
    for word in words {
        asked.arg(word);
    }
    asked
}

async fn ask<T: FromRedisValue>(server: &Server, command: &Cmd) -> anyhow::Result<T> {
    Ok(command.query_async(&mut connect(server).await?).await?)
}

async fn connect(server: &Server) -> anyhow::Result<MultiplexedConnection> {
    let client = Client::open(server.address())?;
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    Ok(connecting.await?)
}

fn port(server: &Server) -> u16 {
    let port = server.address().rsplit(':').next();
    port.and_then(|port| port.parse().ok()).unwrap()
}

/// Asks again until the answer has this text. The server does not tell when it has, and one whose role
/// changes ends connections.
async fn says(server: &Server, command: &str, text: &str) -> anyhow::Result<()> {
    within(async {
        while !tell::<String>(server, command)
            .await
            .is_ok_and(|told| told.contains(text))
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    Ok(())
}

/// Lets a replica have all that its primary has, and the primary take no write any more.
async fn catches_up(replica: &Server, primary: &Server) -> anyhow::Result<()> {
    tell::<()>(primary, "CLIENT PAUSE 60000 WRITE").await?;
    let offset = |told: &str, name: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|offset| offset.trim().parse::<u64>().ok())
    };
    let primary = tell::<String>(primary, "INFO replication").await?;
    let until = offset(&primary, "master_repl_offset:");
    within(async {
        loop {
            let replica = tell::<String>(replica, "INFO replication").await?;
            if offset(&replica, "slave_repl_offset:") >= until {
                return Ok(());
            }
        }
    })
    .await
}

/// Ends replication, as a network does that breaks before the primary does.
async fn falls_behind(primary: &Server) -> anyhow::Result<()> {
    tell::<()>(primary, "ACL SETUSER default -psync -sync").await?;
    tell::<u64>(primary, "CLIENT KILL TYPE replica").await?;
    Ok(())
}
