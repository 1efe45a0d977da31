//! The payload of a call: its arguments as JSON, redacted, and what was redacted sealed.

use std::sync::Arc;

use crate::error::{CodecStage, Error};
use crate::handler::Handler;
use crate::idem::shared::Shared;
use crate::json::problem::json_problem;
use crate::json::writing::{Unwritten, Writer};
use crate::message::redact::parts::{self, Part};
use crate::message::redact::redact;
use crate::protocol::{RecordId, Sealed};

/// Writes a payload that a call has taken, and does not need yet.
pub(crate) type Later = Box<dyn Fn(&mut Writer<'_>) -> serde_json::Result<()> + Send + Sync>;

/// Adds the name of an argument behind those that were written. It is an identifier, so it needs no
/// escaping.
pub(super) fn begin_argument(name: &str, payload: &mut Vec<u8>) {
    let open: &[u8] = match payload.is_empty() {
        true => b"{\"",
        false => b",\"",
    };
    payload.extend_from_slice(open);
    payload.extend_from_slice(name.as_bytes());
    payload.extend_from_slice(b"\":");
}

/// Adds what comes behind the last argument.
pub(super) fn end(payload: &mut Vec<u8>) {
    if payload.is_empty() {
        payload.push(b'{');
    }
    payload.push(b'}');
}

/// Redacts a payload of a handler that has something to redact, and returns the parts that are to be sealed.
pub(super) fn redacted(
    payload: &mut Vec<u8>,
    handler: &Handler,
    shared: Option<&Shared>,
) -> Result<Vec<Part>, Unwritten> {
    handler.spelling.called();
    let shown = redact(payload, handler.redact);
    let shown = shown.map_err(|error| Unwritten::Codec(json_problem(&error)))?;
    let limit = shared.map_or(usize::MAX, |shared| shared.limits.payload);
    // The placeholder may be longer than what it stands for.
    if shown.len() > limit && shown.len() > payload.len() {
        return Err(Unwritten::TooLarge);
    }
    let original = std::mem::replace(payload, shown);
    let seals = shared.is_some_and(|shared| shared.seal.is_some());
    match (std::str::from_utf8(&original), std::str::from_utf8(payload)) {
        (Ok(original), Ok(shown)) if seals => {
            Ok(parts::hidden(original, shown, "").unwrap_or_default())
        }
        _ => Ok(Vec::new()),
    }
}

/// Seals the parts that were redacted, if there are any and there is a key for it.
#[inline]
pub(super) fn sealed(
    shared: &Shared,
    id: &RecordId,
    hidden: Vec<Part>,
) -> Result<Option<Arc<Sealed>>, Error> {
    if hidden.is_empty() {
        return Ok(None);
    }
    let sealed = shared.seal.as_ref().and_then(|keys| keys.seal(id, hidden));
    let limit = shared.limits.payload;
    match sealed {
        Some(sealed) if sealed.weight() > limit => {
            let handler = id.handler.to_string();
            Err(unwritten(handler, &id.key, limit, Unwritten::TooLarge))
        }
        sealed => Ok(sealed.map(Arc::new)),
    }
}

/// Returns the error of a payload that could not be written.
pub(super) fn unwritten(handler: String, key: &str, limit: usize, why: Unwritten) -> Error {
    let key = key.to_owned();
    match why {
        Unwritten::TooLarge => Error::PayloadTooLarge {
            handler,
            key,
            limit,
        },
        Unwritten::Codec(problem) => Error::Codec {
            handler,
            key,
            stage: CodecStage::Arguments,
            problem,
        },
    }
}
