//! Any bytes in place of a stored value.

use std::fmt::Debug;

use idem_runtime::protocol::{DeadLetter, Live, Record, Settled};
use idem_runtime::testing::internals::{again, decode, encode};
use minicbor::{Decode, Encode};

use crate::fields::{DEAD_LETTER, Fields, LIVE, LIVE_RECORD, SETTLED, SETTLED_RECORD, grown};

/// Any bytes are a value or an error; a value that was read is the same when it is written and read
/// again, and when a newer version added fields to it.
pub fn envelope(bytes: &[u8]) {
    if let Ok(live) = decode::<Live>(bytes) {
        same_again(&live, &LIVE, bytes);
    }
    if let Ok(settled) = decode::<Settled>(bytes) {
        same_again(&settled, &SETTLED, bytes);
    }
    if let Ok(record) = Record::decode(bytes) {
        record_again(&record, bytes);
    }
    if let Ok(letter) = decode::<DeadLetter>(bytes) {
        same_again(&letter, &DEAD_LETTER, bytes);
    }
    if let Ok(written) = again(bytes) {
        assert_eq!(
            again(&written).ok(),
            Some(written),
            "the ledger's numbers are others when read again"
        );
    }
}

/// [`same_again`] for a whole record, as a ledger of another crate stores it.
pub(crate) fn record_again(record: &Record, seed: &[u8]) {
    let fields = match record {
        Record::Live(_) => &LIVE_RECORD,
        Record::Settled(_) => &SETTLED_RECORD,
    };
    same_again(record, fields, seed);
}

/// Written and read the value is the same, also with fields of a newer version; `seed` says which.
pub(crate) fn same_again<T>(value: &T, fields: &Fields, seed: &[u8])
where
    T: Encode<()> + for<'b> Decode<'b, ()> + PartialEq + Debug,
{
    let written = match encode(value) {
        Ok(written) => written,
        Err(error) => panic!("{value:?} cannot be written: {error}"),
    };
    assert_read(&written, value);
    let newer = grown(&written, fields, seed);
    assert!(
        newer.len() > written.len(),
        "no field was added to {value:?}"
    );
    assert_read(&newer, value);
}

fn assert_read<T: for<'b> Decode<'b, ()> + PartialEq + Debug>(envelope: &[u8], expected: &T) {
    match decode::<T>(envelope) {
        Ok(value) => assert_eq!(&value, expected, "read from {envelope:02x?}"),
        Err(error) => panic!("{error}: {expected:?} in {envelope:02x?}"),
    }
}
