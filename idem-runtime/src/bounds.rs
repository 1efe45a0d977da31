//! What a handler's types have to be, said so that the compiler's message tells what to do.

use std::fmt::Display;
use std::future::Future;

use serde::{Serialize, de::DeserializeOwned};

/// What an idempotent handler returns: a `Result`, under any alias.
#[diagnostic::on_unimplemented(
    message = "an idempotent handler returns a `Result<T, E>`, and `{Self}` is none",
    label = "not a `Result`"
)]
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
pub trait Replayable: Serialize + DeserializeOwned {}
impl<T: Serialize + DeserializeOwned> Replayable for T {}

/// An error that idem can show and add its own to.
pub trait Failure: Display + From<crate::Error> {}
impl<E: Display + From<crate::Error>> Failure for E {}

/// A part of an idempotency key.
pub trait KeyPart: Display {}
impl<T: Display + ?Sized> KeyPart for T {}

/// An argument that is stored with the claim.
pub trait Payload: Serialize {}
impl<T: Serialize + ?Sized> Payload for T {}

/// What an `existing` function returned: a plain result, or a future of one.
pub struct Look<X>(pub X);

impl<T, E> Look<Result<Option<T>, E>> {
    /// The plain result, for a sync handler.
    pub fn found_now(self) -> Result<Option<T>, E> {
        self.0
    }
    /// The plain result, for an async handler.
    pub async fn found(self) -> Result<Option<T>, E> {
        self.0
    }
}

/// The future's side of [`Look`]: an inherent method wins over a trait's, so this one is found for futures only.
pub trait LookFuture {
    /// The future that looks.
    type Found;
    /// The future itself.
    fn found(self) -> Self::Found;
}

impl<F: Future> LookFuture for Look<F> {
    type Found = F;
    fn found(self) -> F {
        self.0
    }
}
