//! Questions to a person, which a script answers by arguments.

use std::env;
use std::io::{self, IsTerminal};

use dialoguer::{Confirm, Input};

use super::args::Reason;
use super::format;
use super::problem::{Exit, Problem};

/// Returns whether a person can be asked.
pub(crate) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Goes on only when a person, or `--yes`, says so.
///
/// # Errors
/// Exit code 2 without a terminal, 1 when the answer is no.
pub(crate) fn confirm(question: &str, yes: bool) -> Result<(), Problem> {
    if yes {
        return Ok(());
    }
    let question = format::line(question);
    if !is_interactive() {
        return Err(Problem::usage(format!(
            "{question} There is no terminal to ask on: say `--yes`"
        )));
    }
    match Confirm::new()
        .with_prompt(question)
        .default(false)
        .interact()
    {
        Ok(true) => Ok(()),
        Ok(false) => Err(Problem::Told(Exit::Failed, "nothing was done".to_owned())),
        Err(error) => Err(Problem::failed(format!(
            "the answer cannot be read ({error}): nothing was done"
        ))),
    }
}

/// Returns the person's reason, which the letter's history keeps.
///
/// # Errors
/// Exit code 2 where it was not given and there is no terminal.
pub(crate) fn why(Reason { why: given }: Reason, what: &str) -> Result<String, Problem> {
    let why = match given {
        Some(why) => why,
        None if is_interactive() => Input::<String>::new()
            .with_prompt(format!("Why {what}?"))
            .interact_text()
            .map_err(|error| {
                Problem::failed(format!(
                    "the answer cannot be read ({error}): nothing was done"
                ))
            })?,
        None => return Err(Problem::usage(format!("why {what}? Say it with `--why`"))),
    };
    match why.trim() {
        "" => Err(Problem::usage(
            "the reason is empty: say why, for the audit log (`--why`)",
        )),
        why => Ok(why.to_owned()),
    }
}

/// Returns the name for changes of a folder's letters; a service takes the token's.
pub(crate) fn whoami(given: Option<String>) -> Option<String> {
    given
        .or_else(|| env::var("USER").or_else(|_| env::var("LOGNAME")).ok())
        .filter(|name| !name.is_empty())
}
