//! Times as the database keeps them.

use jiff::{SignedDuration, Timestamp};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Type};

/// 1 January 2000, from which PostgreSQL counts, in microseconds after 1970.
const EPOCH: i64 = 946_684_800_000_000;

/// A `timestamptz`. What is finer than a microsecond is rounded up, so that nothing is due early. In an
/// answer that comes as text it is a `bigint`, of microseconds after 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(pub(crate) Timestamp);

impl Time {
    /// Returns it up to the microsecond that it is rounded up to.
    pub(crate) fn rounded(self) -> Timestamp {
        let just_below = SignedDuration::from_nanos(999);
        let above = self.0.checked_add(just_below).unwrap_or(self.0);
        Timestamp::from_microsecond(above.as_microsecond()).unwrap_or(self.0)
    }
}

impl Type<Postgres> for Time {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1184))
    }
}

impl PgHasArrayType for Time {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1185))
    }
}

impl Encode<'_, Postgres> for Time {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let micros = self.rounded().as_microsecond() - EPOCH;
        buffer.extend_from_slice(&micros.to_be_bytes());
        Ok(IsNull::No)
    }
}

impl Decode<'_, Postgres> for Time {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        let micros = match value.format() {
            PgValueFormat::Binary => {
                i64::from_be_bytes(value.as_bytes()?.try_into()?).saturating_add(EPOCH)
            }
            PgValueFormat::Text => value.as_str()?.parse()?,
        };
        // The ends are none that this function knows.
        let end = if micros > 0 {
            Timestamp::MAX
        } else {
            Timestamp::MIN
        };
        Ok(Self(Timestamp::from_microsecond(micros).unwrap_or(end)))
    }
}
