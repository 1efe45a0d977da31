//! A crate that knows idem-runtime under another name.
#![deny(warnings)]

use once_only::{Error, Idem, idempotent};

/// Async, with everything that the expansion calls.
#[idempotent(key = "id", crate = once_only, runtime = idem, skip(idem), existing = find, retry_if = always, fingerprint(id))]
pub async fn handle(id: u64, idem: &Idem) -> Result<u64, Error> {
    let _ = idem;
    Ok(id)
}

async fn find(_: &u64, _: &Idem) -> Result<Option<u64>, Error> {
    Ok(None)
}

fn always(_: &Error) -> bool {
    true
}

/// Sync, by an absolute path.
#[idempotent(key = "id", crate = ::once_only, existing = find_now)]
pub fn blocking(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn find_now(_: &u64) -> Result<Option<u64>, Error> {
    Ok(None)
}

/// Without a prelude, only absolute paths mean anything.
pub mod bare {
    #![no_implicit_prelude]

    /// Async, on what is re-exported.
    #[crate::idem::idempotent(key = "id", crate = crate::idem)]
    pub async fn handle(id: u64) -> ::core::result::Result<u64, crate::idem::Error> {
        ::core::result::Result::Ok(id)
    }
}

/// As a crate of one's own would re-export it.
pub mod idem {
    pub use once_only::*;
}
