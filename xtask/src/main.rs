//! The project's own tasks: `cargo xtask --help` lists them.

mod bench;
mod browser;
mod built;
mod check;
mod deliveries;
mod fuzz;
mod instructions;
mod packages;
mod prometheus;
mod publish;
mod smoke;
mod stage;
mod test;
mod torture;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own tasks
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run all tests, the example `orders` once, and a short torture
    Test(test::Args),
    /// Make the pictures of the dashboard for the README, in docs/images
    Screenshots,
    /// Check format, lints, docs, packages, licences, bans and sources
    Check,
    /// Run the benches, with `--peers` also other crates, with `--engines` also other engines; further arguments go to `cargo bench`
    Bench(bench::Args),
    /// Count the instructions of calls, and compare them with the changelog's
    Instructions,
    /// Run the checks of arbitrary input under libFuzzer; needs nightly Rust and cargo-fuzz
    Fuzz(fuzz::Args),
    /// Print a file of deliveries for the example `orders`
    Deliveries(deliveries::Plan),
    /// Kill busy processes for minutes, and check every answer that their callers received
    Torture(torture::Args),
}

fn main() -> ExitCode {
    let done = match Args::parse().task {
        Task::Test(args) => test::run(&args),
        Task::Screenshots => browser::screenshots(),
        Task::Check => check::run(),
        Task::Bench(args) => bench::run(&args),
        Task::Instructions => instructions::check(),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Deliveries(plan) => deliveries::print(&plan),
        Task::Torture(args) => torture::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nxtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
