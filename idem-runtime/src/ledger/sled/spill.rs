//! Large values, cut into chunks under keys of their own.

use ::sled::IVec;

use super::layout::chunk_key;
use crate::ledger::LedgerError;

/// Stands in place of an envelope's version: the chunks' name and number follow.
const SPILLED: u8 = 0;

/// The chunks a value was spilled into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spill {
    pub(super) name: u64,
    pub(super) chunks: u32,
}

impl Spill {
    /// Reads where a value's chunks are, if it was spilled.
    pub(super) fn read(head: &[u8]) -> Option<Self> {
        let (&SPILLED, rest) = head.split_first()? else {
            return None;
        };
        let (name, chunks) = rest.split_first_chunk::<8>()?;
        Some(Self {
            name: u64::from_be_bytes(*name),
            chunks: u32::from_be_bytes(chunks.try_into().ok()?),
        })
    }

    /// Returns the chunks' bytes, one after the other. `None` if a chunk is missing.
    pub(super) fn gather(
        self,
        raw: impl Fn(&[u8]) -> Result<Option<IVec>, LedgerError>,
    ) -> Result<Option<Vec<u8>>, LedgerError> {
        let mut envelope = Vec::new();
        for index in 0..self.chunks {
            let Some(chunk) = raw(&chunk_key(self.name, index))? else {
                return Ok(None);
            };
            envelope.extend_from_slice(&chunk);
        }
        Ok(Some(envelope))
    }

    /// Returns the bytes that stand in the value's place.
    pub(super) fn write(self) -> Vec<u8> {
        let mut head = vec![SPILLED];
        head.extend_from_slice(&self.name.to_be_bytes());
        head.extend_from_slice(&self.chunks.to_be_bytes());
        head
    }
}
