//! `cargo xtask test`: runs all tests.

use std::env;

use idem_test_support::servers::{Kind, Needs, POSTGRES, RABBITMQ, Server};

use crate::built;
use crate::instructions;
use crate::packages;
use crate::prometheus;
use crate::smoke;
use crate::stage::{Stage, has_cargo};
use crate::torture;

/// Not `--all-targets`, which would run the benches too, nor `--examples`, which would build each
/// example as a program of tests.
const TARGETS: [&str; 5] = [
    "--workspace",
    "--all-features",
    "--lib",
    "--bins",
    "--tests",
];

/// Which tests to run
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Also run the tests on brokers that take minutes to build: `--with kafka`
    #[arg(long, value_enum, value_delimiter = ',')]
    with: Vec<built::Name>,
    /// Run only those
    #[arg(long, requires = "with")]
    only: bool,
}

pub(crate) fn run(Args { with, only }: &Args) -> anyhow::Result<()> {
    if *only {
        return built::run(with);
    }
    let mut missing = packages::provide(&packages::ALL)?;
    missing.extend(built::missed(with));
    let runner: &[&str] = if has_cargo("nextest") {
        &["nextest", "run", "--no-fail-fast"]
    } else {
        &["test", "--no-fail-fast"]
    };
    // Their laws are plain tests, which cannot say that they are not run.
    let mut without = Vec::new();
    if !(packages::POSTGRES.is_there() && packages::PGBOUNCER.is_there()) {
        without.extend(["--exclude", "idem-postgres"]);
    }
    if !packages::REDIS.is_there() {
        without.extend(["--exclude", "idem-redis"]);
    }
    // Tests run them, and would build each within their deadlines.
    let examples = ["build", "--workspace", "--all-features", "--examples"];
    Stage::cargo("Examples", &[examples.as_slice(), &without].concat()).run()?;
    let tests = Stage::cargo(
        "Unit, integration and ui tests",
        &[runner, TARGETS.as_slice(), &without].concat(),
    );
    let shared = [&RABBITMQ, &POSTGRES].map(|kind| (kind, shared(kind)));
    let started = shared
        .iter()
        .filter_map(|(kind, server)| Some((kind, server.as_ref()?)));
    started
        .fold(tests, |tests, (kind, server)| {
            tests.address(kind.variable, server.address())
        })
        .run()?;
    // `--doc` overrides `doctest = false`: idem-tests has the attribute's examples, which need the
    // runtime.
    Stage::cargo(
        "Doc tests",
        &[
            "test",
            "--workspace",
            "--exclude",
            "idem-macros",
            "--all-features",
            "--doc",
        ],
    )
    .run()?;
    if packages::PROMETHEUS.is_there() {
        prometheus::check()?;
    }
    if packages::VALGRIND.is_there() {
        instructions::check()?;
    }
    smoke::run()?;
    torture::short(packages::POSTGRES.is_there())?;
    built::run(with)?;
    if missing.is_empty() {
        println!("\nAll tests passed.");
    } else {
        println!("\nAll tests passed. Not run:\n- {}", missing.join("\n- "));
    }
    Ok(())
}

/// Starts a server for all tests that do not kill it, because nextest runs each test as a process.
/// If it does not start, the tests themselves fail.
fn shared(kind: &'static Kind) -> Option<Server> {
    if env::var_os(kind.variable).is_some() {
        return None;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .ok()?;
    runtime.block_on(Server::start(kind, Needs::Any)).ok()
}
