//! Makes the errors that a call can end with, each with its handler and key.

use std::time::Duration;

use super::machine::Drive;
use crate::delivery::Verdict;
use crate::error::Error;
use crate::ledger::LedgerError;
use crate::protocol::DeadLetterId;

impl Drive {
    fn site(&self) -> (String, String) {
        (
            self.request.named.name.to_string(),
            self.id().key.to_string(),
        )
    }

    /// The recorded result is not of the type that the handler returns today.
    pub(super) fn unreadable(&mut self, problem: String) -> Error {
        let (handler, key) = self.site();
        let what = "done before, but the recorded result no longer decodes as the handler's result type, and nothing ran; \
                    make the type read what it wrote:";
        let error = Error::Codec {
            handler,
            key,
            what: what.to_owned(),
            problem,
        };
        self.count_call(error.kind());
        self.set_verdict(|| Verdict::of(&error));
        error
    }

    pub(super) fn in_progress(&self) -> Error {
        let (handler, key) = self.site();
        Error::InProgress { handler, key }
    }

    pub(super) fn not_issued(&self, issuer: &'static str) -> Error {
        let (handler, key) = self.site();
        Error::NotIssued {
            handler,
            key,
            issuer,
        }
    }

    pub(super) fn reused(&self) -> Error {
        let (handler, key) = self.site();
        Error::KeyReused { handler, key }
    }

    pub(super) fn lease_lost(&self) -> Error {
        let (handler, key) = self.site();
        Error::LeaseLost { handler, key }
    }

    pub(super) fn dead(&self, id: DeadLetterId, discarded: bool) -> Error {
        let (handler, key) = self.site();
        Error::DeadLettered {
            id,
            handler,
            key,
            discarded,
        }
    }

    /// The body ran, and the ledger did not record how it ended.
    pub(super) fn unrecorded(&self, problem: LedgerError) -> Error {
        let (handler, key) = self.site();
        Error::Ledger {
            handler: Some(handler),
            key: Some(key),
            problem,
        }
    }

    pub(super) fn closed(&self) -> Error {
        let (handler, key) = self.site();
        Error::Closed {
            handler: Some(handler),
            key: Some(key),
        }
    }

    pub(super) fn no_ledger(&self, problem: LedgerError) -> Error {
        match problem {
            LedgerError::Closed => self.closed(),
            problem => self.unrecorded(problem),
        }
    }

    pub(super) fn too_large(&self, size: u64) -> Error {
        let (handler, key) = self.site();
        Error::ResultTooLarge { handler, key, size }
    }

    pub(super) fn not_yet(&self, after: Duration) -> Error {
        let (handler, key) = self.site();
        Error::NotYet {
            handler,
            key,
            after,
        }
    }

    pub(super) fn timed_out(&self, attempt: u32, limit: Duration) -> Error {
        let (handler, key) = self.site();
        Error::TimedOut {
            handler,
            key,
            attempt,
            limit,
        }
    }

    pub(super) fn panicked(&self, attempt: u32, message: String) -> Error {
        let (handler, key) = self.site();
        Error::Panicked {
            handler,
            key,
            attempt,
            message,
        }
    }

    /// The result cannot be recorded.
    pub(super) fn unwritable(&self, problem: String) -> Error {
        let (handler, key) = self.site();
        let what = "the body returned, but its result cannot be recorded for duplicates, so the message is a dead letter and \
                    will not run again:";
        Error::Codec {
            handler,
            key,
            what: what.to_owned(),
            problem,
        }
    }
}
