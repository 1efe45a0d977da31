//! Skeleton.
use crate::bounds::{KeyPart, Payload};
use crate::handler::Handler;
use crate::Idem;

/// One call's key and payload, read from the arguments.
#[derive(Debug)]
pub struct Message {
    _handler: &'static Handler,
}

impl Message {
    /// For a function without a receiver, or with `name = "…"`.
    pub fn new(handler: &'static Handler) -> Self {
        Self { _handler: handler }
    }
    /// For a method without `name = "…"`: the handler's name is `type_name::<Self>()` and the method's own.
    pub fn of<S: ?Sized>(handler: &'static Handler, _method: &'static str) -> Self {
        Self { _handler: handler }
    }
    /// `runtime = …`.
    pub fn runtime(self, _idem: &Idem) -> Self {
        self
    }
    /// One part of the key, in order.
    pub fn key<K: KeyPart + ?Sized>(self, _part: &K) -> Self {
        self
    }
    /// One stored argument, in order.
    pub fn arg<P: Payload + ?Sized>(self, _name: &'static str, _value: &P) -> Self {
        self
    }
    /// One part of `fingerprint(…)`; where there is none, all arguments count.
    pub fn fingerprint<P: Payload + ?Sized>(self, _value: &P) -> Self {
        self
    }
    /// `fingerprint = "off"`.
    pub fn no_fingerprint(self) -> Self {
        self
    }
}
