//! The ways to call a letter's handler: the function that the service registered, or the consumers of
//! the letter's source.

use std::sync::Arc;

use super::consumer::Consumer;
use super::payload::{argument, only_field};
use super::registered::{Runner, Running};
use crate::call::on_behalf::LetterCall;
use crate::idem::shared::Shared;
use crate::json::Json;
use crate::protocol::DeadLetter;

/// Returns how a handler is called again: under this name, else under another one that it has or
/// had.
pub(super) fn runner(shared: &Shared, handler: &str) -> Option<Runner> {
    let earlier = || {
        shared
            .earlier
            .all(handler)
            .iter()
            .find_map(|name| shared.runners.get(name))
    };
    shared.runners.get(handler).or_else(earlier)
}

/// A way to call a letter's handler.
pub(super) struct Way {
    run: Runner,
    /// The argument or the message, then other forms of it.
    forms: Vec<Vec<u8>>,
    pub(super) call: LetterCall,
}

/// Returns the ways to run a letter: the registered function, else the consumers of its source.
pub(super) fn ways(shared: &Shared, letter: &DeadLetter, payload: &Json) -> Vec<Way> {
    if let Some(run) = runner(shared, &letter.handler) {
        return vec![Way {
            run,
            forms: forms(argument(letter, payload).into(), payload),
            call: LetterCall::OfItsHandler,
        }];
    }
    let whole = DeadLetter {
        payload: payload.clone(),
        ..letter.clone()
    };
    let message = whole.message();
    let by = |consumer: &Arc<Consumer>| Way {
        run: Arc::clone(&consumer.run),
        // Bytes that could not be decoded are not taken for others.
        forms: match letter.is_buried() && !letter.is_edited() {
            true => vec![message.clone()],
            false => forms(message.clone(), payload),
        },
        call: match consumer.buried(letter) {
            true => LetterCall::FirstOfAny,
            false => LetterCall::First,
        },
    };
    shared.consumers.of(letter).iter().map(by).collect()
}

/// Returns the forms in which a handler may take a payload. It may take one argument where the letter
/// has several, or several where it has one: a deploy changed it, or a person edited a message that was
/// buried as any other letter's payload, with the argument under its name.
fn forms(recorded: Vec<u8>, payload: &Json) -> Vec<Vec<u8>> {
    let others = [Some(payload.as_str()), only_field(payload)];
    let others = others.into_iter().flatten().map(str::as_bytes);
    let others: Vec<_> = others
        .filter(|form| *form != recorded)
        .map(<[u8]>::to_vec)
        .collect();
    [vec![recorded], others].concat()
}

impl Way {
    /// Calls the handler with the first form that fits it, or returns why the first does not.
    pub(super) fn begin(&self) -> Result<Running, String> {
        let mut problem = None;
        for form in &self.forms {
            match (self.run)(form) {
                Ok(running) => return Ok(running),
                Err(unfit) => problem = problem.or(Some(unfit)),
            }
        }
        Err(problem.unwrap_or_default())
    }
}
