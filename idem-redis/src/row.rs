//! A row as the server keeps it: one string, whose head the scripts can read.

use std::fmt::Write as _;

use idem_runtime::ledger::LedgerError;
use idem_runtime::ledger::shared::{Owner, Row, Write};
use idem_runtime::protocol::{Record, RecordId};
use jiff::Timestamp;

use crate::time::{micros, time};

/// The version, the state, when it is due, and the lengths of the owner, the handler and the key, in
/// hexadecimal digits but for the state. All of them follow, then the record. The scripts know it too.
const HEAD: usize = 53;

/// Stands for a row that is never due.
const NEVER: &str = "----------------";

/// Returns the name of a record's row: 160 bits of BLAKE3. Unlike the key itself it has one length.
pub(crate) fn row_id(id: &RecordId) -> [u8; 20] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(id.handler.len() as u64).to_le_bytes());
    hasher.update(id.handler.as_bytes());
    hasher.update(id.key.as_bytes());
    let mut hash = [0; 20];
    hasher.finalize_xof().fill(&mut hash);
    hash
}

/// Returns a version as a row begins with it.
pub(crate) fn version(version: u64) -> String {
    format!("{version:016x}")
}

/// Encodes the row of a write.
pub(crate) fn encode(write: &Write) -> Vec<u8> {
    let (handler, key) = (&write.id.handler, &write.id.key);
    let owner = write.owner.as_deref().unwrap_or_default();
    let state = match (&write.record, write.live) {
        (None, _) => 'e',
        (Some(_), true) => 'l',
        (Some(_), false) => 's',
    };
    let mut head = version(write.version);
    head.push(state);
    match write.due {
        // A string takes any of it.
        Some(due) => drop(write!(head, "{:016x}", micros(due).cast_unsigned())),
        None => head.push_str(NEVER),
    }
    let lengths = (owner.len(), handler.len(), key.len());
    let _ = write!(head, "{:04x}{:08x}{:08x}", lengths.0, lengths.1, lengths.2);
    debug_assert_eq!(head.len(), HEAD);
    let mut row = head.into_bytes();
    for text in [owner, handler, key] {
        row.extend_from_slice(text.as_bytes());
    }
    row.extend_from_slice(write.record.as_deref().unwrap_or_default());
    row
}

/// A row that was read.
struct Parts<'r> {
    version: u64,
    has_record: bool,
    due: Option<Timestamp>,
    owner: &'r str,
    handler: &'r str,
    key: &'r str,
    record: &'r [u8],
}

fn parts(row: &[u8]) -> Option<Parts<'_>> {
    let (head, mut rest) = row.split_at_checked(HEAD)?;
    let head = std::str::from_utf8(head).ok()?;
    let number = |from: usize, to: usize| u64::from_str_radix(head.get(from..to)?, 16).ok();
    let mut text = |from: usize, to: usize| {
        let (text, others) = rest.split_at_checked(usize::try_from(number(from, to)?).ok()?)?;
        rest = others;
        std::str::from_utf8(text).ok()
    };
    let (owner, handler, key) = (text(33, 37)?, text(37, 45)?, text(45, 53)?);
    let due = head.get(17..33)?;
    Some(Parts {
        version: number(0, 16)?,
        has_record: head.get(16..17)? != "e",
        due: match due {
            NEVER => None,
            _ => Some(time(number(17, 33)?.cast_signed())),
        },
        owner,
        handler,
        key,
        record: rest,
    })
}

/// Decodes a row. `lease` is the end of its owner's lease, if that lives.
pub(crate) fn decode(row: &[u8], lease: Option<Timestamp>) -> Result<Row, LedgerError> {
    let parts = parts(row).ok_or_else(unreadable)?;
    let owner = match (parts.owner, lease) {
        ("", _) => Owner::None,
        (owner, Some(lease)) => Owner::Until(owner.into(), lease),
        (_, None) => Owner::Dead,
    };
    Ok(Row {
        version: parts.version,
        record: parts
            .has_record
            .then(|| Record::decode(parts.record))
            .transpose()?,
        due: parts.due,
        owner,
    })
}

/// Returns whose row it is.
pub(crate) fn id(row: &[u8]) -> Option<RecordId> {
    parts(row).map(|parts| RecordId::new(parts.handler, parts.key))
}

fn unreadable() -> LedgerError {
    LedgerError::Refused {
        message: "a row of the ledger on Redis cannot be read: something else wrote it".into(),
        source: None,
    }
}
