//! The layer and its options.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_DISPOSITION, CONTENT_ENCODING,
    CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_TYPE, COOKIE, ETAG, HeaderName,
    LAST_MODIFIED, LINK, LOCATION, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    VARY,
};
use http::{Method, StatusCode};
use idem_runtime::{HandlerDef, HandlerDefBuilder, HandlerDefError, Idem};
use tokio::sync::Semaphore;
use tower_layer::Layer;

use crate::disposition::Disposition;
use crate::grpc::Grpc;
use crate::headers::{AGE, REPLAYED, TRUNCATED};
use crate::order;
use crate::scope::Scope;
use crate::service::Idempotency;

/// Headers of answers that are recorded.
const RECORDED: [HeaderName; 11] = [
    CACHE_CONTROL,
    CONTENT_DISPOSITION,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_LOCATION,
    CONTENT_TYPE,
    ETAG,
    LAST_MODIFIED,
    LINK,
    LOCATION,
    VARY,
];

/// Headers that belong to one connection or one answer, so that no replay may have them.
const OF_ONE_ANSWER: [HeaderName; 11] = [
    CONNECTION,
    CONTENT_LENGTH,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    REPLAYED,
    AGE,
    TRUNCATED,
];

/// Headers that are secrets.
const SECRET: [HeaderName; 3] = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION];

/// Runs each request with an `Idempotency-Key` once, and replays its answer to duplicates.
///
/// A clone is the same layer: the routes that it is put on share one handler in the ledger, and so
/// their keys. The [crate's documentation](crate) says where it stands among other layers.
#[derive(Clone)]
pub struct IdempotencyLayer(pub(crate) Arc<Settings>);

/// What the services of one layer share.
pub(crate) struct Settings {
    pub(crate) idem: Idem,
    pub(crate) handler: HandlerDef,
    pub(crate) options: Arc<Options>,
}

/// The options that are the layer's own.
pub(crate) struct Options {
    pub(crate) scope: Scope,
    pub(crate) methods: Vec<Method>,
    pub(crate) required: bool,
    pub(crate) wait: Option<Duration>,
    pub(crate) largest_request: usize,
    pub(crate) largest_answer: usize,
    pub(crate) stored_headers: Vec<HeaderName>,
    pub(crate) recorded_headers: Vec<HeaderName>,
    /// What need not match: paths into a letter's request.
    pub(crate) left_out: Vec<String>,
    pub(crate) statuses: BTreeMap<StatusCode, Disposition>,
    /// What it needs to know of gRPC, if it speaks that.
    pub(crate) grpc: Option<Grpc>,
    /// One permit for each handler that runs.
    pub(crate) running: Arc<Semaphore>,
}

/// Builds an [`IdempotencyLayer`].
#[must_use]
pub struct IdempotencyLayerBuilder {
    idem: Idem,
    handler: HandlerDefBuilder,
    pub(crate) options: Options,
}

/// An error of options that do not go together.
#[derive(Debug)]
#[non_exhaustive]
pub enum LayerError {
    /// The options of its handler do not go together.
    Handler(HandlerDefError),
    /// A header cannot be stored or recorded, with the reason.
    Header(String),
    /// A method of gRPC is not one, or there is none.
    Method(String),
}

impl fmt::Display for LayerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handler(error) => error.fmt(f),
            Self::Header(problem) | Self::Method(problem) => f.write_str(problem),
        }
    }
}

impl std::error::Error for LayerError {}

impl IdempotencyLayer {
    /// Returns a builder of a layer whose requests are calls of the handler `name`, on this ledger,
    /// with keys of their `scope`.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// use std::time::Duration;
    /// use idem_http::{IdempotencyLayer, Scope};
    /// use idem_runtime::Idem;
    ///
    /// let idem = Idem::open(folder.path())?;
    /// let layer = IdempotencyLayer::builder(&idem, "http.orders", Scope::bearer())
    ///     .wait(Duration::from_secs(5))
    ///     .redact(["body.json.card_no"])
    ///     .handler(|handler| handler.retries(5).timeout(Duration::from_secs(30)))
    ///     .build()?;
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn builder(idem: &Idem, name: &str, scope: Scope) -> IdempotencyLayerBuilder {
        let day = Duration::from_secs(24 * 60 * 60);
        // The client paces the retries: its next request is the next attempt.
        let handler = HandlerDef::builder(name)
            .redeliver()
            .backoff(Duration::ZERO, 1.0, Duration::ZERO, false)
            .ttl(day);
        IdempotencyLayerBuilder {
            idem: idem.clone(),
            handler,
            options: Options {
                scope,
                methods: vec![Method::POST, Method::PATCH],
                required: true,
                wait: None,
                largest_request: 256 << 10,
                largest_answer: 1 << 20,
                stored_headers: vec![CONTENT_ENCODING, CONTENT_TYPE],
                recorded_headers: RECORDED.to_vec(),
                left_out: Vec::new(),
                statuses: BTreeMap::new(),
                grpc: None,
                running: Arc::new(Semaphore::new(1024)),
            },
        }
    }
}

impl IdempotencyLayerBuilder {
    /// Lets requests without a key pass, as if there were no layer. Default: they are answered with
    /// 400.
    pub fn optional(mut self) -> Self {
        self.options.required = false;
        self
    }

    /// Sets the methods whose requests have keys; all others pass. Default: POST and PATCH.
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.options.methods = methods.into_iter().collect();
        self
    }

    /// Lets a duplicate wait so long for the first request, and get its answer. Default: it is
    /// answered with 409 at once.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.options.wait = Some(wait);
        self
    }

    /// Sets how large a request's body may be, in bytes; a larger one is answered with 413, and
    /// nothing runs. Default: 256 KiB. What is stored must also be under the ledger's
    /// `payload_limit`.
    pub fn largest_request(mut self, bytes: usize) -> Self {
        self.options.largest_request = bytes;
        self
    }

    /// Sets how large an answer's body may be to be recorded, in bytes. The body of a larger one is
    /// not kept: the request is done all the same, and a replay says so. Default: 1 MiB.
    pub fn largest_answer(mut self, bytes: usize) -> Self {
        self.options.largest_answer = bytes;
        self
    }

    /// Sets how many handlers run at once, those whose clients have gone among them; further
    /// requests are answered with 503. Default: 1024.
    pub fn most_running(mut self, handlers: usize) -> Self {
        let most = handlers.min(Semaphore::MAX_PERMITS);
        self.options.running = Arc::new(Semaphore::new(most));
        self
    }

    /// Stores these headers of a request, too. Default: `Content-Encoding` and `Content-Type`.
    pub fn store_headers(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.options.stored_headers.extend(names);
        self
    }

    /// Records these headers of an answer, too, so that replays have them. As a rule `Set-Cookie`,
    /// `Date` and rate limits belong to one answer. Default: what describes
    /// the body, and `Location`, `Link`, `Cache-Control`, `Vary`.
    pub fn record_headers(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.options.recorded_headers.extend(names);
        self
    }

    /// Keeps parts of a request out of the ledger: dotted paths into the letter's request, such as
    /// `body.json.card_no` and `query.token`. They need not match for a key to be used again.
    pub fn redact<P: Into<String>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        let paths: Vec<String> = paths.into_iter().map(Into::into).collect();
        self.options.left_out.extend_from_slice(&paths);
        self.handler = self.handler.redact(paths);
        self
    }

    /// Leaves fields of a JSON body out of what must match for a key to be used again: dotted
    /// paths, through arrays too, of what a client makes anew for each try.
    pub fn ignore_fields<P: Into<String>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        let paths = paths.into_iter().map(Into::into);
        let in_letter = paths.map(|path: String| format!("body.json.{path}"));
        self.options.left_out.extend(in_letter);
        self
    }

    /// Sets what an answer with this status means for its key. Default: [`Disposition::of`].
    pub fn on_status(mut self, status: StatusCode, disposition: Disposition) -> Self {
        self.options.statuses.insert(status, disposition);
        self
    }

    /// Sets options of the handler: `retries` (3), `timeout` (none), `ttl` (a day), `lease` (30 s),
    /// and whether the service tries again by itself. As a rule it does not: the client's next
    /// request is the next attempt.
    pub fn handler(mut self, options: impl FnOnce(HandlerDefBuilder) -> HandlerDefBuilder) -> Self {
        self.handler = options(self.handler);
        self
    }

    /// Checks the options, and returns the layer.
    ///
    /// # Errors
    /// When the options of the handler do not go together; when a header is to be stored that is a
    /// secret, or to be recorded that belongs to one connection.
    pub fn build(self) -> Result<IdempotencyLayer, LayerError> {
        let Self {
            idem,
            mut handler,
            options,
        } = self;
        let stored = &options.stored_headers;
        if let Some(name) = stored.iter().find(|name| SECRET.contains(name)) {
            let problem = format!("`{name}` is a secret, and is not stored");
            return Err(LayerError::Header(problem));
        }
        let recorded = &options.recorded_headers;
        if let Some(name) = recorded.iter().find(|name| OF_ONE_ANSWER.contains(name)) {
            let problem = format!("`{name}` belongs to one answer, and is not recorded");
            return Err(LayerError::Header(problem));
        }
        if options.wait.is_none() {
            handler = handler.reject_in_flight();
        }
        Ok(IdempotencyLayer(Arc::new(Settings {
            idem,
            handler: handler.build().map_err(LayerError::Handler)?,
            options: Arc::new(options),
        })))
    }
}

impl<S> Layer<S> for IdempotencyLayer {
    type Service = Idempotency<S>;

    /// Wraps a service.
    ///
    /// # Panics
    /// When the service is one that has to stand outside, as far as its type tells.
    fn layer(&self, inner: S) -> Idempotency<S> {
        order::check::<S>();
        Idempotency::new(Arc::clone(&self.0), inner)
    }
}

impl fmt::Debug for IdempotencyLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotencyLayer")
            .field("handler", &self.0.handler)
            .finish_non_exhaustive()
    }
}
