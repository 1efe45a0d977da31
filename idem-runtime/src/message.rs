//! One call's key and payload, as they are read from the arguments.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::Serialize;

use crate::bounds::{KeyPart, Payload};
use crate::current;
use crate::error::Error;
use crate::fingerprint::Hasher;
use crate::handler::Handler;
use crate::idem::Idem;
use crate::key::Key;
use crate::observe;
use crate::protocol::{Budget, Claim, RecordId};

/// One call's key and payload, read from the arguments. What is wrong with them is said when the call begins.
#[derive(Debug)]
pub struct Message {
    handler: &'static Handler,
    name: Cow<'static, str>,
    idem: Option<Idem>,
    key: Key,
    payload: Vec<u8>,
    chosen: Option<Hasher>,
    fingerprint_off: bool,
    trouble: Option<Trouble>,
}

/// Why a payload cannot be stored.
#[derive(Debug)]
enum Trouble {
    TooLarge,
    Codec(String),
}

/// A message that is in order.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) handler: &'static Handler,
    pub(crate) idem: Idem,
    pub(crate) id: RecordId,
    pub(crate) claim: Claim,
}

impl Message {
    /// For a function without a receiver, or with `name = "…"`.
    pub fn new(handler: &'static Handler) -> Self {
        Self::named(handler, Cow::Borrowed(handler.name))
    }

    /// For a method without `name = "…"`: the handler's name is `type_name::<Self>()` and the method's own.
    pub fn of<S: ?Sized>(handler: &'static Handler, method: &'static str) -> Self {
        Self::named(handler, Cow::Owned(format!("{}::{method}", std::any::type_name::<S>())))
    }

    fn named(handler: &'static Handler, name: Cow<'static, str>) -> Self {
        Self {
            handler,
            name,
            idem: current::idem(),
            key: Key::default(),
            payload: Vec::new(),
            chosen: None,
            fingerprint_off: false,
            trouble: None,
        }
    }

    /// `runtime = …`.
    #[must_use]
    pub fn runtime(mut self, idem: &Idem) -> Self {
        self.idem = Some(idem.clone());
        self
    }

    /// One part of the key, in order.
    #[must_use]
    pub fn key<K: KeyPart + ?Sized>(mut self, part: &K) -> Self {
        self.key.push(part);
        self
    }

    /// One stored argument, in order.
    #[must_use]
    pub fn arg<P: Payload + ?Sized>(mut self, name: &'static str, value: &P) -> Self {
        self.payload.push(if self.payload.is_empty() { b'{' } else { b',' });
        self.write(name);
        self.payload.push(b':');
        self.write(value);
        self
    }

    /// One part of `fingerprint(…)`; where there is none, all arguments count.
    #[must_use]
    pub fn fingerprint<P: Payload + ?Sized>(mut self, value: &P) -> Self {
        let hashed = serde_json::to_vec(value).and_then(|json| self.chosen.get_or_insert_default().push(&json));
        if let Err(error) = hashed {
            self.trouble.get_or_insert(Trouble::Codec(error.to_string()));
        }
        self
    }

    /// `fingerprint = "off"`.
    #[must_use]
    pub fn no_fingerprint(mut self) -> Self {
        self.fingerprint_off = true;
        self
    }

    fn write<P: Serialize + ?Sized>(&mut self, value: &P) {
        if self.trouble.is_some() {
            return;
        }
        let limit = self.idem.as_ref().map_or(usize::MAX, |idem| idem.inner().limits.payload);
        let into = Limited { bytes: &mut self.payload, limit };
        if let Err(error) = serde_json::to_writer(into, value) {
            self.trouble = Some(if error.is_io() { Trouble::TooLarge } else { Trouble::Codec(error.to_string()) });
        }
    }

    /// The message, or why it cannot be called with.
    pub(crate) fn finish(self) -> Result<Ready, Error> {
        let name = self.name.clone();
        self.check().inspect_err(|error| observe::refused(&name, error))
    }

    fn check(mut self) -> Result<Ready, Error> {
        let name = self.name;
        let handler = || name.to_string();
        let Some(idem) = self.idem else { return Err(Error::NotInstalled { handler: handler() }) };
        let key = self.key.finish().map_err(|why| Error::InvalidKey { handler: handler(), why })?;
        if self.payload.is_empty() {
            self.payload.push(b'{');
        }
        self.payload.push(b'}');
        let mut trouble = self.trouble;
        let mut fingerprint = self.chosen.map(Hasher::finish);
        if fingerprint.is_none() && !self.fingerprint_off && trouble.is_none() {
            let mut all = Hasher::default();
            match all.push(&self.payload) {
                Ok(()) => fingerprint = Some(all.finish()),
                Err(error) => trouble = Some(Trouble::Codec(error.to_string())),
            }
        }
        match trouble {
            None => {}
            Some(Trouble::TooLarge) => {
                return Err(Error::PayloadTooLarge { handler: handler(), key, limit: idem.inner().limits.payload });
            }
            Some(Trouble::Codec(problem)) => {
                let what = "the arguments cannot be turned into JSON, and nothing ran:".to_owned();
                return Err(Error::Codec { handler: handler(), key, what, problem });
            }
        }
        let id = RecordId { handler: idem.inner().handlers.admit(&name, self.handler)?, key: key.into() };
        let Handler { retries, bury, ttl, lease, .. } = *self.handler;
        let claim = Claim {
            owner: idem.inner().instance.clone(),
            fingerprint,
            payload: self.payload,
            budget: Budget { retries, bury, ttl },
            lease,
        };
        Ok(Ready { handler: self.handler, idem, id, claim })
    }
}

/// Refuses what goes over the limit while it is written, and so never holds it.
struct Limited<'a> {
    bytes: &'a mut Vec<u8>,
    limit: usize,
}

impl Write for Limited<'_> {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if self.bytes.len().saturating_add(more.len()) > self.limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
