//! The process that `cargo xtask torture` kills: `tortured NUMBER DIR`, or `tortured NUMBER URL`. It
//! reads commands from stdin and writes events to stdout, one line of JSON each.

#![expect(
    clippy::expect_used,
    reason = "the torturer sees the panic of a process as a fault"
)]

mod body;
mod caller;
mod emit;
mod handlers;
mod ledger;
mod operator;
mod table;
// Both sides compile the same file.
#[path = "../../../xtask/src/torture/event.rs"]
mod event;

use std::io::BufRead;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use emit::{emit, emit_and_die, emit_trouble};
use event::{Command, Event};

#[tokio::main(worker_threads = 4)]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let number = arguments.next().and_then(|number| number.parse().ok());
    emit::number(number.expect("tortured NUMBER DIR"));
    let place = arguments.next().expect("tortured NUMBER DIR");
    be_quiet();
    let Some(idem) = ledger::open(&place).await else {
        return;
    };
    idem.install().expect("the only one");
    emit(&Event::Opened);
    let watching = tokio::spawn(operator::watch(idem.dead_letters().watch()));
    let mut commands = commands();
    let mut calls = JoinSet::new();
    while let Some(command) = commands.recv().await {
        match command {
            Command::Call(call) => drop(calls.spawn(caller::make(idem.clone(), call))),
            // Beside the calls, as an operator would.
            Command::Operate { seed, kills } => {
                drop(calls.spawn(operator::operate(idem.clone(), seed, kills)));
            }
            Command::Letters => operator::emit_letters(&idem).await,
            Command::Record { n, handler } => operator::emit_record(&idem, n, handler).await,
            Command::Close => {
                while calls.join_next().await.is_some() {}
                match idem.close().await {
                    Ok(()) => emit(&Event::Closed),
                    Err(error) if place.starts_with("postgres://") => {
                        let text = format!("{error:#}");
                        emit_and_die(&Event::Away { text });
                    }
                    Err(error) => emit_trouble(format!("the ledger cannot be closed: {error:#}")),
                }
                return;
            }
        }
        while calls.try_join_next().is_some() {}
    }
    // The torturer has closed the pipe.
    watching.abort();
    std::process::exit(1);
}

/// Returns the commands of stdin, which a thread of its own reads.
fn commands() -> mpsc::UnboundedReceiver<Command> {
    let (give, commands) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            let command = serde_json::from_str(&line).expect("a command of the torturer");
            if give.send(command).is_err() {
                return;
            }
        }
    });
    commands
}

/// Makes planned panics print nothing, and aborts leave no core file.
fn be_quiet() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str() != Some(body::PLANNED) {
            usual(panic);
        }
    }));
    let none = rustix::process::Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(rustix::process::Resource::Core, none)
        .expect("a limit can be lowered");
}
