//! One attempt: the inner service's answer, and what it means for the key.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response};
use http_body::Body as HttpBody;
use idem_runtime::HandlerCall;
use parking_lot::Mutex;
use tower::ServiceExt;
use tower_service::Service;

use crate::answer::Answer;
use crate::body::{Body, BoxError, Read, boxed, read, with_trailers};
use crate::disposition::Disposition;
use crate::failure::Failure;
use crate::layer::Options;
use crate::problem::Problem;

/// Says, in the extensions of a response, that its body is a stream: it goes to the client as it
/// comes, and is not recorded. Bodies without a length whose type is `text/event-stream`,
/// `application/x-ndjson` or `multipart/x-mixed-replace` are taken for streams anyway.
#[derive(Debug, Clone, Copy)]
pub struct Streamed;

/// The answer that this request's own client gets, with what is not recorded.
#[derive(Default)]
pub(crate) struct Live(Mutex<Option<Response<Body>>>);

impl Live {
    pub(crate) fn put(&self, response: Response<Body>) {
        *self.0.lock() = Some(response);
    }

    pub(crate) fn take(&self) -> Option<Response<Body>> {
        self.0.lock().take()
    }
}

/// Says in a call what its failures mean.
pub(crate) fn of_request<E>(call: HandlerCall<Failure<E>>) -> HandlerCall<Failure<E>> {
    call.outage(Failure::is_outage)
        .release_if(Failure::is_released)
}

/// Runs the inner service once, and decides what its answer means.
pub(crate) async fn attempt<S, B, R>(
    options: &Options,
    inner: S,
    request: Request<B>,
    live: &Live,
) -> Result<Answer, Failure<S::Error>>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let Ok(_running) = options.running.try_acquire() else {
        live.put(options.refuse(Problem::overloaded()));
        return Err(Failure::Released);
    };
    let response = inner.oneshot(request).await.map_err(Failure::Service)?;
    let (parts, body) = response.into_parts();
    let is_streamed = parts.extensions.get::<Streamed>().is_some()
        || (body.size_hint().exact().is_none() && is_stream(&parts.headers));
    let read = match is_streamed {
        true => Read::TooLarge(boxed(body)),
        false => read(body, options.largest_answer).await.map_err(|error| {
            live.put(options.refuse(Problem::interrupted()));
            Failure::Failed(format!("the answer's body ended early: {error}"))
        })?,
    };
    let (kept, trailers, body) = match read {
        Read::Whole(bytes, trailers) => (
            Some(bytes.clone()),
            trailers.clone(),
            with_trailers(bytes, trailers),
        ),
        Read::TooLarge(body) => (None, None, body),
    };
    let trailers = trailers.as_ref();
    let failure = |body: Option<&[u8]>| options.failure(&parts, trailers, body);
    let said = parts.extensions.get().copied();
    let result = match said.unwrap_or_else(|| options.disposition(&parts, trailers, kept.is_some()))
    {
        Disposition::Record => {
            let headers = &options.recorded_headers;
            Ok(Answer::recorded(&parts, trailers, headers, kept))
        }
        Disposition::Release => Err(Failure::Released),
        Disposition::Outage => Err(Failure::Outage(failure(kept.as_deref()))),
        Disposition::Fail => Err(Failure::Failed(failure(kept.as_deref()))),
    };
    live.put(Response::from_parts(parts, body));
    result
}

fn is_stream(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let streams = [
        "text/event-stream",
        "application/x-ndjson",
        "multipart/x-mixed-replace",
    ];
    value.is_some_and(|value| streams.iter().any(|stream| value.starts_with(stream)))
}
