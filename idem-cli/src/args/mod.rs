//! The arguments of the command.

mod dlq;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use idem_runtime::ledger::Engine;
use url::Url;

pub(crate) use dlq::{
    Discard, Dlq, Edit, Filter, List, Many, Reason, Redrive, Restore, Rule, RuleAction, Selection,
    SetRule, State,
};

use crate::problem::EXITS;
use crate::target::{LedgerPlace, LedgerUrl};

/// Look at the dead letters of a service that uses idem, and act on them
///
/// It asks a running service (`--url`, with the token in IDEM_TOKEN or in `--token-file`), opens a
/// folder that no service holds (`--data`), or a ledger on a server beside its services (`--ledger`).
#[derive(Debug, Parser)]
#[command(name = "idem", version, propagate_version = true, after_help = exits(), arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) place: Place,

    /// Answer as one JSON document, for programs
    #[arg(long, global = true, help_heading = None)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The ledger that is asked.
#[derive(Debug, Args)]
#[command(next_help_heading = "Which ledger")]
pub(crate) struct Place {
    /// The running service's dashboard, as `https://host/path` [env: IDEM_URL]
    #[arg(long, global = true, value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) url: Option<Url>,

    /// A data folder that no process holds [env: IDEM_DATA]
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) data: Option<PathBuf>,

    /// A ledger that services share, as `postgres://user@host/database` or `redis://host` [env:
    /// IDEM_LEDGER]
    ///
    /// Leave the password out: give it with the URL in IDEM_LEDGER, or for PostgreSQL in the variable
    /// PGPASSWORD or in ~/.pgpass. Through PgBouncer, end the URL with `?pgbouncer=true`.
    #[arg(long, global = true, value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) ledger: Option<LedgerUrl>,

    /// With `--ledger`: the schema that idem's tables are in, or the ledger's name on a Redis
    #[arg(long, global = true, value_name = "NAME", default_value = "idem")]
    pub(crate) schema: String,

    /// With `--url`: a file that holds the token, in place of the variable IDEM_TOKEN
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) token_file: Option<PathBuf>,

    /// With `--url`: certificate authorities to trust beside the system's, as PEM
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) ca_file: Option<PathBuf>,

    /// With `--url`: send the token unencrypted to another machine
    #[arg(long, global = true)]
    pub(crate) plain_http: bool,

    /// With `--url`: how many seconds one answer may take
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) timeout: u64,

    /// With `--data`: how many seconds to wait for the process that holds the folder
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) wait: u64,

    /// With `--data` or `--ledger`: in whose name letters are changed [default: USER]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) by: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Ledger(Ledger),
    /// Let services go on after their Redis lost what it had acknowledged (`--ledger`)
    ///
    /// `idem doctor` says whether it did: services are refused then. First see whether the server's data
    /// can be brought back. What is gone runs again when it is delivered again.
    AcceptLoss(AcceptLoss),
    /// Copy the ledger, and check that the copy is whole
    ///
    /// A running service (`--url`) makes the copy while it works, in the folder that it names
    /// (`Service::backups_in`). A folder that no process holds (`--data`) is copied to DIR.
    Backup {
        /// With `--data`: the copy, an empty folder or one that does not exist yet
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        to: Option<PathBuf>,
    },
    /// Check the ledger, and say what is wrong and what to do
    Doctor,
    /// Alert people to the dead letters of a folder or a shared ledger until it is stopped: the monitor
    /// as a program
    Watch(Watch),
    /// Copy a ledger that no service uses into an empty one: a folder, or one on a server
    ///
    /// Results, budgets, letters, the outbox, issued keys and other notes go over; the source stays as
    /// it is. A copy that was cut off goes on when it is run again.
    Migrate(Migrate),
    /// Put a backup in the place of a folder that was lost (`--data`), and say what may run again
    Restore {
        /// The backup
        #[arg(value_name = "BACKUP", value_hint = ValueHint::DirPath)]
        from: PathBuf,
    },
    /// Print a shell's completions
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the man page
    Man {
        /// Write a page for each command into this folder instead
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        dir: Option<PathBuf>,
    },
}

/// A question to an open ledger.
#[derive(Debug, Subcommand)]
pub(crate) enum Ledger {
    /// The dead letters: look at them and act on them
    #[command(subcommand)]
    Dlq(Dlq),
    /// Erase what the ledger keeps of one message: its result, and the content of its letters
    ///
    /// The message stays settled, so duplicates do not run until its time to live has passed; an open
    /// letter is discarded. The answer says what is not reached, such as backups.
    Erase(Erase),
    /// What happened to one message: its record, its letters, every attempt and act in order of
    /// time
    Explain(Explain),
    /// Pause a handler on all its processes, until it is resumed: its messages wait
    Pause(NewPause),
    /// The handlers that are paused: why, since when, and by whom
    Pauses,
    /// Lift the pause of a handler, whatever began it
    Resume(OneHandler),
    /// Calls, attempts, latency, open letters, and the ledger's size
    Stats,
}

#[derive(Debug, Args)]
pub(crate) struct NewPause {
    #[command(flatten)]
    pub(crate) what: OneHandler,

    /// Pause it even if no handler of this name was ever called
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct OneHandler {
    /// The handler's name in the ledger
    pub(crate) handler: String,

    #[command(flatten)]
    pub(crate) reason: Reason,
}

#[derive(Debug, Args)]
pub(crate) struct Erase {
    /// The handler's name in the ledger
    pub(crate) handler: String,
    /// The idempotency key, as letters show it
    pub(crate) key: String,

    #[command(flatten)]
    pub(crate) reason: Reason,

    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AcceptLoss {
    #[command(flatten)]
    pub(crate) reason: Reason,

    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The handler's name in the ledger
    pub(crate) handler: String,
    /// The idempotency key, as letters show it
    pub(crate) key: String,
}

#[derive(Debug, Args)]
pub(crate) struct Migrate {
    /// The source: a folder, `postgres://user@host/database` or `redis://host`
    #[arg(long, value_name = "DIR or URL", value_hint = ValueHint::DirPath)]
    pub(crate) from: LedgerPlace,

    /// The name of a source on a server; `--schema` is the target's
    #[arg(long, value_name = "NAME", default_value = "idem")]
    pub(crate) from_schema: String,

    /// The target: a folder, or a URL as `--ledger` [env: IDEM_LEDGER]
    #[arg(long, value_name = "DIR or URL", value_hint = ValueHint::DirPath)]
    pub(crate) to: Option<LedgerPlace>,

    /// The storage engine of a folder that is made [default: sled]
    #[arg(long, value_name = "ENGINE")]
    pub(crate) engine: Option<FolderEngine>,

    /// Say what would go over, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Leave out what cannot go over, which is named: its messages would run again
    #[arg(long)]
    pub(crate) partial: bool,
}

/// A storage engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FolderEngine {
    Sled,
    Fjall,
}

impl From<FolderEngine> for Engine {
    fn from(engine: FolderEngine) -> Self {
        match engine {
            FolderEngine::Sled => Self::Sled,
            FolderEngine::Fjall => Self::Fjall,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// The monitor's configuration: its channels and its policy
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,

    /// Send a test to every channel, and end
    #[arg(long)]
    pub(crate) test: bool,
}

fn exits() -> String {
    let lines = EXITS.map(|(exit, meaning)| format!("  {}  {meaning}", exit as u8));
    format!("Exit codes:\n{}", lines.join("\n"))
}
