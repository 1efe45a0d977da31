//! What is asked of a person, and what a script says in its place.

use std::env;
use std::io::{self, IsTerminal};

use dialoguer::{Confirm, Input};

use super::args::Reason;
use super::format;
use super::problem::{Exit, Problem};

/// Whether somebody can be asked.
pub(crate) fn somebody_is_there() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Goes on only when a person, or `--yes`, says so.
///
/// # Errors
/// Exit code 2 where nobody can be asked, 1 when the answer is no.
pub(crate) fn confirm(question: &str, yes: bool) -> Result<(), Problem> {
    if yes {
        return Ok(());
    }
    let question = format::line(question);
    if !somebody_is_there() {
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
            "no answer ({error}): nothing was done"
        ))),
    }
}

/// A person's reason, which is kept in the letter's history.
///
/// # Errors
/// Exit code 2 where it was not given and nobody can be asked.
pub(crate) fn why(Reason { why: given }: Reason, what: &str) -> Result<String, Problem> {
    let why = match given {
        Some(why) => why,
        None if somebody_is_there() => Input::<String>::new()
            .with_prompt(format!("Why {what}?"))
            .interact_text()
            .map_err(|error| Problem::failed(format!("no answer ({error}): nothing was done")))?,
        None => return Err(Problem::usage(format!("why {what}? Say it with `--why`"))),
    };
    match why.trim() {
        "" => Err(Problem::usage(
            "the reason is empty: whoever looks later needs one (`--why`)",
        )),
        why => Ok(why.to_owned()),
    }
}

/// In whose name a folder's letters are changed; a service asks the token.
pub(crate) fn whoami(given: Option<String>) -> Option<String> {
    given
        .or_else(|| env::var("USER").or_else(|_| env::var("LOGNAME")).ok())
        .filter(|name| !name.is_empty())
}
