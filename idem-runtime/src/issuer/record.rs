//! The record that says that a key was issued.

use jiff::Timestamp;

use crate::ledger::{Ledger, LedgerError};
use crate::protocol::{Record, RecordId, Settlement};

/// Where the record that says a key was issued stands.
pub(super) fn issued(issuer: &str, key: &str) -> RecordId {
    RecordId {
        handler: format!("issued/{issuer}").into(),
        key: key.into(),
    }
}

/// Whether a key was issued, and has not lapsed.
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
