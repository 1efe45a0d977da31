//! The ids and flags of a trace, as the header `traceparent` has them.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The length of a `traceparent` of version 0.
const LENGTH: usize = 55;
/// The flags that version 0 knows: sampled, and a random trace id.
const KNOWN_FLAGS: u8 = 0b11;

/// The position in a trace that work continues from: the trace's id, the id of the span that is the
/// parent, and the flags. Text and JSON are the header's value, [`traceparent`].
///
/// ```
/// use idem_runtime::trace::TraceParent;
///
/// let parent: TraceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse()?;
/// assert_eq!(parent.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
/// assert_eq!(parent.span_id(), "00f067aa0ba902b7");
/// assert!(parent.is_sampled());
/// # Ok::<(), idem_runtime::trace::InvalidTraceParent>(())
/// ```
///
/// [`traceparent`]: https://www.w3.org/TR/trace-context-2/#traceparent-header
#[derive(Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct TraceParent(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    [u8; 25],
);

/// The text is no `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is no `traceparent` of W3C Trace Context: `00-`, 32 hexadecimal digits of the trace's id, \
     `-`, 16 of the span's, `-`, 2 of the flags, in lower case, and neither id is zero"
)]
pub struct InvalidTraceParent;

impl TraceParent {
    /// Returns a position, or `None` if an id is zero.
    pub(super) fn new(trace_id: [u8; 16], span_id: [u8; 8], flags: u8) -> Option<Self> {
        let mut bytes = [0; 25];
        bytes[..16].copy_from_slice(&trace_id);
        bytes[16..24].copy_from_slice(&span_id);
        bytes[24] = flags & KNOWN_FLAGS;
        (trace_id != [0; 16] && span_id != [0; 8]).then_some(Self(bytes))
    }

    /// Returns the trace's id: 32 hexadecimal digits.
    pub fn trace_id(&self) -> String {
        Hex(&self.0[..16]).to_string()
    }

    /// Returns the id of the span that is the parent: 16 hexadecimal digits.
    pub fn span_id(&self) -> String {
        Hex(&self.0[16..24]).to_string()
    }

    /// Returns whether the caller may have recorded its span.
    pub fn is_sampled(&self) -> bool {
        self.0[24] & 1 == 1
    }

    /// Returns the ids and the flags.
    #[cfg(feature = "opentelemetry")]
    pub(super) fn parts(&self) -> ([u8; 16], [u8; 8], u8) {
        let (mut trace_id, mut span_id) = ([0; 16], [0; 8]);
        trace_id.copy_from_slice(&self.0[..16]);
        span_id.copy_from_slice(&self.0[16..24]);
        (trace_id, span_id, self.0[24])
    }
}

impl FromStr for TraceParent {
    type Err = InvalidTraceParent;

    /// Reads version 0, and of a later version what version 0 has, [as the standard
    /// says](https://www.w3.org/TR/trace-context-2/#versioning-of-traceparent).
    fn from_str(text: &str) -> Result<Self, InvalidTraceParent> {
        let read = || {
            let (head, rest) = text.as_bytes().split_at_checked(LENGTH)?;
            let dashes = [2, 35, 52].iter().all(|&at| head[at] == b'-');
            let version = digits::<1>(&head[..2])?[0];
            let fits = match version {
                0 => rest.is_empty(),
                0xff => false,
                _ => rest.first().is_none_or(|next| *next == b'-'),
            };
            let flags = digits::<1>(&head[53..])?[0];
            let parent = Self::new(digits(&head[3..35])?, digits(&head[36..52])?, flags)?;
            (dashes && fits).then_some(parent)
        };
        read().ok_or(InvalidTraceParent)
    }
}

/// Reads bytes from hexadecimal digits in lower case.
fn digits<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// Bytes as hexadecimal digits.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace_id, rest) = self.0.split_at(16);
        let (span_id, flags) = rest.split_at(8);
        write!(f, "00-{}-{}-{}", Hex(trace_id), Hex(span_id), Hex(flags))
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for TraceParent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceParent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_read_is_written_in_every_form() {
        let parent: TraceParent = PARENT.parse().unwrap();
        assert_eq!(parent.to_string(), PARENT);
        let json = serde_json::to_string(&parent).unwrap();
        assert_eq!(serde_json::from_str::<TraceParent>(&json).unwrap(), parent);
        let cbor = minicbor::to_vec(parent).unwrap();
        assert_eq!(cbor.len(), 27);
        assert_eq!(minicbor::decode::<TraceParent>(&cbor).unwrap(), parent);
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known_and_written_as_version_0() {
        for later in [
            PARENT.replacen("00", "cc", 1),
            format!("{}-what-comes", PARENT.replacen("00", "01", 1)),
        ] {
            let parent: TraceParent = later.parse().unwrap();
            assert_eq!(parent.to_string(), PARENT);
        }
        let flags: TraceParent = PARENT.replace("-01", "-ff").parse().unwrap();
        assert!(flags.to_string().ends_with("-03"), "{flags}");
    }

    #[test]
    fn rubbish_is_no_trace() {
        let zeros = |from: &str| PARENT.replace(from, &"0".repeat(from.len()));
        for rubbish in [
            String::new(),
            "rubbish".to_owned(),
            PARENT.to_uppercase(),
            PARENT.replace('-', "_"),
            PARENT.replacen("00", "ff", 1),
            format!("{PARENT}-00"),
            format!(" {PARENT}"),
            format!("{}x", PARENT.replacen("00", "01", 1)),
            PARENT[..54].to_owned(),
            zeros("4bf92f3577b34da6a3ce929d0e0e4736"),
            zeros("00f067aa0ba902b7"),
            PARENT.replace("4bf9", "é+9"),
        ] {
            assert_eq!(
                rubbish.parse::<TraceParent>(),
                Err(InvalidTraceParent),
                "{rubbish}"
            );
        }
    }
}
