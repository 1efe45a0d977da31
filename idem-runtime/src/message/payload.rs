//! The payload of a call: its arguments as JSON, redacted, and what was redacted sealed.

use std::sync::Arc;

use crate::call::panic;
use crate::error::{CodecStage, Error};
use crate::handler::Handler;
use crate::handler::definition::PAYLOAD;
use crate::idem::shared::Shared;
use crate::json::problem::json_problem;
use crate::json::writing::{self, Unwritten, Writer};
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

/// Writes a payload that was taken before.
pub(super) fn write_later(
    later: &Later,
    payload: &mut Vec<u8>,
    limit: usize,
) -> Result<(), Unwritten> {
    begin_argument(PAYLOAD, payload);
    let mut written = Ok(false);
    panic::caught(&mut || written = writing::write(payload, limit, 1, &mut |json| later(json)))
        .map_err(|panic| reading_panicked(&panic))?;
    written.map(drop)
}

/// Returns what is wrong where the user's code panicked.
pub(super) fn reading_panicked(panic: &str) -> Unwritten {
    Unwritten::Codec(format!("reading them panicked: {panic}"))
}

/// Ends and redacts a payload, and returns the parts that are to be sealed.
#[inline]
pub(super) fn finish(
    payload: &mut Vec<u8>,
    handler: &Handler,
    shared: Option<&Shared>,
) -> Result<Vec<Part>, Unwritten> {
    if payload.is_empty() {
        payload.push(b'{');
    }
    payload.push(b'}');
    match handler.redact {
        [] => Ok(Vec::new()),
        _ => redacted(payload, handler, shared),
    }
}

fn redacted(
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
