//! One call's key and payload, read from its arguments.

pub(crate) mod fingerprint;
pub(crate) mod key;
pub(crate) mod redact;

pub use redact::REDACTED;
use std::borrow::Cow;
use std::sync::Arc;

use crate::call::{self, on_behalf, panic};
use crate::delivery::{Delivery, delivery};
use crate::error::{CodecStage, Error};
use crate::handler::Handler;
use crate::handler::bounds::{KeyPart, Payload};
use crate::handler::registry::RegisteredHandler;
use crate::idem::Idem;
use crate::idem::current;
use crate::json::problem::json_problem;
use crate::json::writing::{self, Unwritten, Writes};
use crate::message::fingerprint::Hasher;
use crate::message::key::Key;
use crate::message::redact::parts::{self, Part};
use crate::message::redact::redact;
use crate::metrics;
use crate::protocol::{Budget, Claim, Fingerprint, RecordId};
use crate::trace::{self, TraceContext};

/// Room for most payloads.
const USUAL: usize = 256;

/// One call's key and payload, read from the arguments. An error in them is returned when the call
/// begins.
#[derive(Debug)]
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
#[derive(Debug)]
pub(crate) struct CallRequest {
    pub(crate) named: Arc<RegisteredHandler>,
    pub(crate) idem: Idem,
    pub(crate) id: RecordId,
    pub(crate) claim: Claim,
    /// The trace that came with the call.
    pub(crate) trace: Option<Arc<TraceContext>>,
    /// Whether its fingerprint leaves nulls out, which releases before counted.
    has_nulls: bool,
    /// An empty buffer, which the result may use.
    pub(crate) buffer: Vec<u8>,
}

impl CallRequest {
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
        self.error = Some(match self.buffer.is_empty() {
            true => ArgumentError::Key(format!(
                "cannot be read, because `key` or `runtime` panicked: {panic}"
            )),
            false => {
                ArgumentError::Payload(Unwritten::Codec(format!("reading them panicked: {panic}")))
            }
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

    /// Writes an argument, unless there was an error. The name is an identifier, so it needs no
    /// escaping.
    fn argument(&mut self, name: &'static str, write: Writes<'_>) {
        let open: &[u8] = if self.buffer.is_empty() {
            b"{\""
        } else {
            b",\""
        };
        self.buffer.extend_from_slice(open);
        self.buffer.extend_from_slice(name.as_bytes());
        self.buffer.extend_from_slice(b"\":");
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
        let mut json = Vec::with_capacity(USUAL);
        let written = writing::write(&mut json, usize::MAX, 0, write);
        let hashed = written.and_then(|_| {
            let pushed = self.chosen.get_or_insert_default().push(&json);
            pushed.map_err(|problem| Unwritten::Codec(problem.to_string()))
        });
        if let Err(unwritten) = hashed {
            self.error.get_or_insert(ArgumentError::Payload(unwritten));
        }
    }

    /// Returns the checked message.
    pub(crate) fn finish(mut self) -> Result<CallRequest, Error> {
        self.check()
            .inspect_err(|error| metrics::refused(&self.name, error))
    }

    fn check(&mut self) -> Result<CallRequest, Error> {
        self.end();
        let hidden = self.redact();
        let payload: Arc<[u8]> = self.buffer.as_slice().into();
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
        match unwritten {
            None => {}
            Some(Unwritten::TooLarge) => {
                let limit = idem.shared().limits.payload;
                return Err(Error::PayloadTooLarge {
                    handler: handler(),
                    key: key.to_string(),
                    limit,
                });
            }
            Some(Unwritten::Codec(problem)) => {
                return Err(Error::Codec {
                    handler: handler(),
                    key: key.to_string(),
                    stage: CodecStage::Arguments,
                    problem,
                });
            }
        }
        let shared = idem.shared();
        let named = shared
            .handlers
            .get_or_register(&self.name, self.handler, &shared.pauses)?;
        let id = RecordId {
            handler: Arc::clone(&named.name),
            key,
        };
        let keys = shared.seal.as_ref();
        let sealed = keys.and_then(|keys| keys.seal(&id, hidden));
        let limit = shared.limits.payload;
        if sealed
            .as_ref()
            .is_some_and(|sealed| sealed.weight() > limit)
        {
            return Err(Error::PayloadTooLarge {
                handler: id.handler.to_string(),
                key: id.key.to_string(),
                limit,
            });
        }
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
            sealed: sealed.map(Arc::new),
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
        buffer.clear();
        // A large buffer is not held while the body runs.
        buffer.shrink_to(USUAL);
        Ok(CallRequest {
            named,
            idem,
            id,
            claim,
            trace: self.trace.take(),
            has_nulls: self.has_nulls,
            buffer,
        })
    }

    /// Ends the payload.
    fn end(&mut self) {
        if self.buffer.is_empty() {
            self.buffer.push(b'{');
        }
        self.buffer.push(b'}');
    }

    /// Redacts the payload, and returns the parts if there is a key to seal them with.
    fn redact(&mut self) -> Vec<Part> {
        if self.handler.redact.is_empty() || self.error.is_some() {
            return Vec::new();
        }
        self.handler.spelling.called();
        match redact(&self.buffer, self.handler.redact) {
            // The placeholder may be longer than what it stands for.
            Ok(payload) if payload.len() > self.limit() && payload.len() > self.buffer.len() => {
                self.error = Some(ArgumentError::Payload(Unwritten::TooLarge));
            }
            Ok(payload) => {
                let payload = std::mem::replace(&mut self.buffer, payload);
                return self.hidden(&payload);
            }
            Err(error) => {
                self.error = Some(ArgumentError::Payload(Unwritten::Codec(json_problem(
                    &error,
                ))));
            }
        }
        Vec::new()
    }

    /// Returns the parts that were redacted of a payload, if there is a key to seal them with.
    fn hidden(&self, payload: &[u8]) -> Vec<Part> {
        let seals = self
            .idem
            .as_ref()
            .is_some_and(|idem| idem.shared().seal.is_some());
        let texts = (
            std::str::from_utf8(payload),
            std::str::from_utf8(&self.buffer),
        );
        match texts {
            (Ok(original), Ok(shown)) if seals => {
                parts::hidden(original, shown, "").unwrap_or_default()
            }
            _ => Vec::new(),
        }
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
