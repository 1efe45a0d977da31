//! One call's key and payload, read from its arguments.

pub(crate) mod fingerprint;
pub(crate) mod key;
mod payload;
pub(crate) mod redact;

pub use redact::REDACTED;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::call::{self, on_behalf, panic};
use crate::delivery::{Delivery, delivery};
use crate::error::Error;
use crate::handler::Handler;
use crate::handler::bounds::{KeyPart, Payload};
use crate::handler::registry::RegisteredHandler;
use crate::idem::Idem;
use crate::idem::current;
use crate::json::writing::{self, Unwritten, Writes};
use crate::message::fingerprint::Hasher;
use crate::message::key::Key;
use crate::message::payload::Later;
use crate::message::redact::parts::Part;
use crate::metrics;
use crate::protocol::{Budget, Claim, Fingerprint, RecordId};
use crate::trace::{self, TraceContext};

/// Room for most payloads.
const USUAL: usize = 256;

/// One call's key and payload, read from the arguments. An error in them is returned when the call
/// begins.
pub struct CallBuilder {
    pub(crate) handler: &'static Handler,
    name: Cow<'static, str>,
    idem: Option<Idem>,
    /// The broker delivery that made the call.
    pub(crate) delivery: Option<Arc<Delivery>>,
    /// The trace that came with the call.
    trace: Option<Arc<TraceContext>>,
    key: Key,
    /// Holds the payload, later its canonical text, at last the result.
    buffer: Vec<u8>,
    /// The payload, if it was not written.
    later: Option<Later>,
    chosen: Option<Hasher>,
    fingerprint_off: bool,
    /// Whether the fingerprint leaves nulls out.
    has_nulls: bool,
    error: Option<ArgumentError>,
}

/// An error in the arguments.
#[derive(Debug)]
enum ArgumentError {
    /// In the key: the reason that `InvalidKey` gives.
    Key(String),
    /// In the payload.
    Payload(Unwritten),
}

/// A checked message.
pub(crate) struct CallRequest {
    pub(crate) named: Arc<RegisteredHandler>,
    pub(crate) idem: Idem,
    pub(crate) id: RecordId,
    pub(crate) claim: Claim,
    /// The trace that came with the call.
    pub(crate) trace: Option<Arc<TraceContext>>,
    /// The payload, until it is written.
    later: Option<Later>,
    /// Whether its fingerprint leaves nulls out, which releases before counted.
    has_nulls: bool,
    /// An empty buffer, which the result may use.
    pub(crate) buffer: Vec<u8>,
}

impl CallRequest {
    /// Writes the payload if that was left for later. A claim that may be written needs it.
    ///
    /// # Errors
    /// When it cannot be written, or is too large.
    pub(crate) fn write_payload(&mut self) -> Result<(), Error> {
        let Some(later) = self.later.take() else {
            return Ok(());
        };
        let (shared, handler) = (self.idem.shared(), self.named.handler);
        let limit = shared.limits.payload;
        let written = payload::write_later(&later, &mut self.buffer, limit)
            .and_then(|()| payload::finish(&mut self.buffer, handler, Some(shared)));
        let RecordId { handler, key } = &self.id;
        let hidden =
            written.map_err(|why| payload::unwritten(handler.to_string(), key, limit, why))?;
        self.claim.payload = self.buffer.as_slice().into();
        self.claim.sealed = payload::sealed(shared, &self.id, hidden)?;
        empty(&mut self.buffer);
        Ok(())
    }

    /// Takes the fingerprint that releases before recorded for the message, once, if it is another
    /// one.
    pub(crate) fn count_nulls(&mut self) -> bool {
        let mut all = Hasher::default();
        let counts = std::mem::take(&mut self.has_nulls) && all.push(&self.claim.payload).is_ok();
        if counts {
            self.claim.fingerprint = Some(all.finish());
        }
        counts
    }
}

impl CallBuilder {
    /// For a function without a receiver, or with `name = "…"`.
    pub fn new(handler: &'static Handler) -> Self {
        Self::named(handler, Cow::Borrowed(handler.name))
    }

    /// For a method without `name = "…"`: the handler's name is `type_name::<Self>()` and the
    /// method's own.
    pub fn method<S: ?Sized>(handler: &'static Handler, method: &'static str) -> Self {
        Self::named(
            handler,
            Cow::Owned(format!("{}::{method}", std::any::type_name::<S>())),
        )
    }

    fn named(handler: &'static Handler, name: Cow<'static, str>) -> Self {
        let delivery = delivery();
        let delivered = delivery.as_ref().and_then(|delivery| delivery.trace());
        Self {
            handler,
            name,
            idem: current::idem(),
            delivery,
            trace: delivered.or_else(call::trace),
            key: Key::default(),
            buffer: Vec::with_capacity(USUAL),
            later: None,
            chosen: None,
            fingerprint_off: false,
            has_nulls: false,
            error: None,
        }
    }

    /// Reads the arguments as the expansion says. This runs user code (`Display`, `Serialize`,
    /// expressions); a panic of it becomes an error of the message.
    pub fn read(&mut self, read: &mut dyn FnMut(&mut Self)) {
        let Err(panic) = panic::caught(&mut || read(self)) else {
            return;
        };
        // The key is read before the payload.
        self.error = Some(match self.buffer.is_empty() && self.later.is_none() {
            true => ArgumentError::Key(format!(
                "cannot be read, because `key` or `runtime` panicked: {panic}"
            )),
            false => ArgumentError::Payload(payload::reading_panicked(&panic)),
        });
    }

    /// `runtime = …`.
    pub fn runtime(&mut self, idem: &Idem) -> &mut Self {
        self.idem = Some(idem.clone());
        self
    }

    /// Sets the trace that came with the call, if there is one.
    pub(crate) fn trace(&mut self, trace: Option<TraceContext>) {
        if let Some(trace) = trace {
            self.trace = Some(Arc::new(trace));
        }
    }

    /// Adds one part of the key.
    pub fn key<K: KeyPart + ?Sized>(&mut self, part: &K) -> &mut Self {
        // A reference to the reference is a trait object, whatever the part is.
        self.key.push(&part);
        self
    }

    /// Adds one stored argument.
    pub fn arg<P: Payload + ?Sized>(&mut self, name: &'static str, value: &P) -> &mut Self {
        self.argument(name, &mut |json| value.serialize(json));
        self
    }

    /// Warns of paths of `redact(…)` into an argument that its type does not have.
    pub fn spelled<P: Payload + ?Sized>(&mut self, name: &'static str, value: &P) -> &mut Self {
        let Handler {
            spelling, redact, ..
        } = self.handler;
        if spelling.is_due() {
            spelling.warn_unmatched(&self.name, redact, name, value);
        }
        self
    }

    /// Adds one part of `fingerprint(…)`. Without any, all arguments count.
    pub fn fingerprint<P: Payload + ?Sized>(&mut self, value: &P) -> &mut Self {
        self.part(&mut |json| value.serialize(json));
        self
    }

    /// `fingerprint = "off"`.
    pub fn no_fingerprint(&mut self) -> &mut Self {
        self.fingerprint_off = true;
        self
    }

    /// Takes the payload without writing it yet.
    pub(crate) fn later(&mut self, later: Later) {
        self.later = Some(later);
    }

    /// Writes an argument, unless there was an error.
    fn argument(&mut self, name: &'static str, write: Writes<'_>) {
        payload::begin_argument(name, &mut self.buffer);
        let limit = self.limit();
        if self.error.is_none()
            && let Err(unwritten) = writing::write(&mut self.buffer, limit, 1, write)
        {
            self.error = Some(ArgumentError::Payload(unwritten));
        }
    }

    fn limit(&self) -> usize {
        self.idem
            .as_ref()
            .map_or(usize::MAX, |idem| idem.shared().limits.payload)
    }

    fn part(&mut self, write: Writes<'_>) {
        // Most parts are read before the payload, so its buffer is free.
        let mut json = match self.buffer.is_empty() {
            true => std::mem::take(&mut self.buffer),
            false => Vec::with_capacity(USUAL),
        };
        let written = writing::write(&mut json, usize::MAX, 0, write);
        let hashed = written.and_then(|_| {
            let pushed = self.chosen.get_or_insert_default().push(&json);
            pushed.map_err(|problem| Unwritten::Codec(problem.to_string()))
        });
        if let Err(unwritten) = hashed {
            self.error.get_or_insert(ArgumentError::Payload(unwritten));
        }
        if self.buffer.is_empty() {
            json.clear();
            self.buffer = json;
        }
    }

    /// Returns the checked message.
    pub(crate) fn finish(mut self) -> Result<CallRequest, Error> {
        self.check()
            .inspect_err(|error| metrics::refused(&self.name, error))
    }

    fn check(&mut self) -> Result<CallRequest, Error> {
        let later = self.take_later();
        let (hidden, payload): (_, Arc<[u8]>) = match later {
            None => (self.end_payload(), self.buffer.as_slice().into()),
            Some(_) => Default::default(),
        };
        let fingerprint = self.hashed(&payload);
        let handler = || self.name.to_string();
        let unwritten = match self.error.take() {
            Some(ArgumentError::Key(why)) => {
                return Err(Error::InvalidKey {
                    handler: handler(),
                    why,
                });
            }
            Some(ArgumentError::Payload(unwritten)) => Some(unwritten),
            None => None,
        };
        let Some(idem) = self.idem.take() else {
            return Err(Error::NotInstalled { handler: handler() });
        };
        let key = self.key.finish().map_err(|why| Error::InvalidKey {
            handler: handler(),
            why,
        })?;
        if let Some(why) = unwritten {
            let limit = idem.shared().limits.payload;
            return Err(payload::unwritten(handler(), &key, limit, why));
        }
        let shared = idem.shared();
        let named = shared
            .handlers
            .get_or_register(&self.name, self.handler, &shared.pauses)?;
        let id = RecordId {
            handler: Arc::clone(&named.name),
            key,
        };
        let sealed = payload::sealed(shared, &id, hidden)?;
        let Handler {
            retries,
            on_crash,
            ttl,
            lease,
            ..
        } = *self.handler;
        let claim = Claim {
            owner: Arc::clone(&idem.shared().instance),
            // Each claim of the call gets its own.
            nonce: 0,
            fingerprint,
            payload,
            redacted: named.redacted.clone(),
            sealed,
            budget: Budget {
                retries,
                on_crash,
                ttl,
            },
            lease,
            origin: match &self.delivery {
                Some(delivery) => Some(delivery.origin()),
                None => on_behalf::redriving().and_then(|letter| letter.origin.clone()),
            },
            trace: trace::parent(self.trace.as_deref()),
        };
        let mut buffer = std::mem::take(&mut self.buffer);
        empty(&mut buffer);
        Ok(CallRequest {
            named,
            idem,
            id,
            claim,
            trace: self.trace.take(),
            later,
            has_nulls: self.has_nulls,
            buffer,
        })
    }

    /// Returns the payload that may be written later, and writes it if it is needed now: to be compared,
    /// or for the delivery's verdict.
    fn take_later(&mut self) -> Option<Later> {
        let later = self.later.take()?;
        let is_compared = self.chosen.is_none() && !self.fingerprint_off;
        if !is_compared && self.delivery.is_none() {
            return Some(later);
        }
        let limit = self.limit();
        if self.error.is_none()
            && let Err(unwritten) = payload::write_later(&later, &mut self.buffer, limit)
        {
            self.error = Some(ArgumentError::Payload(unwritten));
        }
        None
    }

    /// Ends and redacts the payload, and returns the parts that are to be sealed.
    fn end_payload(&mut self) -> Vec<Part> {
        if self.error.is_some() {
            return Vec::new();
        }
        let shared = self.idem.as_ref().map(|idem| &**idem.shared());
        let finished = payload::finish(&mut self.buffer, self.handler, shared);
        finished.unwrap_or_else(|unwritten| {
            self.error = Some(ArgumentError::Payload(unwritten));
            Vec::new()
        })
    }

    /// Hashes the chosen parts, else the whole payload.
    fn hashed(&mut self, payload: &[u8]) -> Option<Fingerprint> {
        if let Some(chosen) = self.chosen.take() {
            return Some(chosen.finish());
        }
        if self.fingerprint_off || self.error.is_some() {
            return None;
        }
        let mut all = Hasher::without_nulls(std::mem::take(&mut self.buffer));
        if let Err(error) = all.push(payload) {
            self.error = Some(ArgumentError::Payload(Unwritten::Codec(error.to_string())));
            return None;
        }
        let fingerprint = all.finish();
        self.has_nulls = all.has_dropped_nulls();
        self.buffer = all.into_buffer();
        Some(fingerprint)
    }
}

/// Empties a buffer. A large one is not held while the body runs.
fn empty(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.shrink_to(USUAL);
}

impl fmt::Debug for CallBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallBuilder")
            .field("handler", &self.name)
            .finish_non_exhaustive()
    }
}
