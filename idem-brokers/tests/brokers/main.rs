//! The causes of duplicates, each on real brokers that the tests start.
//!
//! The tests of a broker that is not installed are listed as ignored, and fail with `CI=true`.
//! `cargo xtask test` installs brokers where it can.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that cannot go on fails its test"
)]

mod broker;
mod child;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
mod readme;
#[cfg(feature = "redis")]
mod redis;
mod scenarios;
mod service;
mod shop;
mod storm;
mod watched;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    // `RUST_LOG=idem_brokers=debug` shows what a failing test was doing.
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    if let Some(task) = child::Task::own() {
        #[cfg(feature = "redis")]
        task.run::<redis::Streams>();
        #[cfg(feature = "nats")]
        task.run::<nats::Subject>();
        #[cfg(feature = "rabbitmq")]
        task.run::<rabbitmq::Queue>();
        #[cfg(feature = "kafka")]
        task.run::<kafka::Mock>();
        #[cfg(feature = "kafka")]
        task.run::<kafka::Real>();
        return ExitCode::SUCCESS;
    }
    let mut tests: Vec<Trial> = Vec::new();
    #[cfg(feature = "redis")]
    tests.extend(scenarios::all::<redis::Streams>());
    #[cfg(feature = "nats")]
    tests.extend(nats::all());
    #[cfg(feature = "rabbitmq")]
    tests.extend(rabbitmq::all());
    #[cfg(feature = "kafka")]
    tests.extend(kafka::all());
    let names = tests.iter().map(|test| test.name().to_owned()).collect();
    tests.push(Trial::test(
        "readme::each_cell_of_the_table_is_a_test",
        move || readme::each_cell_is_a_test(&names),
    ));
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}
