//! The bounds of a handler's types, with compiler messages that say what to do.
//!
//! The expansion uses them through functions with one bound each, so that a type that does not meet
//! it makes one error.

use std::fmt::Display;
use std::future::{Future, Ready, ready};

use serde::{Serialize, de::DeserializeOwned};

use crate::outbox::OutboxMessage;

/// What an idempotent handler returns: a `Result`, under any alias.
pub trait Outcome {
    /// The result that duplicates get.
    type Ok;
    /// The error of a failed attempt.
    type Error;
    /// As a plain `Result`.
    fn into_result(self) -> Result<Self::Ok, Self::Error>;
    /// Back from a plain `Result`.
    fn from_result(result: Result<Self::Ok, Self::Error>) -> Self;
}

impl<T, E> Outcome for Result<T, E> {
    type Ok = T;
    type Error = E;
    fn into_result(self) -> Self {
        self
    }
    fn from_result(result: Self) -> Self {
        result
    }
}

/// A result that can be recorded and replayed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the result of an idempotent handler: duplicates get it from the ledger",
    label = "has to be `Serialize` and `DeserializeOwned`",
    note = "derive `serde::Serialize` and `serde::Deserialize` for `{Self}`; what it borrows, such as a `&str`, \
            has to be owned, such as a `String`"
)]
pub trait Replayable: Serialize + DeserializeOwned {}
#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> Replayable for T {}

/// An error that idem can show and add its own to.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of an idempotent handler: idem shows it, and adds errors of its own",
    label = "has to be `Display` and `From<idem_runtime::Error>`",
    note = "with thiserror, a variant `#[error(transparent)] Idem(#[from] idem_runtime::Error)` does it; \
            `anyhow::Error` and `Box<dyn Error + Send + Sync>` work as they are"
)]
pub trait Failure: Display + From<crate::Error> {}
#[diagnostic::do_not_recommend]
impl<E: Display + From<crate::Error>> Failure for E {}

/// A part of an idempotency key.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be part of an idempotency key",
    label = "has to be `Display`",
    note = "name one of its fields, as in `key = \"order.order_no\"`, or write an expression, as in \
            `key = order.id.to_string()`"
)]
pub trait KeyPart: Display {}
#[diagnostic::do_not_recommend]
impl<T: Display + ?Sized> KeyPart for T {}

/// An argument that is stored with the claim.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be stored with the message",
    label = "has to be `Serialize`",
    note = "derive `serde::Serialize` for `{Self}`, or leave the argument out with `skip(…)` if it is context \
            and not part of the message"
)]
pub trait Payload: Serialize {}
#[diagnostic::do_not_recommend]
impl<T: Serialize + ?Sized> Payload for T {}

/// An owned argument of a body that may run again.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be handed to a second attempt",
    label = "has to be `Clone`",
    note = "derive `Clone` for `{Self}`, take it as `&{Self}`, or say `retries = 0` or `retry = \"redeliver\"`"
)]
pub trait Repeatable: Clone {}
#[diagnostic::do_not_recommend]
impl<T: Clone> Repeatable for T {}

/// A message of a handler of many.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be one of many messages: each attempt gets a copy of its own",
    label = "has to be `Clone`",
    note = "derive `Clone` for `{Self}`"
)]
pub trait Member: Clone {}
#[diagnostic::do_not_recommend]
impl<T: Clone> Member for T {}

/// One attempt's own copy of its message.
pub fn member<T: Member>(message: &T) -> T {
    message.clone()
}

/// One attempt's own copy of an argument.
pub fn again<T: Repeatable>(argument: &T) -> T {
    argument.clone()
}

/// A handler's return type, all its bounds met.
#[diagnostic::on_unimplemented(
    message = "an idempotent handler returns a `Result<T, E>`, and `{Self}` is none",
    label = "not a `Result`",
    note = "its `Ok` is what duplicates get, its `Err` is what is tried again; for a handler that cannot \
            fail, `Result<T, idem_runtime::Error>` will do"
)]
pub trait Handled {}
impl<T: Replayable, E: Failure> Handled for Result<T, E> {}

/// Checks a return type. Its errors are the only ones about return types.
pub fn check<R: Handled>() {}

/// What an `existing` function may return: a result, or a future of one. `M` only distinguishes the
/// two.
#[diagnostic::on_unimplemented(
    message = "the `existing` function returns `{Self}`, which says nothing about an existing result",
    label = "has to return `Result<Option<{T}>, {E}>`, or a future of it",
    note = "`Ok(Some(…))` is the result of an earlier run, `Ok(None)` lets the body run"
)]
pub trait Looks<T, E, M> {
    /// The future of the result.
    type Look: Future<Output = Result<Option<T>, E>>;
    /// Returns the future.
    fn look(self) -> Self::Look;
}

/// [`Looks`] by a plain result.
#[derive(Debug)]
pub enum Now {}
/// [`Looks`] by a future.
#[derive(Debug)]
pub enum Later {}

#[diagnostic::do_not_recommend]
impl<T, E> Looks<T, E, Now> for Result<Option<T>, E> {
    type Look = Ready<Self>;
    fn look(self) -> Ready<Self> {
        ready(self)
    }
}

#[diagnostic::do_not_recommend]
impl<T, E, F: Future<Output = Result<Option<T>, E>>> Looks<T, E, Later> for F {
    type Look = F;
    fn look(self) -> F {
        self
    }
}

/// What an `events` function may return.
#[diagnostic::on_unimplemented(
    message = "the `events` function returns `{Self}`, which is not messages for the outbox",
    label = "has to return `OutboxMessage`s: one, an `Option`, a `Vec` or an array, or a `Result` of them with `{E}`",
    note = "it gets the result as a reference; its `Err` is a failed attempt"
)]
pub trait Events<E> {
    /// As a plain result.
    fn events(self) -> Result<Vec<OutboxMessage>, E>;
}

#[diagnostic::do_not_recommend]
impl<E> Events<E> for OutboxMessage {
    fn events(self) -> Result<Vec<OutboxMessage>, E> {
        Ok(vec![self])
    }
}

#[diagnostic::do_not_recommend]
impl<E> Events<E> for Option<OutboxMessage> {
    fn events(self) -> Result<Vec<OutboxMessage>, E> {
        Ok(self.into_iter().collect())
    }
}

#[diagnostic::do_not_recommend]
impl<E> Events<E> for Vec<OutboxMessage> {
    fn events(self) -> Result<Self, E> {
        Ok(self)
    }
}

#[diagnostic::do_not_recommend]
impl<E, const N: usize> Events<E> for [OutboxMessage; N] {
    fn events(self) -> Result<Vec<OutboxMessage>, E> {
        Ok(self.into())
    }
}

#[diagnostic::do_not_recommend]
impl<M: Events<E>, E> Events<E> for Result<M, E> {
    fn events(self) -> Result<Vec<OutboxMessage>, E> {
        self?.events()
    }
}

/// What an `upgrade` function may return.
#[diagnostic::on_unimplemented(
    message = "the `upgrade` function returns `{Self}`, which is not the result of today",
    label = "has to return `Result<{T}, _>`, the error `Display`",
    note = "it gets the version that recorded a result, as a `u32`, and the result, as a `serde_json::Value`"
)]
pub trait Upgrades<T> {
    /// Why a result cannot be upgraded.
    type Error: Display + 'static;
    /// As a plain result.
    fn upgraded(self) -> Result<T, Self::Error>;
}

#[diagnostic::do_not_recommend]
impl<T, E: Display + 'static> Upgrades<T> for Result<T, E> {
    type Error = E;
    fn upgraded(self) -> Self {
        self
    }
}

/// What an `existing` function of a sync handler may return.
#[diagnostic::on_unimplemented(
    message = "the `existing` function returns `{Self}`, which says nothing about an existing result",
    label = "has to return `Result<Option<{T}>, {E}>`, as the handler is no `async fn`",
    note = "`Ok(Some(…))` is the result of an earlier run, `Ok(None)` lets the body run"
)]
pub trait LooksNow<T, E> {
    /// As a plain result.
    fn look(self) -> Result<Option<T>, E>;
}

#[diagnostic::do_not_recommend]
impl<T, E> LooksNow<T, E> for Result<Option<T>, E> {
    fn look(self) -> Self {
        self
    }
}
