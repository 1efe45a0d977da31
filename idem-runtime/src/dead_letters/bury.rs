//! Dead letters of messages that no handler could take.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::json;

use super::hidden::Hiding;
use super::reused;
use crate::delivery::Refusal;
use crate::error::Error;
use crate::idem::Idem;
use crate::json::Json;
use crate::message::key;
use crate::message::redact::parts::{Part, hidden};
use crate::message::redact::summary;
use crate::protocol::{
    Bury, BuryCause, DeadLetter, DeadLetterId, Fingerprint, Origin, Reason, RecordId, Reply, Step,
};

/// Why a letter shows no part of its message.
const UNSHOWN: &str = "its handler redacts, and no part of these bytes can be told from another, so only their length and \
                       hash are kept";
const SEALED_WHOLE: &str =
    "its handler redacts, and no part of these bytes can be told from another, so they are sealed";

/// How long a discard keeps out such a message: the default `ttl` of a handler.
const TTL: Duration = Duration::from_secs(7 * 24 * 60 * 60);

impl Idem {
    /// Writes a dead letter for a message that no handler can take because it cannot be decoded.
    /// The letter is durable when this returns, and the broker may forget the message. Use
    /// [`bury_refused`](Self::bury_refused) for a message that was decoded and refused.
    ///
    /// `handler` is the name of the handler or the consumer, `key` the message's own id or a hash
    /// of its bytes. The same message makes one letter, however often it comes. Every key is
    /// accepted: where it is empty, too long or belongs to another message, a hash of the bytes
    /// replaces it or is added.
    ///
    /// The letter's payload is the text if the bytes are text, else `{"base64": "…"}`, up to
    /// [`payload_limit`](crate::IdemBuilder::payload_limit) bytes: [`DeadLetter::cut_from`] says
    /// whether it was cut.
    ///
    /// What handlers redact is hidden: the handler of that name, if this process has called it;
    /// those that [deliveries](Self::deliver) of the origin's place and [of that
    /// name](Self::deliver_as) have reached, also before this process started; and the paths of
    /// [`redact_buried`](Self::redact_buried). Such a message may be malformed, so each field with
    /// the last name of a path is hidden, wherever it is and however it is spelled. Of bytes that
    /// are not JSON only `{"content": "[redacted]", "bytes": 213, "blake3": "…"}` is kept then,
    /// unless [`keep_unreadable`](Self::keep_unreadable) was called. With a [key](crate::SealKeys)
    /// what is hidden is sealed, unless the message is over the limit. `error` and the origin's
    /// headers are stored as they are.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # use idem_runtime::{Idem, Origin, dead_letters::Reason};
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
    /// [`Error::Ledger`] when it cannot be recorded, and [`Error::Closed`] when this Idem was
    /// closed. The broker keeps the message.
    pub async fn bury(
        &self,
        handler: &str,
        key: &str,
        bytes: &[u8],
        origin: Origin,
        error: &str,
    ) -> Result<DeadLetterId, Error> {
        self.bury_as(
            handler,
            key,
            bytes,
            origin,
            BuryCause::undecodable(error, None),
            None,
        )
        .await
    }

    /// Writes a dead letter for a message that its handler refuses: it has no key, its key belongs
    /// to another message or was not issued, or it is too large.
    /// [`Verdict::Refused`](crate::Verdict::Refused) holds the refusal. The letter is durable when
    /// this returns, and the broker may forget the message.
    ///
    /// The letter is listed under the message's own key, which stays free: the record has a hash of
    /// the bytes added to the key ([`DeadLetter::record_key`]). `id` replaces a missing key, as
    /// with [`bury`](Self::bury). If the key [belongs to another message](Reason::KeyReused),
    /// [`DeadLetter::reused`] says what became of that one, and where the two differ.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// use idem_runtime::{Error, Filter, Idem, Origin, Verdict, dead_letters::Reason, idempotent};
    ///
    /// #[idempotent(name = "orders.place", key = "order_no")]
    /// async fn place_order(order_no: String, qty: u32) -> Result<u32, Error> {
    ///     Ok(qty)
    /// }
    ///
    /// let (idem, origin) = (Idem::open(folder.path())?, Origin::new("rabbitmq", "orders"));
    /// idem.deliver(origin.clone(), place_order("A-1".into(), 2)).await.output?;
    /// let other = idem.deliver(origin.clone(), place_order("A-1".into(), 3)).await;
    /// if let Verdict::Refused(refusal) = other.verdict {
    ///     idem.bury_refused(&refusal, "m-17", br#"["A-1", 3]"#, origin).await?;
    /// }
    /// let letter = idem.dead_letters().list(&Filter::default().key("A-1")).await?.remove(0);
    /// assert_eq!(letter.reason, Reason::KeyReused);
    /// assert!(letter.reused.is_some_and(|reused| reused.is_done()));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`bury`](Self::bury).
    pub async fn bury_refused(
        &self,
        refusal: &Refusal,
        id: &str,
        bytes: &[u8],
        origin: Origin,
    ) -> Result<DeadLetterId, Error> {
        let Refusal {
            handler,
            key,
            reason,
            error,
            ..
        } = refusal;
        let cause = BuryCause {
            reason: Some(*reason),
            key: key.clone(),
            ..BuryCause::undecodable(error, None)
        };
        self.bury_as(
            handler,
            key.as_deref().unwrap_or(id),
            bytes,
            origin,
            cause,
            Some(refusal),
        )
        .await
    }

    async fn bury_as(
        &self,
        handler: &str,
        key: &str,
        bytes: &[u8],
        origin: Origin,
        mut cause: BuryCause,
        refusal: Option<&Refusal>,
    ) -> Result<DeadLetterId, Error> {
        let shared = self.shared();
        let site = || (Some(handler.to_owned()), Some(key.to_owned()));
        let Some(_entry) = shared.enter() else {
            let (handler, key) = site();
            return Err(Error::Closed { handler, key });
        };
        let ledger = |source| {
            let (handler, key) = site();
            Error::Ledger {
                handler,
                key,
                source,
            }
        };
        if let Some(Refusal {
            reason: Reason::KeyReused,
            payload,
            ..
        }) = refusal
        {
            let holder = RecordId {
                handler: handler.into(),
                key: key.into(),
            };
            let found = reused::find(shared, &holder, payload.as_deref()).await?;
            cause.error = format!(
                "key `{key}` is another message's, which is {found}; send this one under a key of its own, edit it to one \
                 and run it, or discard it"
            );
            cause.reused = Some(Box::new(found));
        }
        let taken = cause.key.is_some();
        let hiding = shared
            .hidden(handler, Some(&origin))
            .await
            .map_err(ledger)?;
        let kept = Kept::of(bytes, shared.limits.payload, &hiding);
        let parts = match shared.seal {
            Some(_) => kept.hidden(bytes, shared.limits.payload),
            None => Vec::new(),
        };
        if !kept.shown {
            let why = if parts.is_empty() {
                UNSHOWN
            } else {
                SEALED_WHOLE
            };
            cause.error = format!("{}; {why}", cause.error);
        }
        let mut buried = Box::new(Bury {
            fingerprint: kept.fingerprint,
            payload: kept.payload,
            redacted: hiding.paths,
            sealed: None,
            cause: BuryCause {
                error: crate::call::cut(cause.error),
                cut_from: kept.cut_from,
                ..cause
            },
            origin,
            ttl: TTL,
        });
        let of_bytes = kept
            .fingerprint
            .0
            .iter()
            .fold(String::new(), |mut text, byte| {
                // Writing to a String cannot fail.
                let _ = write!(text, "{byte:02x}");
                text
            });
        let usable = !key.is_empty() && key.len() <= key::LONGEST;
        let first = if usable {
            Cow::Borrowed(key)
        } else {
            Cow::Borrowed(&*of_bytes)
        };
        // Where a key is too long to add to, the hash replaces it.
        let second = if usable && key.len() + 1 + of_bytes.len() <= key::LONGEST {
            Cow::Owned(format!("{key} {of_bytes}"))
        } else {
            Cow::Borrowed(&*of_bytes)
        };
        // A refused message leaves its key to the messages that are not.
        for key in [first, second].into_iter().skip(usize::from(taken)) {
            let id = RecordId {
                handler: handler.into(),
                key: (*key).into(),
            };
            // What is sealed opens for one record only.
            let keys = shared.seal.as_ref();
            buried.sealed = keys.and_then(|keys| keys.seal(&id, parts.clone()));
            match shared.apply(&id, Step::Bury(buried.clone())).await {
                Ok(Reply::DeadLettered(letter)) => return Ok(letter.id),
                Ok(Reply::Dead { letter, .. }) => return Ok(letter),
                Ok(_) => {}
                Err(source) => return Err(ledger(source)),
            }
        }
        // A handler of that name would have to have a key that is a hash of these very bytes.
        Err(Error::KeyReused {
            handler: handler.to_owned(),
            key: key.to_owned(),
        })
    }
}

/// The part of a message's bytes that a letter keeps.
struct Kept {
    fingerprint: Fingerprint,
    payload: Json,
    /// The payload is the message, as far as it may be stored.
    shown: bool,
    cut_from: Option<u64>,
}

impl Kept {
    fn of(bytes: &[u8], limit: usize, hiding: &Hiding) -> Self {
        let mut fingerprint = [0; 16];
        fingerprint.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
        let fingerprint = Fingerprint(fingerprint);
        let Some(shown) = hiding.shown(bytes) else {
            return Self {
                fingerprint,
                payload: summary(bytes),
                shown: false,
                cut_from: None,
            };
        };
        let payload = beginning(&shown, limit);
        let cut_from = (shown.len() > limit).then_some(bytes.len() as u64);
        Self {
            fingerprint,
            payload,
            shown: true,
            cut_from,
        }
    }

    /// Returns the parts of the message that the payload does not show. A message that is over the
    /// limit is not whole, so none of it is sealed.
    fn hidden(&self, bytes: &[u8], limit: usize) -> Vec<Part> {
        if bytes.len() > limit || self.cut_from.is_some() {
            return Vec::new();
        }
        if !self.shown {
            return vec![Part {
                place: String::new(),
                value: beginning(bytes, limit).as_str().to_owned(),
            }];
        }
        let shown = self.payload.parse::<String>().ok();
        let texts = std::str::from_utf8(bytes).ok().zip(shown);
        let parts = texts.and_then(|(bytes, shown)| hidden(bytes, &shown, "").ok());
        parts.unwrap_or_default()
    }
}

/// Returns the first bytes of a message as a payload.
fn beginning(bytes: &[u8], limit: usize) -> Json {
    match std::str::from_utf8(bytes) {
        Ok(text) => text[..text.floor_char_boundary(limit)].into(),
        Err(_) => {
            json!({ "base64": BASE64_STANDARD.encode(&bytes[..bytes.len().min(limit)]) }).into()
        }
    }
}

impl DeadLetter {
    /// Returns the message's bytes, for publishing it again: of a [buried](Self::is_buried) one the
    /// bytes as they came or as a person edited them, else the payload as JSON, and only the
    /// argument of a handler with one. Numbers keep every digit. The message is whole if nothing is
    /// [`missing`](Self::missing) and it was not [cut](Self::cut_from);
    /// [`republish`](crate::dead_letters::DeadLetters::republish) checks both.
    pub fn message(&self) -> Vec<u8> {
        if self.is_buried() {
            if let Ok(text) = self.payload.parse::<String>() {
                return text.into_bytes();
            }
            let bytes = self
                .payload
                .parse()
                .ok()
                .and_then(|Encoded { base64 }| BASE64_STANDARD.decode(base64).ok());
            // A person has edited it.
            return bytes.unwrap_or_else(|| self.payload.as_str().into());
        }
        super::payload::argument(self, &self.payload).into()
    }
}

/// Returns the bytes of a payload that was not text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Encoded {
    base64: String,
}
