//! A call begins: its message is checked, its instance lets it in, and a letter's is re-armed.

use std::sync::Arc;

use super::machine::{Drive, Wait, Waited};
use super::on_behalf::{self, LetterCall};
use crate::error::Error;
use crate::handler::ClaimMode;
use crate::ledger::LedgerError;
use crate::message::{CallBuilder, CallRequest};
use crate::metrics;

/// What a ledger lacks for a handler that asks for more than the default mode.
const NO_TRANSACTIONS: &str = "transactions, which `transaction = \"single\"` and `\"fresh\"` need. Open one that \
                               has them, such as PostgreSQL's, or write `transaction = \"counted\"`";

impl Drive {
    /// Begins a call.
    pub(super) fn begin(message: CallBuilder) -> Result<Box<Self>, Error> {
        let counted = message
            .delivery
            .as_ref()
            .and_then(|delivery| delivery.count(message.handler));
        match Self::admit(message) {
            Ok(mut drive) => {
                drive.counted = counted;
                Ok(drive)
            }
            Err(error) => {
                if let Some(counted) = counted {
                    counted.comes_to(error.verdict());
                }
                Err(error)
            }
        }
    }

    fn admit(message: CallBuilder) -> Result<Box<Self>, Error> {
        let request = message.finish()?;
        let site = |CallRequest { id, .. }: CallRequest| {
            (Some(id.handler.to_string()), Some(id.key.to_string()))
        };
        let shared = request.idem.shared();
        if let Err(source) = shared.is_here() {
            let (handler, key) = site(request);
            return Err(Error::Ledger {
                handler,
                key,
                source,
            });
        }
        if request.named.handler.claims != ClaimMode::First && !shared.transactions {
            let id = request.id.clone();
            let (handler, key) = site(request);
            let error = Error::Ledger {
                handler,
                key,
                source: LedgerError::Unsupported(NO_TRANSACTIONS),
            };
            metrics::refused(&id.handler, &error);
            return Err(error);
        }
        let Some(entry) = shared.enter() else {
            let id = request.id.clone();
            let (handler, key) = site(request);
            let error = Error::Closed { handler, key };
            metrics::refused(&id.handler, &error);
            return Err(error);
        };
        let first = rearms(&request).inspect_err(|error| {
            if let Error::Paused { .. } = error {
                request.named.gate.turns_away();
                metrics::refused(&request.id.handler, error);
            }
        })?;
        Ok(Self::boxed(request, entry, first))
    }
}

/// The first call of a letter's key, on the letter's behalf, re-arms it before the claim.
fn rearms(
    CallRequest {
        id, idem, named, ..
    }: &CallRequest,
) -> Result<Option<Wait>, Error> {
    let Some(redriving) = on_behalf::redriving() else {
        return Ok(None);
    };
    let letter_of = &*redriving.id.handler;
    let had_its_name = || {
        named.handler.was.contains(&letter_of) || idem.shared().earlier.had(&id.handler, letter_of)
    };
    let earlier = letter_of != &*id.handler;
    if earlier && !had_its_name() {
        return match redriving.call {
            LetterCall::First if !redriving.begun() => {
                redriving.strays();
                Err(Error::KeyMismatch {
                    handler: id.handler.to_string(),
                    key: id.key.to_string(),
                    letter_key: format!("{} of handler {letter_of}", redriving.id.key),
                })
            }
            LetterCall::FirstOfAny => {
                redriving.begins();
                Ok(None)
            }
            _ => Ok(None),
        };
    }
    if redriving.id.key != id.key {
        if redriving.unread {
            redriving.begins();
            return Ok(None);
        }
        return Err(Error::KeyMismatch {
            handler: id.handler.to_string(),
            key: id.key.to_string(),
            letter_key: redriving.id.key.to_string(),
        });
    }
    // Its letter stays open.
    if !redriving.begun()
        && let Some(away) = named.gate.closed(idem.shared().clock.now())
    {
        return Err(Error::Paused {
            handler: named.name.to_string(),
            key: id.key.to_string(),
            retry_after: away.after,
            why: away.why,
        });
    }
    let (shared, begins) = (Arc::clone(idem.shared()), redriving.begins());
    Ok((begins || earlier).then(|| -> Wait {
        Box::pin(async move {
            if begins {
                shared.apply(&redriving.id, redriving.step.clone()).await?;
                shared.count_letters().await;
            }
            Ok(if earlier {
                Waited::Under(redriving.id.clone())
            } else {
                Waited::Elapsed
            })
        })
    }))
}
