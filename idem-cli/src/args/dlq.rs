//! The arguments of `idem dlq`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use idem_runtime::DeadLetterId;
use uuid::Uuid;

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
    /// and always with `--data` or `--ledger`, their keys are only re-armed: the next call of a key runs it.
    Redrive(Redrive),
    /// List the redrives and discards of many letters, and their progress
    Bulk,
    /// Stop a redrive or a discard of many letters; what was done by then stays done
    Cancel(Cancel),
    /// Redrive letters by rule: those with some error, every so often, a few times, until a time
    #[command(subcommand)]
    Rule(Rule),
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
    pub(crate) filter: Filter,

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

/// The letters to look at.
#[derive(Debug, Args)]
pub(crate) struct Filter {
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
    /// Waiting for a person
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
    pub(crate) many: Many,

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
}

/// The redrive rules of a ledger, which its services follow.
#[derive(Debug, Subcommand)]
pub(crate) enum Rule {
    /// List the rules, and what they have done in their hour
    List,
    /// Set a rule, in place of one of its name; its services follow it
    Set(SetRule),
    /// Remove a rule; one of a configuration comes back when that is read again
    Remove {
        /// The rule's name
        name: String,

        #[command(flatten)]
        reason: Reason,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SetRule {
    /// The rule's name: letters, digits, `-`, `_` and `.`
    pub(crate) name: String,

    /// Only letters of this handler
    #[arg(long, value_name = "NAME", required_unless_present = "error")]
    pub(crate) handler: Option<String>,

    /// Only letters with this text in their last error, or of this kind of error
    #[arg(long, value_name = "TEXT")]
    pub(crate) error: Option<String>,

    /// Only letters that died at most so long ago, as `2d`
    #[arg(long, value_name = "TIME")]
    pub(crate) max_age: Option<String>,

    /// What is done: the service runs the letter, publishes its message, or only re-arms its key
    #[arg(long, value_enum, default_value_t = RuleAction::Run)]
    pub(crate) action: RuleAction,

    /// The time before each try, as `1h`
    #[arg(long, value_name = "TIME")]
    pub(crate) every: String,

    /// How often the letters of one key are redriven
    #[arg(long)]
    pub(crate) times: u32,

    /// When the rule ends, as `2026-12-04T18:00:00Z`
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,

    /// At most so many letters an hour
    #[arg(long, value_name = "LETTERS", default_value_t = 100)]
    pub(crate) at_most: u32,

    #[command(flatten)]
    pub(crate) reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RuleAction {
    /// Run its handler in the service
    Run,
    /// Publish its message back to the broker that it came from
    Publish,
    /// Re-arm its key; its next call runs it
    Rearm,
}

#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// Its id, as `idem dlq bulk` lists it
    pub(crate) id: Uuid,

    #[command(flatten)]
    pub(crate) reason: Reason,
}

/// An action on many letters.
#[derive(Debug, Args)]
pub(crate) struct Many {
    #[command(flatten)]
    pub(crate) selection: Selection,

    /// With `--url` and many letters: do not wait for the end; `idem dlq bulk` shows its progress
    #[arg(long)]
    pub(crate) no_wait: bool,

    #[command(flatten)]
    pub(crate) reason: Reason,

    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}

/// The reason of an action.
#[derive(Debug, Args)]
pub(crate) struct Reason {
    /// The reason, kept in the letter's history and in the audit log
    #[arg(long)]
    pub(crate) why: Option<String>,
}

/// The letters to act on.
#[derive(Debug, Args)]
#[group(required = true)]
pub(crate) struct Selection {
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

    #[command(flatten)]
    pub(crate) reason: Reason,
}

#[derive(Debug, Args)]
pub(crate) struct Discard {
    #[command(flatten)]
    pub(crate) many: Many,

    /// At most so many letters a second, from 0.01 to 1000
    #[arg(long, value_name = "LETTERS", default_value_t = 1000.0, value_parser = rate)]
    pub(crate) rate: f64,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The letters
    #[arg(required = true)]
    pub(crate) ids: Vec<DeadLetterId>,

    #[command(flatten)]
    pub(crate) reason: Reason,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) filter: Filter,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.01..=1000.0).contains(&rate) => Ok(rate),
        _ => Err("letters a second, from 0.01 to 1000".to_owned()),
    }
}
