//! How the types of other crates are written inside an envelope.

use std::sync::Arc;
use std::time::Duration;

use ::uuid::Uuid;
use jiff::Timestamp;
use minicbor::data::Type;
use minicbor::decode::Error as Unreadable;
use minicbor::encode::{Error as Unwritable, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};

use crate::json::Json;

/// The module of a type, for the derive's `with`.
macro_rules! adapter {
    ($(#[$doc:meta])* $name:ident: $type:ty, |$value:ident, $e:ident| $write:expr, |$d:ident| $read:expr) => {
        $(#[$doc])*
        pub(crate) mod $name {
            use super::*;

            pub(crate) fn encode<C, W: Write>(
                $value: &$type,
                $e: &mut Encoder<W>,
                _: &mut C,
            ) -> Result<(), Unwritable<W::Error>> {
                $write?.ok()
            }

            pub(crate) fn decode<C>($d: &mut Decoder<'_>, _: &mut C) -> Result<$type, Unreadable> {
                $read
            }
        }
    };
}

adapter! {
    /// A point in time: milliseconds since 1970.
    millis: Timestamp,
    |time, e| e.i64(time.as_millisecond()),
    |d| {
        let millis = d.i64()?;
        let nearest = if millis < 0 { Timestamp::MIN } else { Timestamp::MAX };
        Ok(Timestamp::from_millisecond(millis).unwrap_or(nearest))
    }
}

adapter! {
    /// A duration: milliseconds.
    duration: Duration,
    |duration, e| e.u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
    |d| d.u64().map(Duration::from_millis)
}

adapter! {
    /// A shared text.
    text: Arc<str>,
    |text, e| e.str(text),
    |d| d.str().map(Arc::from)
}

adapter! {
    /// Shared bytes.
    bytes: Arc<[u8]>,
    |bytes, e| e.bytes(bytes),
    |d| d.bytes().map(Arc::from)
}

adapter! {
    /// A UUID: its 16 bytes.
    uuid: Uuid,
    |id, e| e.bytes(id.as_bytes()),
    |d| Uuid::from_slice(d.bytes()?).map_err(Unreadable::message)
}

adapter! {
    /// JSON: its text, which people can read.
    json: Json,
    |json, e| e.str(json.as_str()),
    |d| serde_json::from_str(d.str()?).map_err(Unreadable::message)
}

/// A point in time, or none.
pub(crate) mod maybe_millis {
    use super::*;

    pub(crate) fn encode<C, W: Write>(
        time: &Option<Timestamp>,
        e: &mut Encoder<W>,
        c: &mut C,
    ) -> Result<(), Unwritable<W::Error>> {
        match time {
            Some(time) => millis::encode(time, e, c),
            None => e.null()?.ok(),
        }
    }

    pub(crate) fn decode<C>(
        d: &mut Decoder<'_>,
        c: &mut C,
    ) -> Result<Option<Timestamp>, Unreadable> {
        if d.datatype()? == Type::Null {
            return d.skip().map(|()| None);
        }
        millis::decode(d, c).map(Some)
    }
}

/// A number. 0 is not written, as in versions before the number.
pub(crate) mod number {
    use super::*;

    pub(crate) fn encode<C, W: Write>(
        number: &u64,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), Unwritable<W::Error>> {
        e.encode((*number != 0).then_some(*number))?.ok()
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<u64, Unreadable> {
        Ok(d.decode::<Option<u64>>()?.unwrap_or(0))
    }

    #[expect(clippy::unnecessary_wraps, reason = "so the derive asks for it")]
    pub(crate) fn nil() -> Option<u64> {
        Some(0)
    }

    pub(crate) fn is_nil(number: &u64) -> bool {
        *number == 0
    }
}

/// A handler's version. The first one is not written, as in releases before versions.
pub(crate) mod version {
    use super::*;
    use crate::protocol::FIRST_VERSION;

    pub(crate) fn encode<C, W: Write>(
        version: &u32,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), Unwritable<W::Error>> {
        e.encode((!is_nil(version)).then_some(*version))?.ok()
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<u32, Unreadable> {
        Ok(d.decode::<Option<u32>>()?.unwrap_or(FIRST_VERSION))
    }

    #[expect(clippy::unnecessary_wraps, reason = "so the derive asks for it")]
    pub(crate) fn nil() -> Option<u32> {
        Some(FIRST_VERSION)
    }

    pub(crate) fn is_nil(version: &u32) -> bool {
        *version == FIRST_VERSION
    }
}

/// A list. An empty one is not written, as in versions before the list.
pub(crate) mod list {
    use super::*;

    pub(crate) fn encode<T: Encode<C>, C, W: Write>(
        list: &[T],
        e: &mut Encoder<W>,
        c: &mut C,
    ) -> Result<(), Unwritable<W::Error>> {
        e.encode_with(list, c)?.ok()
    }

    pub(crate) fn decode<'b, T: Decode<'b, C>, C>(
        d: &mut Decoder<'b>,
        c: &mut C,
    ) -> Result<Vec<T>, Unreadable> {
        if d.datatype()? == Type::Null {
            return d.skip().map(|()| Vec::new());
        }
        d.decode_with(c)
    }

    #[expect(clippy::unnecessary_wraps, reason = "so the derive asks for it")]
    pub(crate) fn nil<T>() -> Option<Vec<T>> {
        Some(Vec::new())
    }

    pub(crate) fn is_nil<T>(list: &[T]) -> bool {
        list.is_empty()
    }
}

/// A shared list, or none. An empty one is not written.
pub(crate) mod shared_list {
    use super::*;

    pub(crate) fn encode<T: Encode<C>, C, W: Write>(
        list: &Option<Arc<[T]>>,
        e: &mut Encoder<W>,
        c: &mut C,
    ) -> Result<(), Unwritable<W::Error>> {
        list::encode(list.as_deref().unwrap_or_default(), e, c)
    }

    pub(crate) fn decode<'b, T: Decode<'b, C>, C>(
        d: &mut Decoder<'b>,
        c: &mut C,
    ) -> Result<Option<Arc<[T]>>, Unreadable> {
        let list = list::decode(d, c)?;
        Ok((!list.is_empty()).then(|| list.into()))
    }

    pub(crate) use super::shared::{is_nil, nil};
}

/// A shared value, or none.
pub(crate) mod shared {
    use super::*;

    pub(crate) fn encode<T: Encode<C>, C, W: Write>(
        shared: &Option<Arc<T>>,
        e: &mut Encoder<W>,
        c: &mut C,
    ) -> Result<(), Unwritable<W::Error>> {
        e.encode_with(shared.as_deref(), c)?.ok()
    }

    pub(crate) fn decode<'b, T: Decode<'b, C>, C>(
        d: &mut Decoder<'b>,
        c: &mut C,
    ) -> Result<Option<Arc<T>>, Unreadable> {
        Ok(d.decode_with::<C, Option<T>>(c)?.map(Arc::new))
    }

    #[expect(clippy::unnecessary_wraps, reason = "so the derive asks for it")]
    pub(crate) fn nil<T: ?Sized>() -> Option<Option<Arc<T>>> {
        Some(None)
    }

    pub(crate) fn is_nil<T: ?Sized>(shared: &Option<Arc<T>>) -> bool {
        shared.is_none()
    }
}
