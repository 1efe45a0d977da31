//! Short names of errors.

use super::Error;

impl Error {
    /// The name used in metrics and logs.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Error::NotInstalled { .. } => "not_installed",
            Error::AlreadyInstalled => "already_installed",
            Error::NameTaken { .. } => "name_taken",
            Error::InProgress { .. } => "in_progress",
            Error::NotYet { .. } => "not_yet",
            Error::Panicked { .. } => "panicked",
            Error::TimedOut { .. } => "timed_out",
            Error::KeyReused { .. } => "key_reused",
            Error::DeadLettered { .. } => "dead_lettered",
            Error::LeaseLost { .. } => "lease_lost",
            Error::InvalidKey { .. } => "invalid_key",
            Error::PayloadTooLarge { .. } => "payload_too_large",
            Error::ResultTooLarge { .. } => "result_too_large",
            Error::Codec { .. } => "codec",
            Error::Ledger { .. } => "ledger",
            Error::Closed { .. } => "closed",
            Error::StillRunning { .. } => "still_running",
            Error::Unrecorded { .. } => "unrecorded",
            Error::NoSuchLetter { .. } => "no_such_letter",
            Error::LetterClosed { .. } => "letter_closed",
            Error::NoHandler { .. } => "no_runner",
            Error::NoPublisher { .. } => "no_publisher",
            Error::NotPublished { .. } => "not_published",
            Error::Incomplete { .. } => "incomplete",
            Error::KeyMismatch { .. } => "other_key",
            Error::Redacted { .. } => "redacted",
            Error::OutsideHandler => "outside_body",
            Error::NotIssued { .. } => "not_issued",
            Error::OutgoingTooLarge { .. } => "outgoing_too_large",
        }
    }
}
