//! Signatures of JSON webhooks.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use idem_runtime::clock::Timestamp;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::secret::Secret;

/// The most that the clocks of sender and receiver may differ, in seconds.
const TOLERANCE: i64 = 5 * 60;

/// Returns the header `webhook-signature` of a body: `v1,` and the base64 of an HMAC-SHA256.
///
/// The signed text is `{id}.{timestamp}.{body}`: the header `webhook-id`, a full stop, the header
/// `webhook-timestamp`, a full stop, and the body's bytes as they are. The key is the secret's
/// bytes, or, when it begins with `whsec_`, what the base64 after that stands for. This is the
/// scheme of [Standard Webhooks], for which many languages have a library.
///
/// # Example
///
/// ```
/// use hmac::{Hmac, KeyInit, Mac};
/// # use base64::Engine;
/// use idem_ops::Secret;
/// use idem_ops::alert::webhook;
///
/// let body = br#"{"version":1}"#;
/// let signature = webhook::sign(&Secret::new("correct horse"), "0199-id", 1_790_000_000, body);
///
/// // By hand, as a receiver without this crate does it:
/// let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"correct horse").unwrap();
/// mac.update(br#"0199-id.1790000000.{"version":1}"#);
/// let expected = base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes());
/// assert_eq!(signature, format!("v1,{expected}"));
/// ```
///
/// [Standard Webhooks]: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
pub fn sign(secret: &Secret, id: &str, timestamp: i64, body: &[u8]) -> String {
    let key = key(secret).unwrap_or_else(|| secret.expose().as_bytes().to_vec());
    format!(
        "v1,{}",
        STANDARD.encode(hmac(
            &key,
            &[
                id.as_bytes(),
                b".",
                timestamp.to_string().as_bytes(),
                b".",
                body
            ]
        ))
    )
}

/// Verifies, in a receiver, that a request was signed with the secret in the last five minutes.
///
/// `id`, `timestamp` and `signature` are the headers `webhook-id`, `webhook-timestamp` and
/// `webhook-signature`; `body` is the body before anything parses it. The comparison takes the same
/// time wherever the difference is. A receiver that remembers ids for ten minutes also detects
/// copies.
///
/// # Errors
///
/// [`VerifyError::Signature`], when no signature fits; [`VerifyError::Timestamp`], when the timestamp
/// is not a number or more than five minutes from `now`.
///
/// # Example
///
/// ```
/// use idem_ops::Secret;
/// use idem_ops::alert::webhook::{VerifyError, sign, verify};
/// use idem_runtime::clock::Timestamp;
///
/// let secret = Secret::new("correct horse");
/// let now = Timestamp::now();
/// let signature = sign(&secret, "0199-id", now.as_second(), b"{}");
/// let timestamp = now.as_second().to_string();
///
/// assert_eq!(verify(&secret, "0199-id", &timestamp, &signature, b"{}", now), Ok(()));
/// assert_eq!(verify(&secret, "0199-id", &timestamp, &signature, b"{ }", now), Err(VerifyError::Signature));
/// ```
pub fn verify(
    secret: &Secret,
    id: &str,
    timestamp: &str,
    signature: &str,
    body: &[u8],
    now: Timestamp,
) -> Result<(), VerifyError> {
    let seconds: i64 = timestamp.parse().map_err(|_| VerifyError::Timestamp)?;
    let expected = sign(secret, id, seconds, body);
    // There are several, separated by spaces, while a secret is being replaced.
    let fits = signature
        .split(' ')
        .any(|one| one.as_bytes().ct_eq(expected.as_bytes()).into());
    if !fits {
        return Err(VerifyError::Signature);
    }
    if seconds.abs_diff(now.as_second()) > TOLERANCE.unsigned_abs() {
        return Err(VerifyError::Timestamp);
    }
    Ok(())
}

/// Why a request must not be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// No signature fits the body and the secret.
    #[error("the signature does not fit the body and the secret")]
    Signature,
    /// The timestamp is not a time, or too far from now.
    #[error("the timestamp is not a number of seconds, or more than five minutes from now")]
    Timestamp,
}

/// Returns the key that a secret stands for, if it stands for one.
pub(super) fn key(secret: &Secret) -> Option<Vec<u8>> {
    let text = secret.expose();
    let key = match text.strip_prefix("whsec_") {
        Some(encoded) => STANDARD.decode(encoded).ok()?,
        None => text.as_bytes().to_vec(),
    };
    (!key.is_empty()).then_some(key)
}

/// Returns the HMAC-SHA256 of the parts.
pub(super) fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_librarys_receiver_accepts_the_signature() {
        let encoded = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let now = Timestamp::now().as_second();
        let signature = sign(&Secret::new(encoded), "msg_1", now, b"{}");
        let receiver = standardwebhooks::Webhook::new(encoded).unwrap();
        assert_eq!(receiver.sign("msg_1", now, b"{}").unwrap(), signature);
    }

    #[test]
    fn old_and_forged_requests_are_refused() {
        let secret = Secret::new("correct horse");
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let good = sign(&secret, "id", 1_790_000_000, b"body");
        let look = |id: &str, time: &str, signature: &str, body: &[u8]| {
            verify(&secret, id, time, signature, body, now)
        };
        assert_eq!(
            look("id", "1790000000", &format!("v1,other {good}"), b"body"),
            Ok(())
        );
        assert_eq!(
            look("di", "1790000000", &good, b"body"),
            Err(VerifyError::Signature)
        );
        assert_eq!(
            look("id", "1790000001", &good, b"body"),
            Err(VerifyError::Signature)
        );
        assert_eq!(
            look("id", "1790000000", &good, b"bodY"),
            Err(VerifyError::Signature)
        );
        assert_eq!(
            look("id", "1790000000", "", b"body"),
            Err(VerifyError::Signature)
        );
        assert_eq!(
            look("id", "soon", &good, b"body"),
            Err(VerifyError::Timestamp)
        );
        let old = sign(&secret, "id", 1_789_999_699, b"body");
        assert_eq!(
            look("id", "1789999699", &old, b"body"),
            Err(VerifyError::Timestamp)
        );
        assert_eq!(
            look(
                "id",
                &i64::MIN.to_string(),
                &sign(&secret, "id", i64::MIN, b""),
                b""
            ),
            Err(VerifyError::Timestamp)
        );
    }
}
