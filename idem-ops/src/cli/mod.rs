//! The command `idem`: what people and scripts do with dead letters from a terminal.
//!
//! It asks a running service through its JSON API, or opens a folder that none holds with the same
//! [`Service`](crate::service::Service); `target` hides which. Each command is a file; all of them answer through
//! `out`, where nothing that a key or an error text holds can steer a terminal.
//!
//! A question to an open ledger is a variant of `args::Ledger`. What opens it in a way of its own,
//! as `copy`, `doctor` and `watch` do, is a variant of `args::Ask`.

mod args;
mod ask;
mod copy;
mod dlq;
mod doctor;
mod editor;
mod explain;
mod generate;
mod out;
mod problem;
mod progress;
mod shown;
mod stats;
mod target;
mod tls;
mod watch;

use std::process::ExitCode;

use clap::Parser;

use args::{Ask, Cli, Ledger};
use out::Out;
use problem::{Exit, Problem};
use target::Where;

/// Runs the command that this process was started with. The exit code is 0 when all was done, 1
/// when something failed or is wrong, 2 when the arguments cannot be used, 3 when the service
/// cannot be reached or another process holds the folder.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // A script may have passed on what a letter holds, and clap would show it as it is.
        Err(error)
            if std::env::args_os().any(|word| shown::steers_any(&word.to_string_lossy())) =>
        {
            out::note(&error.to_string());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage as u8));
        }
        Err(error) => error.exit(),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            out::note(&format!("idem: no threads to work with: {error}"));
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
        Ask::Completions { shell } => generate::completions(shell, out),
        Ask::Man { dir } => generate::man(dir.as_deref(), out),
        // It opens the place itself: that it cannot be opened is what it is for.
        Ask::Doctor => doctor::run(Where::of(&place)?, &place, out).await,
        Ask::Copy { to } => copy::run(Where::of(&place)?, &to, out).await,
        Ask::Watch(how) => watch::run(how, &place, out).await,
        Ask::Ledger(command) => {
            let target = Where::of(&place)?.open(&place).await?;
            let done = match command {
                Ledger::Dlq(what) => dlq::run(what, target.as_ref(), out).await,
                Ledger::Explain(what) => explain::run(&what, target.as_ref(), out).await,
                Ledger::Stats => stats::run(target.as_ref(), out).await,
            };
            // Given back whatever came of it; the first trouble is the one to tell.
            let closed = target.close().await;
            done.and(closed)
        }
    }
}
