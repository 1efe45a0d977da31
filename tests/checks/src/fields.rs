//! What a newer version would write: the same value with more fields, at each place where there are
//! fields.

use minicbor::Decoder;
use minicbor::data::Type;

/// Where the numbered fields in a stored value are.
pub(crate) enum Fields {
    /// A struct: how many fields this version knows, and those that have fields of their own.
    Struct(usize, &'static [(usize, Fields)]),
    /// An enum: the number of its variant, then the variant's fields; the most fields of a variant
    /// whose last ones are left out where they hold nothing.
    Enum(usize, &'static [(usize, Fields)]),
    /// A list.
    Each(&'static Fields),
}

use Fields::{Each, Enum, Struct};

const PAST: Fields = Each(&Struct(7, &[(3, Enum(0, &[]))]));
const ORIGIN: Fields = Struct(7, &[]);
const REUSED: Fields = Struct(3, &[(0, Enum(0, &[])), (1, Each(&Struct(3, &[])))]);
const REDRIVEN: Fields = Struct(5, &[(3, Struct(5, &[(2, Enum(0, &[])), (4, REUSED)]))]);
const SEALED: Fields = Struct(3, &[]);
pub(crate) const LIVE: Fields = Struct(
    14,
    &[
        (4, Struct(3, &[])),
        (6, PAST),
        (8, Enum(6, &[])),
        (10, ORIGIN),
        (11, REDRIVEN),
        (12, SEALED),
    ],
);
pub(crate) const SETTLED: Fields = Struct(6, &[(5, Enum(0, &[(0, Enum(3, &[]))]))]);
pub(crate) const LIVE_RECORD: Fields = Enum(0, &[(0, LIVE)]);
pub(crate) const SETTLED_RECORD: Fields = Enum(0, &[(0, SETTLED)]);
pub(crate) const DEAD_LETTER: Fields = Struct(
    22,
    &[
        (4, Enum(0, &[])),
        (5, PAST),
        (6, Enum(0, &[])),
        (14, ORIGIN),
        (19, REUSED),
        (20, SEALED),
    ],
);

const NULL: u8 = 0xf6;

/// What newer fields may hold: every kind of CBOR.
const NEWER: [&[u8]; 10] = [
    &[NULL],
    b"\x18\x2a",                                 // 42
    b"\x39\x01\x00",                             // -257
    b"\x63new",                                  // "new"
    b"\x43\x00\xff\x01",                         // three bytes
    b"\x82\x01\x81\xf6",                         // [1, [null]]
    b"\xa1\x00\x62hi",                           // {0: "hi"}
    b"\x9f\x01\x9f\xff\xff",                     // [1, []], without lengths
    b"\xc1\xfb\x41\xd4\x00\x00\x00\x00\x00\x00", // a tagged float
    b"\x7f\x61a\x61b\xff",                       // "ab" in two pieces
];

/// The envelope with fields added; `seed` chooses how many and which.
pub(crate) fn grown(envelope: &[u8], fields: &Fields, seed: &[u8]) -> Vec<u8> {
    let (version, body) = envelope.split_at(1);
    let mut newer = version.to_vec();
    let mut seed = seed.iter().copied().chain([0]).cycle();
    if grow(&mut Decoder::new(body), Some(fields), &mut seed, &mut newer).is_none() {
        panic!("not as expected: {envelope:02x?}");
    }
    newer
}

fn grow(
    from: &mut Decoder<'_>,
    fields: Option<&Fields>,
    seed: &mut impl Iterator<Item = u8>,
    into: &mut Vec<u8>,
) -> Option<()> {
    // Where a variant has no such field there is another one, or none.
    let (Some(fields), Type::Array) = (fields, from.datatype().ok()?) else {
        let start = from.position();
        from.skip().ok()?;
        into.extend_from_slice(&from.input()[start..from.position()]);
        return Some(());
    };
    let length = usize::try_from(from.array().ok()??).ok()?;
    match fields {
        Struct(known, inner) => more_fields(from, length, *known, inner, seed, into)?,
        Enum(known, inner) => {
            array(length, into);
            grow(from, None, seed, into)?;
            let length = usize::try_from(from.array().ok()??).ok()?;
            more_fields(from, length, length.max(*known), inner, seed, into)?;
        }
        Each(inner) => {
            array(length, into);
            for _ in 0..length {
                grow(from, Some(inner), seed, into)?;
            }
        }
    }
    Some(())
}

fn more_fields(
    from: &mut Decoder<'_>,
    length: usize,
    known: usize,
    inner: &'static [(usize, Fields)],
    seed: &mut impl Iterator<Item = u8>,
    into: &mut Vec<u8>,
) -> Option<()> {
    let more = 1 + usize::from(seed.next()? % 3);
    array(known + more, into);
    for index in 0..length {
        grow(from, at(inner, index), seed, into)?;
    }
    // The last ones are left out where they hold nothing.
    into.extend(std::iter::repeat_n(NULL, known - length));
    for _ in 0..more {
        into.extend_from_slice(NEWER[usize::from(seed.next()?) % NEWER.len()]);
    }
    Some(())
}

fn at(fields: &'static [(usize, Fields)], index: usize) -> Option<&'static Fields> {
    fields
        .iter()
        .find(|(place, _)| *place == index)
        .map(|(_, fields)| fields)
}

fn array(length: usize, into: &mut Vec<u8>) {
    // A vector takes whatever is written, and no array here has more than 2⁶⁴ elements.
    let written = minicbor::Encoder::new(into)
        .array(length as u64)
        .map(|_| ());
    assert!(written.is_ok());
}
