//! Aliases of `Result`, and the errors people use.
#![deny(warnings, unsafe_code, unused)]
#![allow(missing_docs, unreachable_pub, dead_code)]

use idem_runtime::idempotent;

#[derive(Debug, thiserror::Error)]
pub enum PayError {
    #[error("declined")]
    Declined,
    #[error(transparent)]
    Idem(#[from] idem_runtime::Error),
    #[error(transparent)]
    Number(#[from] std::num::ParseIntError),
}

type Answer<T = u64, E = PayError> = Result<T, E>;
type Swapped<E, T> = Result<T, E>;
type Whole = Result<(), PayError>;

#[idempotent(key = "id")]
pub async fn alias(id: &str) -> Answer {
    if id.is_empty() {
        return Err(PayError::Declined);
    }
    Ok(id.parse::<u64>()?)
}

#[idempotent(key = "id")]
pub async fn swapped(id: &str) -> Swapped<PayError, u64> {
    Ok(id.parse::<u64>()?)
}

#[idempotent(key = "id")]
pub async fn whole(id: &str) -> Whole {
    let _: u64 = id.parse()?;
    Ok(())
}

#[idempotent(key = "id")]
pub async fn with_anyhow(id: &str) -> anyhow::Result<u64> {
    anyhow::ensure!(!id.is_empty(), "no id");
    Ok(id.parse()?)
}

#[idempotent(key = "id")]
pub async fn boxed(id: &str) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
    if id.is_empty() {
        Err("no id")?;
    }
    if id.len() > 9 {
        return Err("too long".into());
    }
    Ok(id.parse()?)
}

#[idempotent(key = "id")]
pub fn boxed_and_sync(id: &str) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
    if id.is_empty() {
        return Err("no id".into());
    }
    Ok(id.parse()?)
}

#[idempotent(key = "id")]
pub async fn collected(id: &str) -> Result<Vec<u8>, PayError> {
    id.split('.').map(|part| Ok(part.parse()?)).collect()
}

#[idempotent(key = "id")]
pub async fn coerced(id: u64) -> Result<Option<Box<[u64]>>, PayError> {
    Ok(Some(Box::new([id])))
}

#[idempotent(key = "id")]
pub async fn never_ok(id: u64) -> Result<(), PayError> {
    Err(if id > 1 {
        PayError::Declined
    } else {
        idem_runtime::Error::Closed {
            handler: None,
            key: None,
        }
        .into()
    })
}

#[idempotent(key = "id")]
pub async fn diverges(id: u64) -> Result<u64, PayError> {
    panic!("{id}")
}

pub fn main() {
    fn spawnable<T: Send>(_: T) {}
    spawnable(alias("1"));
    spawnable(swapped("1"));
    spawnable(whole("1"));
    spawnable(with_anyhow("1"));
    spawnable(boxed("1"));
    spawnable(collected("1"));
    spawnable(coerced(1));
    spawnable(never_ok(1));
    spawnable(diverges(1));
    let _ = boxed_and_sync("1");
}
