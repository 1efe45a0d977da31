//! The process that `cargo xtask torture` kills: `tortured DIR`. Its commands come on stdin, what
//! happens goes to stdout, a line of JSON each.

#![expect(
    clippy::expect_used,
    reason = "a process that cannot do its part is a fault that the torturer sees"
)]

mod body;
mod caller;
mod handlers;
mod operator;
mod say;
mod table;
// The one description of the lines, read by both sides.
#[path = "../../../../xtask/src/torture/wire.rs"]
mod wire;

use std::io::BufRead;
use std::path::Path;

use idem_runtime::Idem;
use idem_runtime::protocol::RecordId;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use say::{say, trouble};
use wire::{Command, Event};

/// A ledger of 100,000 messages fits, and a kill does not have to write a large cache first.
const CACHE_BYTES: u64 = 64 << 20;

#[tokio::main(worker_threads = 4)]
async fn main() {
    let folder = std::env::args().nth(1).expect("tortured DIR");
    let folder = Path::new(&folder);
    be_quiet();
    table::read(&folder.join("table"));
    let idem = match Idem::builder()
        .cache(CACHE_BYTES)
        .open(folder.join("ledger"))
    {
        Ok(idem) => idem,
        Err(error) => return trouble(format!("the ledger cannot be opened: {error}")),
    };
    idem.install().expect("the only one");
    say(&Event::Opened);
    let watching = tokio::spawn(operator::watch(idem.dead_letters().watch()));
    let mut commands = commands();
    let mut calls = JoinSet::new();
    while let Some(command) = commands.recv().await {
        match command {
            Command::Call(call) => drop(calls.spawn(caller::make(call))),
            // Beside the calls, as a person would.
            Command::Operate { seed, kills } => {
                drop(calls.spawn(operator::operate(idem.clone(), seed, kills)))
            }
            Command::Letters => operator::say_letters(&idem).await,
            Command::Record { n, handler } => {
                operator::say_record(&idem, n, &RecordId::new(handler.name(), n.to_string())).await;
            }
            Command::Close => {
                while calls.join_next().await.is_some() {}
                match idem.close().await {
                    Ok(()) => say(&Event::Closed),
                    Err(error) => trouble(format!("the ledger cannot be closed: {error}")),
                }
                return;
            }
        }
        while calls.try_join_next().is_some() {}
    }
    // Nobody is there any more.
    watching.abort();
    std::process::exit(1);
}

/// The commands of stdin, which a thread of its own reads.
fn commands() -> mpsc::UnboundedReceiver<Command> {
    let (give, commands) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            let command = serde_json::from_str(&line).expect("a command of the torturer's");
            if give.send(command).is_err() {
                return;
            }
        }
    });
    commands
}

/// Planned panics and aborts leave no text and no core.
fn be_quiet() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload().downcast_ref::<&str>() != Some(&body::PLANNED) {
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
