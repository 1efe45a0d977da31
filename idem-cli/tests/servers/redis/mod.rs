//! On Redis.

mod commands;
mod doctor;
mod loss;
mod migrate;

use idem_redis::Redis;
use idem_runtime::Idem;
use idem_test_support::servers::{REDIS, Server};
use libtest_mimic::Trial;
use redis::{Client, FromRedisValue};

use crate::support::At;

pub(crate) fn all() -> Vec<Trial> {
    let mut all = crate::tests!["redis" &REDIS;
        Own commands::letters_are_looked_at_and_changed_beside_a_service,
        Own commands::no_ledger_is_made_and_no_password_is_shown,
        Own doctor::says_what_is_promised,
        Own doctor::finds_what_breaks_a_promise,
        Own doctor::says_what_it_cannot_verify,
        Own loss::is_found_and_a_person_agrees,
        Own migrate::a_folder_goes_over,
        Own migrate::one_that_is_killed_goes_on,
        Own migrate::what_is_in_use_is_refused,
    ];
    all.extend(migrate::to_postgres());
    all
}

/// Opens a ledger as a service does.
async fn service(address: &str) -> anyhow::Result<Idem> {
    Ok(Idem::builder().open_with(Redis::connect(address)).await?)
}

/// A place for the command.
fn at(server: &Server) -> At {
    At::Shared(server.address().to_owned())
}

/// Sends a command, written as in a shell without quotes.
async fn tell<T: FromRedisValue>(server: &Server, command: &str) -> anyhow::Result<T> {
    let mut words = command.split(' ');
    let mut asked = redis::cmd(words.next().unwrap_or_default());
    for word in words {
        asked.arg(word);
    }
    let client = Client::open(server.address())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    Ok(asked.query_async(&mut connection).await?)
}
