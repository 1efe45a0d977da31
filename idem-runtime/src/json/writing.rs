//! JSON as idem writes it: within its limits, and with a note of what may not read back as it was.

use std::io::{self, Write};

use serde_json::Serializer;
use serde_json::ser::Formatter;

use crate::json::problem::json_problem;
use crate::json::{Json, TooDeep, depth};

/// What a value is written with.
pub(crate) type Writer<'a> = Serializer<Limited<'a>, Watching<'a>>;

/// Writes one value. It is handed on as a trait object, so that the rest is compiled once and not
/// once a type.
pub(crate) type Writes<'a> = &'a mut dyn FnMut(&mut Writer<'_>) -> serde_json::Result<()>;

/// Why a value was not written.
#[derive(Debug)]
pub(crate) enum Unwritten {
    TooLarge,
    Codec(String),
}

/// Writes a value inside so many levels behind what is there, and says whether it may not read
/// back.
pub(crate) fn write(
    into: &mut Vec<u8>,
    limit: usize,
    level: usize,
    write: Writes<'_>,
) -> Result<bool, Unwritten> {
    let mut seen = Seen {
        level,
        ..Seen::default()
    };
    let mut json = Serializer::with_formatter(Limited { bytes: into, limit }, Watching(&mut seen));
    let written = write(&mut json);
    match written {
        // A `Serialize` may have kept the error to itself.
        _ if seen.deepest > Json::DEEPEST => {
            Err(Unwritten::Codec(TooDeep(seen.deepest).to_string()))
        }
        Ok(()) => Ok(seen.doubtful),
        Err(error) if error.is_io() => Err(Unwritten::TooLarge),
        Err(error) => Err(Unwritten::Codec(json_problem(&error))),
    }
}

/// Refuses what goes over the limit while it is written, and so never holds it.
pub(crate) struct Limited<'a> {
    bytes: &'a mut Vec<u8>,
    limit: usize,
}

impl Write for Limited<'_> {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        self.write_all(more).map(|()| more.len())
    }

    #[inline]
    fn write_all(&mut self, more: &[u8]) -> io::Result<()> {
        if self.bytes.len().saturating_add(more.len()) > self.limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(more);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What was seen of a value while it was written.
#[derive(Default)]
struct Seen {
    level: usize,
    deepest: usize,
    /// There is something in it that serde writes and may not read: a `null`, which also stands for
    /// NaN and infinities; an integer of 128 bits, a key that is no string, or raw JSON, which
    /// tagged, untagged and flattened types refuse.
    doubtful: bool,
    /// The key that is being written is a string.
    text: bool,
}

/// Writes as compactly as serde_json itself does, and keeps its eyes open.
pub(crate) struct Watching<'a>(&'a mut Seen);

impl Watching<'_> {
    #[inline]
    fn down(&mut self, levels: usize) -> io::Result<()> {
        self.0.level += levels;
        self.0.deepest = self.0.deepest.max(self.0.level);
        if self.0.level > Json::DEEPEST {
            Err(io::ErrorKind::InvalidData.into())
        } else {
            Ok(())
        }
    }

    #[inline]
    fn up(&mut self, levels: usize) {
        self.0.level = self.0.level.saturating_sub(levels);
    }
}

impl Formatter for Watching<'_> {
    #[inline]
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.down(1)?;
        writer.write_all(b"[")
    }

    #[inline]
    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.up(1);
        writer.write_all(b"]")
    }

    #[inline]
    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.down(1)?;
        writer.write_all(b"{")
    }

    #[inline]
    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.up(1);
        writer.write_all(b"}")
    }

    #[inline]
    fn begin_object_key<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.text = false;
        if first {
            Ok(())
        } else {
            writer.write_all(b",")
        }
    }

    #[inline]
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        self.0.text = true;
        writer.write_all(fragment.as_bytes())
    }

    #[inline]
    fn end_object_key<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.0.doubtful |= !self.0.text;
        Ok(())
    }

    #[inline]
    fn write_null<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.doubtful = true;
        writer.write_all(b"null")
    }

    fn write_i128<W: ?Sized + Write>(&mut self, writer: &mut W, value: i128) -> io::Result<()> {
        self.0.doubtful = true;
        write!(writer, "{value}")
    }

    fn write_u128<W: ?Sized + Write>(&mut self, writer: &mut W, value: u128) -> io::Result<()> {
        self.0.doubtful = true;
        write!(writer, "{value}")
    }

    fn write_number_str<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        value: &str,
    ) -> io::Result<()> {
        self.0.doubtful = true;
        writer.write_all(value.as_bytes())
    }

    fn write_raw_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        self.0.doubtful = true;
        let levels = depth(fragment);
        self.down(levels)?;
        self.up(levels);
        writer.write_all(fragment.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;
    use serde_json::value::RawValue;
    use serde_json::{Value, json};

    use super::*;

    fn written<T: Serialize + ?Sized>(value: &T) -> Result<(String, bool), String> {
        let mut text = Vec::new();
        match write(&mut text, usize::MAX, 0, &mut |json| value.serialize(json)) {
            Ok(doubtful) => Ok((String::from_utf8(text).unwrap(), doubtful)),
            Err(unwritten) => Err(format!("{unwritten:?}")),
        }
    }

    #[test]
    fn what_is_written_is_what_serde_json_writes() {
        #[derive(Serialize)]
        enum Kind {
            Unit,
            New(u8),
            Named { a: char, b: f64 },
        }
        let keys = BTreeMap::from([(1, "\"quoted\"\n"), (2, "")]);
        let value = (
            json!({"a": [1, -2.5, {"": null}], "\"": true}),
            keys,
            i128::MIN,
            u128::MAX,
            f64::NAN,
        );
        assert_eq!(
            written(&value).unwrap(),
            (serde_json::to_string(&value).unwrap(), true)
        );
        let kinds = [Kind::Unit, Kind::New(1), Kind::Named { a: '\\', b: 1e300 }];
        assert_eq!(
            written(&kinds).unwrap(),
            (serde_json::to_string(&kinds).unwrap(), false)
        );
    }

    #[test]
    fn only_what_may_not_read_back_is_doubtful() {
        assert!(
            [
                written(&()),
                written(&None::<u8>),
                written(&f64::INFINITY),
                written(&f32::NAN)
            ]
            .iter()
            .all(doubtful)
        );
        assert!(
            [
                written(&1_u128),
                written(&-1_i128),
                written(&RawValue::NULL)
            ]
            .iter()
            .all(doubtful)
        );
        assert!(
            [written(&BTreeMap::from([(1, 1)])), written(&(1, [()]))]
                .iter()
                .all(doubtful)
        );
        assert!(!doubtful(&written(&(
            u64::MAX,
            i64::MIN,
            1.5,
            true,
            "",
            'x',
            Some(1)
        ))));
        assert!(!doubtful(&written(&json!({"a": {"b\n": ["c"]}}))));
    }

    fn doubtful(written: &Result<(String, bool), String>) -> bool {
        written.as_ref().unwrap().1
    }

    #[test]
    fn more_levels_than_may_be_are_not_written() {
        let nested =
            |levels: usize| (1..levels).fold(json!([]), |inner, _| Value::from(vec![inner]));
        assert!(written(&nested(Json::DEEPEST)).is_ok());
        for value in [
            nested(Json::DEEPEST + 1),
            json!({ "a": nested(Json::DEEPEST) }),
        ] {
            assert!(written(&value).unwrap_err().contains("100 is the limit"));
            let raw = serde_json::value::to_raw_value(&value).unwrap();
            assert!(written(&raw).unwrap_err().contains("100 is the limit"));
        }
        // What was closed is no longer around what follows.
        assert!(written(&vec![nested(Json::DEEPEST - 1); 3]).is_ok());
    }
}
