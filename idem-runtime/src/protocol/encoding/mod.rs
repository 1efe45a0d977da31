//! The envelope of each stored value: a byte for the version, then CBOR with numbered fields. Newer
//! versions add fields, and older ones skip them.

pub(crate) mod cbor;

use minicbor::{Decode, Decoder, Encode};

use crate::ledger::LedgerError;

/// The version. It is never 0, which a ledger may use for values without an envelope.
const VERSION: u8 = 1;

/// Encodes a value into an envelope.
///
/// # Errors
/// [`LedgerError::Other`] when the value cannot be written.
pub(crate) fn encode<T: Encode<()>>(value: &T) -> Result<Vec<u8>, LedgerError> {
    let mut envelope = Vec::with_capacity(512);
    encode_into(value, &mut envelope)?;
    Ok(envelope)
}

/// Encodes a value into an envelope at the end of `into`.
///
/// # Errors
/// As [`encode`].
pub(crate) fn encode_into<T: Encode<()>>(value: &T, into: &mut Vec<u8>) -> Result<(), LedgerError> {
    into.push(VERSION);
    minicbor::encode(value, into)
        .map_err(|error| LedgerError::Other(format!("a record cannot be encoded: {error}")))
}

/// Decodes the value in an envelope, and refuses bytes behind it.
///
/// # Errors
/// [`LedgerError::Record`] when it is damaged, or of a version that this one does not know.
pub(crate) fn decode<T: for<'b> Decode<'b, ()>>(envelope: &[u8]) -> Result<T, LedgerError> {
    let unreadable = |detail| Err(LedgerError::Record { detail });
    match envelope.split_first() {
        Some((&VERSION, body)) => {
            let mut decoder = Decoder::new(body);
            match decoder.decode() {
                Ok(value) if decoder.position() == body.len() => Ok(value),
                Ok(_) => unreadable(format!(
                    "{} bytes follow its end",
                    body.len() - decoder.position()
                )),
                Err(error) => unreadable(error.to_string()),
            }
        }
        Some((version, _)) => unreadable(format!("its envelope has version {version}")),
        None => unreadable("its envelope is empty".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_comes_out() {
        let envelope = encode(&(7_u64, "seven".to_owned())).unwrap();
        assert_eq!(
            decode::<(u64, String)>(&envelope).unwrap(),
            (7, "seven".to_owned())
        );
    }

    #[test]
    fn an_envelope_that_is_cut_longer_or_of_another_version_is_refused() {
        let envelope = encode(&7_u64).unwrap();
        let longer = [&envelope[..], &[0]].concat();
        for (damaged, part) in [
            (&[][..], "is empty"),
            (&envelope[..1], "end of input"),
            (&longer[..], "1 bytes follow its end"),
            (&[VERSION + 1, 7][..], "has version 2"),
        ] {
            let error = decode::<u64>(damaged).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
