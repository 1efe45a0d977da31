//! Makes the errors that a call can end with, each with its handler and key.

use std::time::Duration;

use super::machine::Drive;
use crate::error::{CodecStage, Error};
use crate::ledger::LedgerError;
use crate::pause::TurnedAway;
use crate::protocol::DeadLetterId;

impl Drive {
    fn site(&self) -> (String, String) {
        (
            self.request.named.name.to_string(),
            self.id().key.to_string(),
        )
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

    pub(super) fn not_committed(&self) -> Error {
        let (handler, key) = self.site();
        Error::NotCommitted { handler, key }
    }

    pub(super) fn no_transaction(&self) -> Error {
        let (handler, key) = self.site();
        Error::NoTransaction { handler, key }
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
    pub(super) fn unrecorded(&self, source: LedgerError) -> Error {
        let (handler, key) = self.site();
        Error::Ledger {
            handler: Some(handler),
            key: Some(key),
            source,
        }
    }

    pub(super) fn closed(&self) -> Error {
        let (handler, key) = self.site();
        Error::Closed {
            handler: Some(handler),
            key: Some(key),
        }
    }

    pub(super) fn no_ledger(&self, source: LedgerError) -> Error {
        match source {
            LedgerError::Closed => self.closed(),
            source => self.unrecorded(source),
        }
    }

    pub(super) fn too_large(&self, size: u64) -> Error {
        let (handler, key) = self.site();
        Error::ResultTooLarge { handler, key, size }
    }

    pub(super) fn erased(&self) -> Error {
        let (handler, key) = self.site();
        Error::ResultErased { handler, key }
    }

    pub(super) fn not_yet(&self, after: Duration) -> Error {
        let (handler, key) = self.site();
        Error::NotYet {
            handler,
            key,
            after,
        }
    }

    pub(super) fn paused(&self, TurnedAway { after, why }: TurnedAway) -> Error {
        let (handler, key) = self.site();
        Error::Paused {
            handler,
            key,
            retry_after: after,
            why,
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
        self.codec(CodecStage::BodyResult, problem)
    }

    pub(super) fn codec(&self, stage: CodecStage, problem: String) -> Error {
        let (handler, key) = self.site();
        Error::Codec {
            handler,
            key,
            stage,
            problem,
        }
    }
}
