//! Kinds of errors, and their names in metrics and logs.

use std::fmt;

use super::Error;

macro_rules! kinds {
    ($($kind:ident => $name:literal,)*) => {
        /// The kind of an [`Error`]: its variant, without what it holds.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorKind {
            $(#[doc = concat!("[`Error::", stringify!($kind), "`].")] $kind,)*
        }

        impl ErrorKind {
            /// Returns its name in metrics and logs.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }

        impl Error {
            /// Returns the kind of the error.
            pub fn kind(&self) -> ErrorKind {
                match self {
                    $(Self::$kind { .. } => ErrorKind::$kind,)*
                }
            }
        }
    };
}

kinds! {
    NotInstalled => "not_installed",
    AlreadyInstalled => "already_installed",
    NameTaken => "name_taken",
    InProgress => "in_progress",
    NotYet => "not_yet",
    Paused => "paused",
    Panicked => "panicked",
    TimedOut => "timed_out",
    KeyReused => "key_reused",
    KeyMismatch => "key_mismatch",
    NotIssued => "not_issued",
    DeadLettered => "dead_lettered",
    LeaseLost => "lease_lost",
    NotCommitted => "not_committed",
    NoTransaction => "no_transaction",
    InvalidKey => "invalid_key",
    PayloadTooLarge => "payload_too_large",
    ResultErased => "result_erased",
    ResultTooLarge => "result_too_large",
    Codec => "codec",
    Ledger => "ledger",
    Closed => "closed",
    KeysExhausted => "keys_exhausted",
    OutsideHandler => "outside_handler",
    OutboxMessageTooLarge => "outbox_message_too_large",
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
