//! sled 0.34's log as bytes: segments of 512 KiB, a header each, and messages one behind the other.

/// How sled divides its log.
pub(super) const SEGMENT: u64 = 512 << 10;
/// The bytes of a segment's header.
pub(super) const HEADER: usize = 20;
/// Closer to its end, a segment takes no message.
const RED_ZONE: u64 = 32;

/// What stands at a segment's beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    /// Zeros: sled keeps free segments so.
    Empty,
    /// A header whose sum is right.
    Begins(Header),
    /// Anything else: a write that was torn, or damage.
    Unreadable,
}

/// A segment's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Where the segment begins in the log of all time.
    pub(super) lsn: u64,
    /// Up to where the log was said to be stable when the segment began.
    pub(super) stable: u64,
}

impl Head {
    pub(super) fn read(bytes: &[u8; HEADER]) -> Self {
        if bytes == &[0; HEADER] {
            return Self::Empty;
        }
        Header::read(bytes).map_or(Self::Unreadable, Self::Begins)
    }
}

impl Header {
    fn read(bytes: &[u8; HEADER]) -> Option<Self> {
        let mut rest = Bytes(bytes);
        let sum = rest.u32()?;
        let (lsn, stable) = (rest.i64()? ^ i64::MAX, rest.i64()? ^ i64::MAX);
        let lsn = u64::try_from(lsn)
            .ok()
            .filter(|lsn| lsn.is_multiple_of(SEGMENT))?;
        // The first header of all says that nothing is stable: -1.
        let stable = u64::try_from(stable).unwrap_or(0);
        (sum ^ u32::MAX == crc32fast::hash(&bytes[4..])).then_some(Self { lsn, stable })
    }

    pub(super) fn bytes(self) -> [u8; HEADER] {
        let place = |place: u64| (place as i64 ^ i64::MAX).to_le_bytes();
        let mut bytes = [0; HEADER];
        bytes[4..12].copy_from_slice(&place(self.lsn));
        bytes[12..].copy_from_slice(&place(self.stable));
        let sum = crc32fast::hash(&bytes[4..]) ^ u32::MAX;
        bytes[..4].copy_from_slice(&sum.to_le_bytes());
        bytes
    }
}

/// The kind of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// All of a page.
    Page,
    /// A change to a page.
    Link,
    /// A page that is free.
    Free,
}

/// One message of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message<'a> {
    /// Something of a page. One that stands in a file of its own has the file's number in place of
    /// the body.
    Page {
        kind: Kind,
        page: u64,
        blob: bool,
        body: &'a [u8],
    },
    /// The messages up to this place are one batch: all of them count, or none.
    Batch { last: i64 },
    /// A reservation that came to nothing.
    Canceled,
    /// The rest of the segment is empty.
    Cap,
}

/// Whether a message may begin at this place of a segment.
pub(super) fn has_room(at: u64) -> bool {
    at + RED_ZONE <= SEGMENT
}

/// Returns the message at a place of a segment, and its length. `None` if there is no whole one.
pub(super) fn message(segment: &[u8], at: usize, number: u64) -> Option<(Message<'_>, u64)> {
    let rest = segment.get(at..)?;
    let mut header = Bytes(rest);
    let (sum, kind) = (header.u32()?, header.u8()?);
    let (length, segment_number, page) = (header.u64()?, header.u64()?, header.u64()?);
    let header_length = rest.len() - header.0.len();
    let body = header.take(length)?;
    let mut hash = crc32fast::Hasher::new();
    hash.update(body);
    hash.update(&rest[4..header_length]);
    if kind == 0 || hash.finalize() ^ u32::MAX != sum || segment_number != number {
        return None;
    }
    let of = |kind, blob| Message::Page {
        kind,
        page,
        blob,
        body,
    };
    let message = match kind {
        1 => Message::Canceled,
        2 => Message::Cap,
        3 => Message::Batch {
            last: Bytes(body).i64()?,
        },
        4 => of(Kind::Free, false),
        // A counter, the meta page, a node: each is a page as a whole.
        5 | 6 | 8 => of(Kind::Page, false),
        7 | 9 => of(Kind::Page, true),
        10 => of(Kind::Link, false),
        11 => of(Kind::Link, true),
        _ => return None,
    };
    Some((message, header_length as u64 + length))
}

/// The bytes that are left to read.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    /// A number of one to nine bytes.
    pub(super) fn u64(&mut self) -> Option<u64> {
        Some(match self.u8()? {
            first @ 0..=240 => first.into(),
            first @ 241..=248 => 240 + 256 * (u64::from(first) - 241) + u64::from(self.u8()?),
            249 => 2288 + 256 * u64::from(self.u8()?) + u64::from(self.u8()?),
            first => {
                let mut number = [0; 8];
                let length = usize::from(first) - 247;
                number[..length].copy_from_slice(self.take(length as u64)?);
                u64::from_le_bytes(number)
            }
        })
    }

    /// Bytes behind their length.
    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u64()?;
        self.take(length)
    }
}

/// Writes a number as [`Bytes::u64`] reads it.
pub(super) fn put(into: &mut Vec<u8>, number: u64) {
    let bytes = number.to_le_bytes();
    match number {
        0..=240 => into.push(bytes[0]),
        241..=2287 => into.extend([
            (241 + (number - 240) / 256) as u8,
            ((number - 240) % 256) as u8,
        ]),
        2288..=67_823 => into.extend([
            249,
            ((number - 2288) / 256) as u8,
            ((number - 2288) % 256) as u8,
        ]),
        _ => {
            let length = (8 - number.leading_zeros() as usize / 8).max(3);
            into.push(247 + length as u8);
            into.extend(&bytes[..length]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_as_it_was_written() {
        let edges = [
            0,
            240,
            241,
            2287,
            2288,
            67_823,
            67_824,
            (1 << 24) - 1,
            1 << 24,
            u64::from(u32::MAX),
            1 << 32,
        ];
        for number in edges
            .into_iter()
            .chain((3..64).map(|bits| 1 << bits))
            .chain([u64::MAX])
        {
            let mut bytes = Vec::new();
            put(&mut bytes, number);
            let mut left = Bytes(&bytes);
            assert_eq!(
                (left.u64(), left.0.len()),
                (Some(number), 0),
                "{number}: {bytes:?}"
            );
        }
    }

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let header = Header {
            lsn: 7 * SEGMENT,
            stable: 6 * SEGMENT + 5,
        };
        let mut bytes = header.bytes();
        assert_eq!(Head::read(&bytes), Head::Begins(header));
        bytes[15] ^= 1;
        assert_eq!(Head::read(&bytes), Head::Unreadable);
    }

    #[test]
    fn rubbish_is_no_message() {
        for length in 0..64 {
            assert_eq!(message(&vec![0; length], 0, 0), None);
            assert_eq!(message(&vec![255; length], 0, 0), None);
        }
    }
}
