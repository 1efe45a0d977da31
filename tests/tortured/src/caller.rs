//! The caller: makes one call, and emits its answer.

use std::time::Duration;

use idem_runtime::ledger::LedgerError;
use idem_runtime::{Error, Idem};

use crate::body::{Done, Failure, emit_at};
use crate::event::{Answer, Call, Event, Moment};
use crate::handlers;

/// Makes one call, from its pause to its answer.
pub(crate) async fn make(idem: Idem, call: Call) {
    if call.wait > 0 {
        tokio::time::sleep(Duration::from_millis(call.wait.into())).await;
    }
    let answer = match call.drop_after {
        None => answer(handlers::deliver(&idem, &call).await),
        Some(after) => {
            match tokio::time::timeout(
                Duration::from_millis(after.into()),
                handlers::deliver(&idem, &call),
            )
            .await
            {
                Ok(result) => answer(result),
                Err(_) => Answer::Dropped,
            }
        }
    };
    let told = Event::Told {
        call: call.call,
        n: call.n,
        variant: call.variant,
        answer,
    };
    emit_at(&call, Moment::Told, &told);
}

fn answer(result: Result<Done, Failure>) -> Answer {
    let error = match result {
        Ok(done) => {
            return Answer::Ok {
                token: done.token,
                digest: done.digest(),
            };
        }
        Err(Failure::Planned { token, .. }) => return Answer::Own { token },
        Err(Failure::Idem(error)) => error,
    };
    match error {
        Error::DeadLettered { id, discarded, .. } => Answer::Dead {
            letter: id.to_string(),
            discarded,
        },
        Error::KeyReused { .. } => Answer::Reused,
        Error::InProgress { .. } => Answer::InProgress,
        Error::NotYet { after, .. } => Answer::NotYet {
            after: u32::try_from(after.as_millis()).unwrap_or(u32::MAX),
        },
        Error::Panicked { .. } => Answer::Panicked,
        Error::TimedOut { .. } => Answer::TimedOut,
        Error::LeaseLost { .. } => Answer::Lost,
        Error::NotCommitted { .. } => Answer::NotCommitted,
        Error::Ledger {
            source: LedgerError::Unavailable { .. },
            ..
        } => Answer::Away(text(&error)),
        _ => Answer::Refused(text(&error)),
    }
}

fn text(error: &Error) -> String {
    let mut text = format!("{error:#}");
    text.truncate(text.floor_char_boundary(400));
    text
}
