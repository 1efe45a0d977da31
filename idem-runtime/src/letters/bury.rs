//! Letters of messages that no handler could take.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::json;

use crate::error::Error;
use crate::idem::Idem;
use crate::json::Json;
use crate::key;
use crate::protocol::{Bury, DeadLetter, DeadLetterId, Fingerprint, Origin, Reason, RecordId, Reply, Step, Unread};

/// How long a discard keeps such a message out: as long as a handler's default time to live.
const TTL: Duration = Duration::from_secs(7 * 24 * 60 * 60);

impl Idem {
    /// Makes a dead letter of a message that no handler can take: it cannot be decoded, has no key, is too large, or has
    /// another message's key. When this returns, the letter is durable, and the broker may forget the message.
    ///
    /// `handler` is the handler's or the consumer's name, `key` the message's own id or a hash of its bytes. The same message
    /// is one letter, however often it comes. Whatever the key, the message is not refused: where the key is empty, too long
    /// or another message's, a hash of the bytes is used, or added.
    ///
    /// The letter's payload is the text, where the bytes are text, else `{"base64": "…"}`, and no more of it than
    /// [`payload_limit`](crate::Builder::payload_limit): [`DeadLetter::cut_from`] says so.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # use idem_runtime::{Idem, Origin, Reason};
    /// # let idem = Idem::open(folder.path())?;
    /// let origin = Origin::new("rabbitmq", "orders");
    /// let id = idem.bury("orders.place", "m-17", b"{\"order_no", origin.clone(), "EOF while parsing a string").await?;
    /// let letter = idem.dead_letters().get(&id).await?.expect("it was just written");
    /// assert_eq!((letter.reason, letter.payload), (Reason::Undecodable, "{\"order_no".into()));
    /// // It comes again: it is the same letter.
    /// assert_eq!(idem.bury("orders.place", "m-17", b"{\"order_no", origin, "EOF while parsing a string").await?, id);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Ledger`] when it cannot be recorded, [`Error::Closed`] when this Idem was closed: the broker keeps the
    /// message.
    pub async fn bury(
        &self,
        handler: &str,
        key: &str,
        bytes: &[u8],
        origin: Origin,
        error: &str,
    ) -> Result<DeadLetterId, Error> {
        let inner = self.inner();
        let site = || (Some(handler.to_owned()), Some(key.to_owned()));
        let Some(_entry) = inner.enter() else {
            let (handler, key) = site();
            return Err(Error::Closed { handler, key });
        };
        let kept = Kept::of(bytes, inner.limits.payload);
        let buried = Box::new(Bury {
            fingerprint: kept.fingerprint,
            payload: kept.payload,
            unread: Unread { error: crate::call::cut(error.to_owned()), cut_from: kept.cut_from },
            origin,
            ttl: TTL,
        });
        let of_bytes = kept.fingerprint.0.iter().fold(String::new(), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        });
        let usable = !key.is_empty() && key.len() <= key::LONGEST;
        let first = if usable { Cow::Borrowed(key) } else { Cow::Borrowed(&*of_bytes) };
        // Of a key so long that nothing can be added, the hash alone will do.
        let second = if usable && key.len() + 1 + of_bytes.len() <= key::LONGEST {
            Cow::Owned(format!("{key} {of_bytes}"))
        } else {
            Cow::Borrowed(&*of_bytes)
        };
        for key in [first, second] {
            let id = RecordId { handler: handler.into(), key: (*key).into() };
            match inner.apply(&id, Step::Bury(buried.clone())).await {
                Ok(Reply::Died(letter)) => return Ok(letter.id),
                Ok(Reply::Dead { letter, .. }) => return Ok(letter),
                Ok(_) => {}
                Err(problem) => {
                    let (handler, key) = site();
                    return Err(Error::Ledger { handler, key, problem });
                }
            }
        }
        // A handler of that name would have to have a key that is a hash of these very bytes.
        Err(Error::KeyReused { handler: handler.to_owned(), key: key.to_owned() })
    }
}

/// What a letter keeps of a message's bytes.
struct Kept {
    fingerprint: Fingerprint,
    payload: Json,
    cut_from: Option<u64>,
}

impl Kept {
    fn of(bytes: &[u8], limit: usize) -> Self {
        let mut fingerprint = [0; 16];
        fingerprint.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
        let payload = match std::str::from_utf8(bytes) {
            Ok(text) => text[..text.floor_char_boundary(limit)].into(),
            Err(_) => json!({ "base64": BASE64_STANDARD.encode(&bytes[..bytes.len().min(limit)]) }).into(),
        };
        let cut_from = (bytes.len() > limit).then_some(bytes.len() as u64);
        Self { fingerprint: Fingerprint(fingerprint), payload, cut_from }
    }
}

impl DeadLetter {
    /// The message's bytes, for whoever publishes it again: of a [buried](Idem::bury) one the bytes as they came or as a
    /// person mended them, else the payload as JSON, of a handler with one argument that argument alone. Numbers stay as they
    /// are written.
    pub fn message(&self) -> Vec<u8> {
        if self.reason == Reason::Undecodable {
            if let Ok(text) = self.payload.parse::<String>() {
                return text.into_bytes();
            }
            let bytes = self.payload.parse().ok().and_then(|Encoded { base64 }| BASE64_STANDARD.decode(base64).ok());
            // Without them, somebody mended it.
            return bytes.unwrap_or_else(|| self.payload.as_str().into());
        }
        super::run::argument(self, &self.payload).into()
    }
}

/// Bytes that are no text, as a payload has them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Encoded {
    base64: String,
}
