//! The command `idem`, for people and scripts that work with dead letters from a terminal.
//!
//! It asks the JSON API: of a running service over the network, or of a ledger that it opens itself,
//! a folder or a shared ledger, whose router it calls. Commands see one `target::Target` for all. Each
//! command is a file. Each answers through `out`, so that no key and no error text can steer a
//! terminal.
//!
//! A question to the API is a variant of `args::Ledger`. A command that opens its place itself, as
//! `accept-loss`, `backup`, `doctor`, `migrate`, `restore` and `watch` do, is a variant of `args::Command`.

// A command's future holds those of clients, which are nested deeper than the compiler's default.
#![recursion_limit = "256"]

mod accept_loss;
mod args;
mod backup;
mod dlq;
mod doctor;
mod editor;
mod erase;
mod explain;
mod format;
mod generate;
mod migrate;
mod out;
mod pauses;
mod problem;
mod progress;
mod prompt;
mod restore;
mod stats;
mod target;
mod watch;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command, Ledger};
use out::Out;
use problem::{Exit, Problem};
use target::Location;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // A script may pass on a letter's key or error, and clap would show it as it is.
        Err(error)
            if std::env::args_os().any(|word| format::steers_any(&word.to_string_lossy())) =>
        {
            out::note(&error.to_string());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage as u8));
        }
        Err(error) => error.exit(),
    };
    // It fails only where a provider is installed already, which does as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            out::note(&format!("idem: threads cannot be started: {error}"));
            return ExitCode::from(Exit::Failed as u8);
        }
    };
    match runtime.block_on(run(cli)) {
        Ok(()) | Err(Problem::ReaderGone) => ExitCode::SUCCESS,
        Err(Problem::Said(exit)) => ExitCode::from(exit as u8),
        Err(Problem::Told(exit, text)) => {
            out::note(&format!("idem: {text}"));
            ExitCode::from(exit as u8)
        }
    }
}

async fn run(cli: Cli) -> Result<(), Problem> {
    let Cli {
        place,
        json,
        command,
    } = cli;
    let out = Out::new(json);
    match command {
        Command::Completions { shell } => generate::completions(shell, out),
        Command::Man { dir } => generate::man(dir.as_deref(), out),
        // It opens the place itself, to say why one cannot be opened.
        Command::Doctor => doctor::run(Location::new(&place)?, &place, out).await,
        Command::AcceptLoss(how) => {
            accept_loss::run(how, Location::new(&place)?, &place, out).await
        }
        Command::Backup { to } => backup::run(Location::new(&place)?, to, &place, out).await,
        Command::Migrate(how) => migrate::run(how, &place, out).await,
        Command::Restore { from } => restore::run(&from, Location::new(&place)?, &place, out).await,
        Command::Watch(how) => watch::run(how, &place, out).await,
        Command::Ledger(command) => {
            let target = Location::new(&place)?.target(&place).await?;
            let done = match command {
                Ledger::Dlq(what) => dlq::run(what, &target, out).await,
                Ledger::Erase(message) => erase::run(message, &target, out).await,
                Ledger::Explain(what) => explain::run(&what, &target, out).await,
                Ledger::Pause(what) => pauses::pause(what, &target, out).await,
                Ledger::Pauses => pauses::list(&target, out).await,
                Ledger::Resume(what) => pauses::resume(what, &target, out).await,
                Ledger::Stats => stats::run(&target, out).await,
            };
            // The ledger is closed after a failure too; the first problem is reported.
            let closed = target.close().await;
            done.and(closed)
        }
    }
}
