//! A claim that was granted.

use std::time::Instant;

use crate::protocol::Grant;

/// The right to run the body once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) token: u64,
    pub(super) number: u32,
    pub(super) since: Instant,
}

impl From<Grant> for Held {
    fn from(Grant { token, number }: Grant) -> Self {
        Self {
            token,
            number,
            since: Instant::now(),
        }
    }
}
