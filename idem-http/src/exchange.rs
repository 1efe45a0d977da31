//! A request that is run: its call, its attempt, its answer.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::header::{ACCEPT_ENCODING, HeaderName};
use http::{Request, Response};
use http_body::Body as HttpBody;
use idem_runtime::dead_letters::AttemptOutcome;
use idem_runtime::trace::TraceContext;
use idem_runtime::{Error, HandlerCall, Idem, watch_replay};
use serde::{Serialize, Serializer};
use tower_service::Service;

use crate::answer::mark;
use crate::attempt::{Live, attempt, of_request};
use crate::body::{Body, BoxError};
use crate::failure::Failure;
use crate::goes_on::GoesOn;
use crate::layer::{Options, Settings};
use crate::problem::Problem;
use crate::request::{KeyedRequest, ReadParts};

/// Encodings that a client of gRPC takes.
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// In the extensions of a request that has been through a layer.
#[derive(Clone)]
struct Inside;

/// Returns whether a layer outside of this one has the request.
pub(crate) fn is_inside<B>(request: &Request<B>) -> bool {
    request.extensions().get::<Inside>().is_some()
}

/// A request that is run, and what its attempt, its letter and its client have in common.
struct Exchange {
    settings: Arc<Settings>,
    request: KeyedRequest,
    read: ReadParts,
    start: Start,
    live: Live,
}

/// What a letter of a request shows. It is made when it is written.
struct Letter(Arc<Exchange>);

impl Serialize for Letter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let exchange = &*self.0;
        let kept = &exchange.settings.options.stored_headers;
        let stored = exchange.request.stored(&exchange.read, kept);
        stored.serialize(serializer)
    }
}

/// Runs the request, also if its client hangs up, and returns what the client gets. One that has not
/// started after the layer's `wait` is given up.
pub(crate) fn run<S, B, R>(
    settings: Arc<Settings>,
    inner: S,
    request: KeyedRequest,
) -> impl Future<Output = Result<Response<Body>, S::Error>> + Send
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Display + Send + 'static,
    B: From<Bytes> + Send + 'static,
    R: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let read = request.read();
    let exchange = Arc::new(Exchange {
        settings,
        request,
        read,
        start: Start::default(),
        live: Live::default(),
    });
    let answered = GoesOn::new(answered(Arc::clone(&exchange), inner));
    let Settings { options, idem, .. } = &*exchange.settings;
    let Some(wait) = options.wait else {
        return Either::Left(answered);
    };
    let longest = idem.clock().sleep(wait);
    Either::Right(Box::pin(async move {
        match select(answered, longest).await {
            Either::Left((answer, _)) => answer,
            Either::Right(((), waiting)) if exchange.start.give_up() => {
                // It waits for the first request, and its body can start no more.
                waiting.give_up();
                Ok(exchange.settings.options.refuse(Problem::in_progress()))
            }
            Either::Right(((), running)) => running.await,
        }
    }))
}

/// Begins the call of a request: its key, what must match, and what its letter shows.
fn call_of<E>(exchange: &Arc<Exchange>) -> HandlerCall<Failure<E>> {
    let (settings, request) = (&exchange.settings, &exchange.request);
    let call = of_request(settings.idem.call(&settings.handler))
        .key(&request.scope)
        .key(request.key.as_str())
        .trace(TraceContext::from_headers(&request.parts.headers));
    let call = match &request.compared {
        None => call.fingerprint(&request.fingerprint(&exchange.read, &settings.options.left_out)),
        Some(bytes) => {
            let path = request.parts.uri.path();
            call.fingerprint(&(path, blake3::hash(bytes).as_bytes()))
        }
    };
    call.payload_later(Letter(Arc::clone(exchange)))
}

/// Calls the handler, and returns what the client gets.
async fn answered<S, B, R>(exchange: Arc<Exchange>, inner: S) -> Result<Response<Body>, S::Error>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Display + Send + 'static,
    B: From<Bytes> + Send + 'static,
    R: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let call = call_of(&exchange);
    let shared = Arc::clone(&exchange);
    let attempt = move || {
        let (exchange, inner) = (Arc::clone(&shared), inner.clone());
        // In a box, because most of it is the handler's, and a replay has none.
        Box::pin(async move {
            let Exchange {
                settings,
                request,
                start,
                live,
                ..
            } = &*exchange;
            if !start.begin() {
                return Err(Failure::Released);
            }
            let request = handed_on(request).map(B::from);
            attempt(&settings.options, inner, request, live).await
        })
    };
    let (result, replayed) = watch_replay(call.run(attempt)).await;
    let (live, options) = (exchange.live.take(), &exchange.settings.options);
    match (result, replayed) {
        (Ok(answer), Some(replayed)) => Ok(marked(options.recorded(answer), replayed.age)),
        (Ok(answer), None) => Ok(live.unwrap_or_else(|| options.recorded(answer))),
        (Err(Failure::Failed(_) | Failure::Outage(_)), _) => {
            Ok(live.unwrap_or_else(|| options.refuse(Problem::interrupted())))
        }
        (Err(Failure::Released), _) => {
            Ok(live.unwrap_or_else(|| options.refuse(Problem::in_progress())))
        }
        (Err(Failure::Service(error)), _) => Err(error),
        (Err(Failure::Idem(error)), _) => {
            Ok(Box::pin(refused(&exchange.settings.idem, options, error)).await)
        }
    }
}

/// Returns the request that the handler gets.
fn handed_on(request: &KeyedRequest) -> Request<Bytes> {
    let mut parts = request.parts.clone();
    // What is recorded is not encoded for one client: that is done outside, for each.
    parts.headers.remove(ACCEPT_ENCODING);
    parts.headers.remove(GRPC_ACCEPT_ENCODING);
    parts.extensions.insert(request.key.clone());
    parts.extensions.insert(Inside);
    Request::from_parts(parts, request.body.clone())
}

/// Returns what a client gets where idem refused: the last failure of a request that was given up,
/// else a problem.
async fn refused(idem: &Idem, options: &Options, error: Error) -> Response<Body> {
    if let Error::DeadLettered { id, .. } = &error
        && let Ok(Some(letter)) = idem.dead_letters().get(id).await
        && let Some(last) = letter.attempts.last()
    {
        let failed = matches!(last.outcome, AttemptOutcome::Failed);
        let text = last.error.as_deref().filter(|_| failed);
        let answer = text.and_then(|text| options.last_failure(text));
        let answer = answer.unwrap_or_else(|| options.refuse(Problem::failed()));
        let age = idem.clock().now().duration_since(letter.died_at);
        return marked(answer, age.try_into().unwrap_or_default());
    }
    options.refuse(Problem::from(error))
}

/// Says that an answer is a replay, and how old it is.
fn marked(mut answer: Response<Body>, age: Duration) -> Response<Body> {
    mark(answer.headers_mut(), age);
    answer
}

/// Whether a body started, or its client stopped waiting before: the first of the two counts.
#[derive(Default)]
struct Start(AtomicU8);

impl Start {
    const STARTED: u8 = 1;
    const GIVEN_UP: u8 = 2;

    fn begin(&self) -> bool {
        self.reach(Self::STARTED)
    }

    fn give_up(&self) -> bool {
        self.reach(Self::GIVEN_UP)
    }

    fn reach(&self, state: u8) -> bool {
        let order = Ordering::SeqCst;
        match self.0.compare_exchange(0, state, order, order) {
            Ok(_) => true,
            Err(now) => now == state,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::Full;

    use super::*;
    use crate::layer::IdempotencyLayer;
    use crate::scope::Scope;
    use crate::service::{Idempotency, Prepared, prepare};

    /// The largest block that glibc's malloc keeps for each thread, in bytes.
    const CACHED: usize = 1032;

    #[tokio::test]
    async fn the_futures_of_a_request_fit_the_allocators_cache() {
        let idem = idem_runtime::testing::temporary().unwrap();
        let layer = IdempotencyLayer::builder(&idem, "orders", Scope::public());
        let settings = layer.build().unwrap().0;
        let inner = tower::service_fn(async |_: Request<Full<Bytes>>| {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        });
        let request = || {
            let request = Request::post("/orders").header("idempotency-key", "A-1001");
            request.body(Full::<Bytes>::default()).unwrap()
        };

        let whole = Idempotency::new(Arc::clone(&settings), inner).call(request());
        assert!(size_of_val(&*whole) <= CACHED, "{}", size_of_val(&*whole));

        let Prepared::Run((request, _)) = prepare(&settings.options, request()) else {
            panic!("a request with a key is run");
        };
        let exchange = Arc::new(Exchange {
            read: request.read(),
            request,
            settings,
            start: Start::default(),
            live: Live::default(),
        });
        let run = answered::<_, Full<Bytes>, _>(exchange, inner);
        assert!(size_of_val(&run) <= CACHED, "{}", size_of_val(&run));
    }
}
