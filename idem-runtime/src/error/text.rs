//! Texts of errors that a format string does not hold.

use std::error::Error as StdError;
use std::fmt::{self, Display, Formatter};

use crate::ledger::LedgerError;
use crate::protocol::DeadLetterId;

/// Writes what happened, and in the alternate form its causes: the source, the source's source, ….
pub(crate) fn with_cause(
    f: &mut Formatter<'_>,
    what: impl Display,
    source: Option<&(dyn StdError + 'static)>,
) -> fmt::Result {
    write!(f, "{what}")?;
    let mut cause = source.filter(|_| f.alternate());
    while let Some(error) = cause {
        write!(f, ": {error}")?;
        cause = error.source();
    }
    Ok(())
}

pub(super) fn ledger_failed(
    handler: &Option<String>,
    key: &Option<String>,
    source: &LedgerError,
    f: &mut Formatter<'_>,
) -> fmt::Result {
    let site = site(handler.as_deref(), key.as_deref());
    with_cause(f, format_args!("{site}the ledger failed"), Some(source))
}

pub(super) fn dead_lettered(
    id: &DeadLetterId,
    handler: &str,
    key: &str,
    discarded: &bool,
    f: &mut Formatter<'_>,
) -> fmt::Result {
    write!(f, "handler `{handler}`, key `{key}`: ")?;
    if *discarded {
        write!(
            f,
            "a person discarded it (dead letter {id}), so it does not run. Send it under a new key \
             if it should"
        )
    } else {
        write!(
            f,
            "it is dead letter {id} and does not run again by itself. Look at the letter, then \
             redrive or discard it"
        )
    }
}

/// The handler and the key that a text begins with, where they are known.
pub(crate) fn site(handler: Option<&str>, key: Option<&str>) -> String {
    match (handler, key) {
        (Some(handler), Some(key)) => format!("handler `{handler}`, key `{key}`: "),
        (Some(handler), None) => format!("handler `{handler}`: "),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CloseError, Error};
    use super::*;
    use crate::dead_letters::LetterError;

    /// A handler's own error, as most are written.
    #[derive(Debug, thiserror::Error)]
    #[error(transparent)]
    struct Own(#[from] Error);

    #[test]
    fn the_cause_is_said_once_and_is_the_source() {
        let cause = "no room left on the disk";
        let ledger = || LedgerError::Other(cause.to_owned());
        let of_a_call = Own(Error::Ledger {
            handler: Some("orders.place".to_owned()),
            key: Some("A-1".to_owned()),
            source: ledger(),
        });
        let errors: [Box<dyn std::error::Error>; 4] = [
            Box::new(of_a_call),
            Box::new(Error::from(ledger())),
            Box::new(LetterError::from(ledger())),
            Box::new(CloseError::from(ledger())),
        ];
        for error in errors {
            let (short, long) = (error.to_string(), format!("{error:#}"));
            assert_eq!(long, format!("{short}: {cause}"));
            assert!(!short.contains(cause), "{short}");
            let source = error.source().and_then(|source| source.downcast_ref());
            assert!(matches!(source, Some(LedgerError::Other(text)) if text == cause));
        }
    }

    #[test]
    fn a_calls_error_names_its_kind_its_handler_and_its_key() {
        let error = Error::KeyReused {
            handler: "orders.place".to_owned(),
            key: "A-1".to_owned(),
        };
        assert_eq!(error.kind().to_string(), "key_reused");
        assert_eq!(
            (error.handler(), error.key()),
            (Some("orders.place"), Some("A-1"))
        );
        assert!(
            error
                .to_string()
                .starts_with("handler `orders.place`, key `A-1`: ")
        );
    }
}
