//! A client of the JSON API, over the network or in this process.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use idem_ops::service::Service;
use idem_ops::{Auth, Principal, Secret};
use idem_runtime::Idem;
use idem_runtime::json::json_problem;
use reqwest::header::{ACCEPT, HeaderMap, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use tower::ServiceExt;

use crate::problem::Problem;

/// The largest answer that is read from the network: a page has 500 letters at most, and a letter a
/// payload for each edit.
const LARGEST: usize = 64 << 20;

/// A service, or a ledger whose service runs in this process.
pub(crate) struct Target {
    client: Client,
    base: String,
    transport: Transport,
}

/// How a request gets to the API.
pub(super) enum Transport {
    Network {
        token: Secret,
        timeout: Duration,
    },
    /// No other process can send to this router, so its requests need no token.
    InProcess {
        router: Router,
        idem: Idem,
    },
}

/// An answer, read to its end.
struct Response {
    status: StatusCode,
    retry_after: Option<String>,
    body: Vec<u8>,
}

/// Problem details, as RFC 9457 has them.
#[derive(Debug, Deserialize)]
struct Details {
    title: Option<String>,
    detail: Option<String>,
}

impl Target {
    pub(super) fn new(client: Client, base: String, transport: Transport) -> Self {
        Self {
            client,
            base,
            transport,
        }
    }

    /// Serves an Idem that this process holds. Letters are changed in the name of `who`.
    ///
    /// # Errors
    /// Exit code 1 when the client cannot be made.
    pub(crate) fn in_process(idem: Idem, who: Option<String>) -> Result<Self, Problem> {
        let who = Principal::new(who.unwrap_or_else(|| "somebody".to_owned()));
        let auth = Auth::check(move |_| Some(who.clone()));
        // A bulk job that a service was stopped in may need handlers, and here are none.
        let router = idem_ops::api::router(&Service::read_only(idem.clone()), auth);
        // It only builds requests here, so it needs no authorities.
        let client = Client::builder().tls_certs_only([]).build();
        Ok(Self::new(
            client.map_err(|error| no_client(&error))?,
            "http://ledger/".to_owned(),
            Transport::InProcess { router, idem },
        ))
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Returns whether letters can be run here: this process has no handlers.
    pub(crate) fn runs(&self) -> bool {
        matches!(self.transport, Transport::Network { .. })
    }

    /// Closes the ledger, after everything is written.
    pub(crate) async fn close(&self) -> Result<(), Problem> {
        match &self.transport {
            Transport::Network { .. } => Ok(()),
            Transport::InProcess { idem, .. } => {
                let closed = idem.close().await;
                closed.map_err(|error| Problem::failed(format!("{error:#}")))
            }
        }
    }

    /// Returns whether the service reports that it can work.
    pub(crate) async fn is_up(&self) -> Result<bool, Problem> {
        let answer = self.send(self.request(Method::GET, "healthz")).await?;
        match (answer.status, self.text(&answer)?.trim_end()) {
            (status, "up") if status.is_success() => Ok(true),
            (StatusCode::SERVICE_UNAVAILABLE, "not up") => Ok(false),
            (status, _) => Err(self.refused(status, None, None)),
        }
    }

    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.base))
            .header(ACCEPT, "application/json")
    }

    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &(impl Serialize + Sync + ?Sized),
    ) -> Result<T, Problem> {
        self.answer(self.request(Method::GET, path).query(query))
            .await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T, Problem> {
        self.answer(self.request(Method::POST, path).json(body))
            .await
    }

    pub(super) async fn answer<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, Problem> {
        let answer = self.send(request).await?;
        let text = self.text(&answer)?;
        if answer.status.is_success() {
            return serde_json::from_str(text).map_err(|error| self.not_read(text, &error));
        }
        let details = serde_json::from_str(text).ok();
        Err(self.refused(answer.status, answer.retry_after, details))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Problem> {
        match &self.transport {
            Transport::Network { token, timeout } => {
                let sent = request.bearer_auth(token.expose()).send().await;
                let mut answer = sent.map_err(|error| self.not_reached(&error, *timeout))?;
                let mut body = Vec::new();
                while let Some(piece) = answer
                    .chunk()
                    .await
                    .map_err(|error| self.not_reached(&error, *timeout))?
                {
                    if body.len() + piece.len() > LARGEST {
                        return Err(self
                            .strange(&format!("its answer has more than {} MiB", LARGEST >> 20)));
                    }
                    body.extend_from_slice(&piece);
                }
                Ok(Response::new(answer.status(), answer.headers(), body))
            }
            Transport::InProcess { router, .. } => {
                let failed = |error: &dyn std::error::Error| {
                    Problem::failed(format!("the ledger cannot be asked: {}", innermost(error)))
                };
                let request = request.build().and_then(http::Request::try_from);
                let request = request
                    .map_err(|error| failed(&error))?
                    .map(Body::new::<reqwest::Body>);
                let Ok(answer) = router.clone().oneshot(request).await;
                let (parts, body) = answer.into_parts();
                let body = to_bytes(body, usize::MAX).await;
                let body = body.map_err(|error| failed(&error))?.into();
                Ok(Response::new(parts.status, &parts.headers, body))
            }
        }
    }

    fn text<'a>(&self, answer: &'a Response) -> Result<&'a str, Problem> {
        std::str::from_utf8(&answer.body).map_err(|_| self.strange("its answer is not UTF-8"))
    }

    fn refused(
        &self,
        status: StatusCode,
        wait: Option<String>,
        details: Option<Details>,
    ) -> Problem {
        let said = details.and_then(|details| details.detail.or(details.title));
        match status {
            StatusCode::UNAUTHORIZED => Problem::failed(format!(
                "`{}` does not know the token: check IDEM_TOKEN or `--token-file`",
                self.base
            )),
            StatusCode::TOO_MANY_REQUESTS => Problem::failed(format!(
                "`{}` takes no more requests for now{}: {}",
                self.base,
                wait.map(|seconds| format!(", try again in {seconds} s"))
                    .unwrap_or_default(),
                said.unwrap_or_else(|| "too many failed".to_owned()),
            )),
            StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => Problem::unreachable(format!(
                "the proxy before `{}` does not reach it ({status}): is the service running?",
                self.base
            )),
            _ => match said {
                Some(said) => Problem::failed(said),
                None => self.strange(&format!("it answered {status}")),
            },
        }
    }

    /// Says that an answer does not fit the question: another version's, or another program's.
    fn not_read(&self, text: &str, error: &serde_json::Error) -> Problem {
        if serde_json::from_str::<IgnoredAny>(text).is_err() {
            return self.strange(&json_problem(error));
        }
        Problem::failed(format!(
            "this `idem` cannot read the answer of `{}` ({}): are both of the same version?",
            self.base,
            json_problem(error)
        ))
    }

    /// Says that the address is another program's.
    fn strange(&self, what: &str) -> Problem {
        Problem::failed(format!(
            "`{}` does not answer as idem does ({what}): is it the address that the dashboard is nested at, and the same \
             version?",
            self.base
        ))
    }

    fn not_reached(&self, error: &reqwest::Error, timeout: Duration) -> Problem {
        let why = if error.is_timeout() {
            format!("no answer within {} s", timeout.as_secs())
        } else {
            innermost(error)
        };
        Problem::unreachable(format!(
            "`{}` cannot be reached ({why}): is the service running, and is this its address?",
            self.base
        ))
    }
}

impl Response {
    fn new(status: StatusCode, headers: &HeaderMap, body: Vec<u8>) -> Self {
        let retry_after = headers.get(RETRY_AFTER);
        Self {
            status,
            retry_after: retry_after.and_then(|value| value.to_str().ok().map(str::to_owned)),
            body,
        }
    }
}

/// Says that the HTTP client cannot be made.
pub(super) fn no_client(error: &reqwest::Error) -> Problem {
    Problem::failed(format!(
        "the HTTP client cannot be made: {}",
        innermost(error)
    ))
}

/// Returns the first cause, which is what the system said.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}
