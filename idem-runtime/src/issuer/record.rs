//! The record of an issued key.

use jiff::Timestamp;

use crate::ledger::{Ledger, LedgerError};
use crate::protocol::{Record, RecordId, Settlement};

/// Returns the id of the record of an issued key.
pub(super) fn issued(issuer: &str, key: &str) -> RecordId {
    RecordId {
        handler: format!("issued/{issuer}").into(),
        key: key.into(),
    }
}

/// Returns whether a key was issued and has not lapsed.
pub(crate) async fn was_issued(
    ledger: &dyn Ledger,
    issuer: &str,
    key: &str,
    now: Timestamp,
) -> Result<bool, LedgerError> {
    let issue = ledger.record(&issued(issuer, key)).await?;
    Ok(
        matches!(issue, Some(Record::Settled(issue)) if issue.end == Settlement::Issued && !issue.expired(now)),
    )
}
