//! Other attributes above and below, and lints inside.
#![deny(warnings, unsafe_code, unused)]
#![allow(missing_docs, unreachable_pub, dead_code)]

use idem_runtime::{Error, idempotent};
use tracing::instrument;

/// Documented.
#[instrument(fields(note = note), err)]
#[idempotent(key = "id")]
pub async fn span_around_each_attempt(id: u64, note: &str) -> Result<u64, Error> {
    Ok(id + note.len() as u64)
}

#[idempotent(key = "id")]
#[instrument(skip(note), ret, err)]
pub async fn span_around_the_call(id: u64, note: String) -> Result<u64, Error> {
    Ok(id + note.len() as u64)
}

#[idempotent(key = "id")]
#[instrument]
pub fn blocking(id: u64, (a, _b): (u64, u64)) -> Result<u64, Error> {
    Ok(id + a)
}

#[instrument]
#[idempotent(key = "id")]
pub fn blocking_below(id: u64, mut list: Vec<u64>) -> Result<usize, Error> {
    list.push(id);
    Ok(list.len())
}

pub struct Shop;

#[async_trait::async_trait]
pub trait Handle {
    async fn below(&self, id: u64) -> Result<u64, Error>;
    async fn above(&self, id: u64) -> Result<u64, Error>;
}

#[async_trait::async_trait]
impl Handle for Shop {
    #[idempotent(key = "id")]
    #[instrument(skip(self))]
    async fn below(&self, id: u64) -> Result<u64, Error> {
        Ok(id)
    }

    #[instrument(skip(self))]
    #[idempotent(key = "id")]
    async fn above(&self, id: u64) -> Result<u64, Error> {
        Ok(id)
    }
}

#[idempotent(key = "id")]
#[allow(clippy::unused_async, clippy::mixed_attributes_style)]
#[inline]
#[must_use = "it is a test"]
#[cfg(not(any()))]
pub(crate) async fn attributes_stay(id: u64) -> Result<u64, Error> {
    #![allow(unused_variables)]
    #![allow(non_snake_case)]
    let UnusedAndOdd = 1;
    Ok(id)
}

#[idempotent(key = "id")]
#[deprecated = "as a test"]
pub async fn deprecated(#[allow(unused_variables)] id: u64, _unused: u64) -> Result<u64, Error> {
    Ok(1)
}

#[idempotent(key = "id")]
#[expect(unused_variables, reason = "the lints of the body are as they were")]
pub async fn expectations(id: u64) -> Result<u64, Error> {
    let nobody_reads_it = 1;
    Ok(id)
}

pub fn main() {
    fn spawnable<T: Send>(_: T) {}
    spawnable(span_around_each_attempt(1, "a"));
    spawnable(span_around_the_call(1, "a".into()));
    spawnable(attributes_stay(1));
    spawnable(expectations(1));
    #[allow(deprecated)]
    spawnable(deprecated(1, 2));
    let _ = blocking(1, (2, 3));
    let _ = blocking_below(1, vec![]);
    spawnable(Shop.below(1));
    spawnable(Shop.above(1));
}
