//! What can be asked for.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use idem_runtime::DeadLetterId;
use url::Url;
use uuid::Uuid;

use super::problem::EXITS;
use super::watch::Watch;

/// Look at the dead letters of a service that uses idem, and act on them
///
/// It asks a running service (`--url`, with the token in IDEM_TOKEN or in `--token-file`), or opens
/// a folder that no service holds (`--data`).
#[derive(Debug, Parser)]
#[command(name = "idem", version, propagate_version = true, after_help = exits(), arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) place: Place,

    /// Answer as one JSON document, for programs
    #[arg(long, global = true, help_heading = None)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Ask,
}

/// Which ledger is asked, and how.
#[derive(Debug, Args)]
#[command(next_help_heading = "Which ledger")]
pub(crate) struct Place {
    /// The running service's dashboard, as `https://host/path` [env: IDEM_URL]
    #[arg(long, global = true, value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) url: Option<Url>,

    /// A data folder that no service holds [env: IDEM_DATA]
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) data: Option<PathBuf>,

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

    /// With `--data`: in whose name letters are changed [default: USER]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) by: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Ask {
    #[command(flatten)]
    Ledger(Ledger),
    /// Is the ledger healthy, what is wrong, and what to do
    Doctor,
    /// Tell people of a folder's dead letters, until it is ended: the monitor as a program
    Watch(Watch),
    /// Copy a folder that no service holds, and prove that the copy opens; a running service does
    /// it with `Idem::copy_to`
    Copy {
        /// The copy: an empty folder, or one that is not there yet
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        to: PathBuf,
    },
    /// Print a shell's completions
    Completions {
        /// For which shell
        shell: Shell,
    },
    /// Print the man page
    Man {
        /// Write a page for each command into this folder instead
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        dir: Option<PathBuf>,
    },
}

/// What an open ledger is asked.
#[derive(Debug, Subcommand)]
pub(crate) enum Ledger {
    /// The dead letters: look at them and act on them
    #[command(subcommand)]
    Dlq(Dlq),
    /// What happened to one message: its record, its letters, every attempt and act in order of
    /// time
    Explain(Explain),
    /// Calls, attempts, latency, open letters, and the ledger's size
    Stats,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Dlq {
    /// List letters, newest first
    List(List),
    /// Show one letter: its payload, its attempts, and what people did with it
    Show {
        /// The letter
        id: DeadLetterId,
    },
    /// Run messages again
    ///
    /// A service whose handlers are registered runs the letters at once, and the outcome is shown.
    /// With `--publish` their messages go back to the brokers that they came from. With `--rearm`,
    /// and always on a folder, their keys are only re-armed: the next call of a key runs it.
    Redrive(Redrive),
    /// List the redrives and discards of many letters, and how far they are
    Bulk,
    /// Stop a redrive or a discard of many letters; what was done by then stays done
    Cancel(Cancel),
    /// Change a letter's payload; the edit is kept in its history
    ///
    /// Opens it in VISUAL or EDITOR unless `--payload` is given.
    Edit(Edit),
    /// Close letters without another run; duplicates of them still do not run
    Discard(Discard),
    /// Undo discards: the letters are open again
    Restore(Restore),
    /// Write letters as JSON, one a line, newest first
    Export(Export),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) which: Which,

    /// At most so many letters
    #[arg(long, value_name = "LETTERS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: u64,

    /// The next page: letters older than this one
    #[arg(long, value_name = "ID")]
    pub(crate) after: Option<DeadLetterId>,

    /// Groups in place of letters: handler, kind of error, how many
    #[arg(long, conflicts_with_all = ["limit", "after", "state", "key"])]
    pub(crate) groups: bool,
}

/// Which letters to look at.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Only this handler's
    #[arg(long, value_name = "NAME")]
    pub(crate) handler: Option<String>,

    /// Only this idempotency key's
    #[arg(long)]
    pub(crate) key: Option<String>,

    /// Letters in this state
    #[arg(long, value_enum, default_value_t = State::Open)]
    pub(crate) state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    /// Nobody has acted
    Open,
    /// Re-armed; history
    Redriven,
    /// Closed without another run; history
    Discarded,
    /// All of them
    Any,
}

#[derive(Debug, Args)]
pub(crate) struct Redrive {
    #[command(flatten)]
    pub(crate) selection: Chosen,

    /// At most so many letters a second, from 0.01 to 1000
    #[arg(long, value_name = "LETTERS", default_value_t = 10.0, value_parser = rate)]
    pub(crate) rate: f64,

    /// Only re-arm the keys, and let their next calls run them
    #[arg(long)]
    pub(crate) rearm: bool,

    /// With `--url`: publish the messages back to the brokers that they came from, whose deliveries
    /// run them
    #[arg(long, conflicts_with = "rearm")]
    pub(crate) publish: bool,

    /// With `--url` and one letter: run it with this payload, as JSON; `-` reads the standard input
    ///
    /// It is the way to run a letter with redacted parts: what is filled in for them is used for
    /// this run and not stored.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["handler", "group", "all", "rearm", "publish", "no_wait"])]
    pub(crate) payload: Option<PathBuf>,

    /// With `--url` and many letters: do not wait for the end; `idem dlq bulk` shows how far it is
    #[arg(long)]
    pub(crate) no_wait: bool,

    /// The reason, kept in the audit log
    #[arg(long)]
    pub(crate) why: Option<String>,

    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// Its id, as `idem dlq bulk` lists it
    pub(crate) id: Uuid,

    /// The reason, kept in the audit log
    #[arg(long)]
    pub(crate) why: Option<String>,
}

/// Which letters to act on.
#[derive(Debug, Args)]
#[group(required = true)]
pub(crate) struct Chosen {
    /// The letters
    #[arg(conflicts_with_all = ["handler", "group", "all"])]
    pub(crate) ids: Vec<DeadLetterId>,

    /// All open letters of this handler
    #[arg(long, value_name = "NAME")]
    pub(crate) handler: Option<String>,

    /// With `--handler`: only those with this kind of error, as `list --groups` shows it
    #[arg(long, value_name = "ERROR", requires = "handler")]
    pub(crate) group: Option<String>,

    /// All open letters
    #[arg(long, conflicts_with_all = ["handler", "group"])]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Edit {
    /// The letter
    pub(crate) id: DeadLetterId,

    /// The new payload as JSON; `-` reads the standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) payload: Option<PathBuf>,

    /// The reason, kept in the letter's history
    #[arg(long)]
    pub(crate) why: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Discard {
    #[command(flatten)]
    pub(crate) selection: Chosen,

    /// At most so many letters a second, from 0.01 to 1000
    #[arg(long, value_name = "LETTERS", default_value_t = 1000.0, value_parser = rate)]
    pub(crate) rate: f64,

    /// With `--url` and many letters: do not wait for the end; `idem dlq bulk` shows how far it is
    #[arg(long)]
    pub(crate) no_wait: bool,

    /// The reason, kept in the letters' history
    #[arg(long)]
    pub(crate) why: Option<String>,

    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The letters
    #[arg(required = true)]
    pub(crate) ids: Vec<DeadLetterId>,

    /// The reason, kept in the letters' history
    #[arg(long)]
    pub(crate) why: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) which: Which,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The handler's name in the ledger
    pub(crate) handler: String,
    /// The idempotency key, as letters show it
    pub(crate) key: String,
}

impl Place {
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.01..=1000.0).contains(&rate) => Ok(rate),
        _ => Err("letters a second, from 0.01 to 1000".to_owned()),
    }
}

fn exits() -> String {
    let lines = EXITS.map(|(exit, meaning)| format!("  {}  {meaning}", exit as u8));
    format!("Exit codes:\n{}", lines.join("\n"))
}
