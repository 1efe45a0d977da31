//! The causes of duplicates on a real RocketMQ, with the scenarios of all brokers.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that cannot go on fails its test"
)]

#[path = "../../../tests/brokers/broker.rs"]
mod broker;
#[path = "../../../tests/brokers/child.rs"]
mod child;
mod remoting;
mod rocketmq;
#[path = "../../../tests/brokers/scenarios/mod.rs"]
mod scenarios;
#[path = "../../../tests/brokers/service.rs"]
mod service;
#[path = "../../../tests/brokers/shop.rs"]
mod shop;
#[path = "../../../tests/brokers/storm.rs"]
mod storm;
#[path = "../../../tests/brokers/watched.rs"]
mod watched;

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    // `RUST_LOG=idem_brokers=debug,rocketmq_client_rust=info` shows what a failing test was doing.
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    if let Some(task) = child::Task::own() {
        task.run::<rocketmq::Topic>();
        return ExitCode::SUCCESS;
    }
    libtest_mimic::run(&Arguments::from_args(), scenarios::all::<rocketmq::Topic>()).exit_code()
}
