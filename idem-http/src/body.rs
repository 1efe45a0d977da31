//! Bodies, read up to a limit.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, future, stream};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, BodyStream, Full, StreamBody};

/// Any error of a body.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer, and of a call of gRPC as the inner service gets it.
#[derive(Debug)]
pub struct Body(UnsyncBoxBody<Bytes, BoxError>);

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        full(bytes)
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.get_mut().0).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// A body that was read.
pub(crate) enum Read {
    /// All of it, and its trailers.
    Whole(Bytes, Option<HeaderMap>),
    /// It is over the limit. Nothing of it is lost.
    TooLarge(Body),
}

/// Reads a body that is not larger than `limit` bytes.
pub(crate) async fn read<B>(body: B, limit: usize) -> Result<Read, BoxError>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let mut frames = Vec::new();
    let (mut size, mut trailers) = (0, None);
    let mut rest = Box::pin(body);
    let announced = rest.size_hint().lower();
    if announced > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Ok(Read::TooLarge(boxed(rest)));
    }
    while let Some(frame) = rest.frame().await {
        let data = match frame.map_err(Into::into)?.into_data() {
            Ok(data) => data,
            Err(other) => {
                trailers = other.into_trailers().ok();
                continue;
            }
        };
        size += data.len();
        frames.push(data);
        if size > limit {
            let frames = frames.into_iter().map(|data| Ok(Frame::data(data)));
            let rest = BodyStream::new(boxed(rest));
            return Ok(Read::TooLarge(boxed(StreamBody::new(
                stream::iter(frames).chain(rest),
            ))));
        }
    }
    let whole = match frames.len() {
        0 => Bytes::new(),
        1 => frames.remove(0),
        _ => {
            let mut whole = BytesMut::with_capacity(size);
            frames.iter().for_each(|data| whole.extend_from_slice(data));
            whole.freeze()
        }
    };
    Ok(Read::Whole(whole, trailers))
}

/// Returns the body of an answer.
pub(crate) fn boxed<B>(body: B) -> Body
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    Body(body.map_err(Into::into).boxed_unsync())
}

/// Returns a body of these bytes and trailers.
pub(crate) fn with_trailers(bytes: Bytes, trailers: Option<HeaderMap>) -> Body {
    match trailers {
        None => full(bytes),
        Some(trailers) => boxed(full(bytes).with_trailers(future::ready(Some(Ok(trailers))))),
    }
}

/// Returns a body of these bytes.
pub(crate) fn full(bytes: Bytes) -> Body {
    boxed(Full::new(bytes))
}
