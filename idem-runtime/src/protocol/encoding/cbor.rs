//! How the types of other crates are written inside an envelope.

/// A point in time: milliseconds since 1970.
pub(crate) mod millis {
    use jiff::Timestamp;
    use minicbor::decode::Error as Unreadable;
    use minicbor::encode::{Error as Unwritable, Write};
    use minicbor::{Decoder, Encoder};

    pub(crate) fn encode<C, W: Write>(
        time: &Timestamp,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), Unwritable<W::Error>> {
        e.i64(time.as_millisecond())?.ok()
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Timestamp, Unreadable> {
        let millis = d.i64()?;
        Ok(
            Timestamp::from_millisecond(millis).unwrap_or(if millis < 0 {
                Timestamp::MIN
            } else {
                Timestamp::MAX
            }),
        )
    }
}

/// A point in time, or none.
pub(crate) mod maybe_millis {
    use jiff::Timestamp;
    use minicbor::decode::Error as Unreadable;
    use minicbor::encode::{Error as Unwritable, Write};
    use minicbor::{Decoder, Encoder};

    pub(crate) fn encode<C, W: Write>(
        time: &Option<Timestamp>,
        e: &mut Encoder<W>,
        c: &mut C,
    ) -> Result<(), Unwritable<W::Error>> {
        match time {
            Some(time) => super::millis::encode(time, e, c),
            None => e.null()?.ok(),
        }
    }

    pub(crate) fn decode<C>(
        d: &mut Decoder<'_>,
        c: &mut C,
    ) -> Result<Option<Timestamp>, Unreadable> {
        if d.datatype()? == minicbor::data::Type::Null {
            return d.skip().map(|()| None);
        }
        super::millis::decode(d, c).map(Some)
    }
}

/// A duration: milliseconds.
pub(crate) mod duration {
    use std::time::Duration;

    use minicbor::decode::Error as Unreadable;
    use minicbor::encode::{Error as Unwritable, Write};
    use minicbor::{Decoder, Encoder};

    pub(crate) fn encode<C, W: Write>(
        duration: &Duration,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), Unwritable<W::Error>> {
        e.u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))?
            .ok()
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Duration, Unreadable> {
        d.u64().map(Duration::from_millis)
    }
}

/// A text that is shared.
pub(crate) mod text {
    use std::sync::Arc;

    use minicbor::decode::Error as Unreadable;
    use minicbor::encode::{Error as Unwritable, Write};
    use minicbor::{Decoder, Encoder};

    pub(crate) fn encode<C, W: Write>(
        text: &Arc<str>,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), Unwritable<W::Error>> {
        e.str(text)?.ok()
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Arc<str>, Unreadable> {
        d.str().map(Arc::from)
    }
}

/// Bytes that are shared.
pub(crate) mod bytes {
    use std::sync::Arc;

    use minicbor::decode::Error as Unreadable;
    use minicbor::encode::{Error as Unwritable, Write};
    use minicbor::{Decoder, Encoder};

    pub(crate) fn encode<C, W: Write>(
        bytes: &Arc<[u8]>,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), Unwritable<W::Error>> {
        e.bytes(bytes)?.ok()
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Arc<[u8]>, Unreadable> {
        d.bytes().map(Arc::from)
    }
}

/// A list; nothing is written where it is empty, as before there could be one.
pub(crate) mod list {
    use minicbor::data::Type;
    use minicbor::decode::Error as Unreadable;
    use minicbor::encode::{Error as Unwritable, Write};
    use minicbor::{Decode, Decoder, Encode, Encoder};

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

/// A list that is shared; nothing where it is empty.
pub(crate) mod shared_list {
    use std::sync::Arc;

    use minicbor::decode::Error as Unreadable;
    use minicbor::encode::{Error as Unwritable, Write};
    use minicbor::{Decode, Decoder, Encode, Encoder};

    pub(crate) fn encode<T: Encode<C>, C, W: Write>(
        list: &Option<Arc<[T]>>,
        e: &mut Encoder<W>,
        c: &mut C,
    ) -> Result<(), Unwritable<W::Error>> {
        super::list::encode(list.as_deref().unwrap_or_default(), e, c)
    }

    pub(crate) fn decode<'b, T: Decode<'b, C>, C>(
        d: &mut Decoder<'b>,
        c: &mut C,
    ) -> Result<Option<Arc<[T]>>, Unreadable> {
        let list = super::list::decode(d, c)?;
        Ok((!list.is_empty()).then(|| list.into()))
    }

    #[expect(clippy::unnecessary_wraps, reason = "so the derive asks for it")]
    pub(crate) fn nil<T>() -> Option<Option<Arc<[T]>>> {
        Some(None)
    }

    pub(crate) fn is_nil<T>(list: &Option<Arc<[T]>>) -> bool {
        list.is_none()
    }
}

/// Something shared, or nothing.
pub(crate) mod shared {
    use std::sync::Arc;

    use minicbor::decode::Error as Unreadable;
    use minicbor::encode::{Error as Unwritable, Write};
    use minicbor::{Decode, Decoder, Encode, Encoder};

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
    pub(crate) fn nil<T>() -> Option<Option<Arc<T>>> {
        Some(None)
    }

    pub(crate) fn is_nil<T>(shared: &Option<Arc<T>>) -> bool {
        shared.is_none()
    }
}

/// A UUID: its 16 bytes.
pub(crate) mod uuid {
    use minicbor::decode::Error as Unreadable;
    use minicbor::encode::{Error as Unwritable, Write};
    use minicbor::{Decoder, Encoder};
    use uuid::Uuid;

    pub(crate) fn encode<C, W: Write>(
        id: &Uuid,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), Unwritable<W::Error>> {
        e.bytes(id.as_bytes())?.ok()
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Uuid, Unreadable> {
        Uuid::from_slice(d.bytes()?).map_err(Unreadable::message)
    }
}

/// JSON: its text, so that people can read what is stored.
pub(crate) mod json {
    use minicbor::decode::Error as Unreadable;
    use minicbor::encode::{Error as Unwritable, Write};
    use minicbor::{Decoder, Encoder};

    use crate::json::Json;

    pub(crate) fn encode<C, W: Write>(
        json: &Json,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), Unwritable<W::Error>> {
        e.str(json.as_str())?.ok()
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Json, Unreadable> {
        serde_json::from_str(d.str()?).map_err(Unreadable::message)
    }
}
