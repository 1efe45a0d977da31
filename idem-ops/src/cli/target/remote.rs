//! A running service, asked through its JSON API.

use std::time::Duration;

use idem_runtime::{
    DeadLetterId,
    json::{Json, json_problem},
};
use reqwest::header::{ACCEPT, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::Url;
use uuid::Uuid;

use super::{Answer, Target};
use crate::cli::args::Place;
use crate::cli::problem::Problem;
use crate::cli::tls;
use crate::loopback;
use crate::monitor::AlertState;
use crate::secret::Secret;
use crate::service::{
    Bulk, BulkPage, GroupPage, GroupQuery, LetterPage, LetterQuery, LetterView, NewBulk, PageQuery,
    Redriven, Stats, StatsQuery, Story,
};

/// The largest answer that is read: a page has 500 letters at most, and a letter a payload for each
/// edit.
const LARGEST: usize = 64 << 20;

/// A service, and what it is asked with.
pub(crate) struct Remote {
    client: Client,
    base: Url,
    token: Secret,
    timeout: Duration,
}

/// A payload for an edit or a run; through `json!` its numbers would be rounded.
#[derive(Serialize)]
struct Payload<'a> {
    payload: Json,
    why: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<bool>,
}

/// What the API answers when something is wrong: problem details, as RFC 9457 has them.
#[derive(Debug, Deserialize)]
struct Details {
    title: Option<String>,
    detail: Option<String>,
}

impl Remote {
    /// Checks what can be checked before anything is sent.
    ///
    /// # Errors
    /// Exit code 2: there is no token, or the address cannot be used.
    pub(crate) fn new(url: Url, place: &Place) -> Result<Self, Problem> {
        let base = checked(url, place.plain_http)?;
        let token = match &place.token_file {
            Some(file) => Secret::from_file(file),
            None => Secret::from_env("IDEM_TOKEN"),
        };
        let token = token.map_err(|error| {
            Problem::usage(format!(
                "a service wants a token ({error}): set IDEM_TOKEN, or give `--token-file`"
            ))
        })?;
        let mut client = Client::builder()
            .tls_backend_preconfigured(tls::config(
                base.scheme() == "https",
                place.ca_file.as_deref(),
            )?)
            // A token goes where it was sent, and nowhere else.
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(place.timeout().min(Duration::from_secs(10)))
            .timeout(place.timeout())
            .user_agent(concat!("idem/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&base) {
            client = client.no_proxy();
        }
        let client = client
            .build()
            .map_err(|error| Problem::failed(format!("the HTTP client cannot be made: {error}")))?;
        Ok(Self {
            client,
            base,
            token,
            timeout: place.timeout(),
        })
    }

    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    /// Whether the service can do its work, as it says itself.
    pub(crate) async fn is_up(&self) -> Result<bool, Problem> {
        let answer = self.send(self.request(Method::GET, "healthz")).await?;
        let (status, text) = (answer.status(), self.text(answer).await?);
        match text.trim_end() {
            "up" if status.is_success() => Ok(true),
            "not up" if status == StatusCode::SERVICE_UNAVAILABLE => Ok(false),
            _ => Err(self.refused(status, None, None)),
        }
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, self.at(path))
            .bearer_auth(self.token.expose())
            .header(ACCEPT, "application/json")
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &(impl Serialize + Sync),
    ) -> Result<T, Problem> {
        self.answer(self.request(Method::GET, path).query(query))
            .await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T, Problem> {
        self.answer(self.request(Method::POST, path).json(body))
            .await
    }

    async fn send(&self, request: RequestBuilder) -> Result<reqwest::Response, Problem> {
        request
            .send()
            .await
            .map_err(|error| self.not_reached(&error))
    }

    /// The answer's text; the client's timeout is for all of it.
    async fn text(&self, mut answer: reqwest::Response) -> Result<String, Problem> {
        let mut text = Vec::new();
        while let Some(piece) = answer
            .chunk()
            .await
            .map_err(|error| self.not_reached(&error))?
        {
            if text.len() + piece.len() > LARGEST {
                return Err(
                    self.strange(&format!("its answer has more than {} MiB", LARGEST >> 20))
                );
            }
            text.extend_from_slice(&piece);
        }
        String::from_utf8(text).map_err(|_| self.strange("its answer is not UTF-8"))
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Problem> {
        let answer = self.send(request).await?;
        let status = answer.status();
        let wait = answer
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let text = self.text(answer).await?;
        if status.is_success() {
            return serde_json::from_str(&text).map_err(|error| self.not_read(&text, &error));
        }
        let details = serde_json::from_str(&text).ok();
        Err(self.refused(status, wait, details))
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
                "what stands before `{}` does not reach it ({status}): is the service running?",
                self.base
            )),
            _ => match said {
                Some(said) => Problem::failed(said),
                None => self.strange(&format!("it answered {status}")),
            },
        }
    }

    /// An answer that does not fit what was asked for: of idem, or of something else.
    fn not_read(&self, text: &str, error: &serde_json::Error) -> Problem {
        if serde_json::from_str::<IgnoredAny>(text).is_err() {
            return self.strange(&json_problem(error));
        }
        Problem::failed(format!(
            "`{}` answered what this `idem` cannot read ({}): are both of the same version?",
            self.base,
            json_problem(error)
        ))
    }

    /// Something is there, and it is no idem.
    fn strange(&self, what: &str) -> Problem {
        Problem::failed(format!(
            "`{}` does not answer as idem does ({what}): is it the address that the dashboard is nested at, and the same \
             version?",
            self.base
        ))
    }

    fn not_reached(&self, error: &reqwest::Error) -> Problem {
        let why = if error.is_timeout() {
            format!("no answer within {} s", self.timeout.as_secs())
        } else {
            innermost(error)
        };
        Problem::unreachable(format!(
            "`{}` cannot be reached ({why}): is the service running, and is this its address?",
            self.base
        ))
    }
}

/// The cause of the causes: what the system said.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}

/// The address that paths are put behind.
fn checked(mut url: Url, plain_http: bool) -> Result<Url, Problem> {
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) || plain_http => {}
        "http" => {
            return Err(Problem::usage(
                "over `http` everybody on the way reads the token: use `https`, or `--plain-http` where the way is safe",
            ));
        }
        _ => return Err(Problem::usage("the address is not `http` or `https`")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Problem::usage(
            "the address holds a user or a password: only the token is used",
        ));
    }
    url.set_query(None);
    url.set_fragment(None);
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    url.host().is_some_and(|host| loopback::is_loopback(&host))
}

impl Target for Remote {
    fn runs(&self) -> bool {
        true
    }

    fn letters<'a>(&'a self, query: &'a LetterQuery) -> Answer<'a, LetterPage> {
        Box::pin(self.get("api/v1/letters", query))
    }

    fn letter(&self, id: DeadLetterId) -> Answer<'_, LetterView> {
        Box::pin(async move { self.get(&format!("api/v1/letters/{id}"), &()).await })
    }

    fn groups<'a>(&'a self, query: &'a GroupQuery) -> Answer<'a, GroupPage> {
        Box::pin(self.get("api/v1/groups", query))
    }

    fn explain<'a>(&'a self, handler: &'a str, key: &'a str) -> Answer<'a, Story> {
        Box::pin(async move {
            self.get("api/v1/explain", &[("handler", handler), ("key", key)])
                .await
        })
    }

    fn stats(&self) -> Answer<'_, Stats> {
        Box::pin(async { self.get("api/v1/stats", &StatsQuery::default()).await })
    }

    fn alerts(&self) -> Answer<'_, AlertState> {
        Box::pin(self.get("api/v1/alerts", &()))
    }

    fn redrive<'a>(&'a self, id: DeadLetterId, run: bool, why: &'a str) -> Answer<'a, Redriven> {
        Box::pin(async move {
            self.post(
                &format!("api/v1/letters/{id}/redrive"),
                &json!({ "run": run, "why": why }),
            )
            .await
        })
    }

    fn run_with<'a>(
        &'a self,
        id: DeadLetterId,
        payload: Json,
        why: &'a str,
    ) -> Answer<'a, Redriven> {
        Box::pin(async move {
            let body = Payload {
                payload,
                why,
                run: Some(true),
            };
            self.post(&format!("api/v1/letters/{id}/redrive"), &body)
                .await
        })
    }

    fn publish<'a>(&'a self, id: DeadLetterId, why: &'a str) -> Answer<'a, Redriven> {
        Box::pin(async move {
            self.post(
                &format!("api/v1/letters/{id}/publish"),
                &json!({ "why": why }),
            )
            .await
        })
    }

    fn edit<'a>(&'a self, id: DeadLetterId, payload: Json, why: &'a str) -> Answer<'a, LetterView> {
        Box::pin(async move {
            self.post(
                &format!("api/v1/letters/{id}/edit"),
                &Payload {
                    payload,
                    why,
                    run: None,
                },
            )
            .await
        })
    }

    fn discard<'a>(&'a self, id: DeadLetterId, why: &'a str) -> Answer<'a, LetterView> {
        Box::pin(async move {
            self.post(
                &format!("api/v1/letters/{id}/discard"),
                &json!({ "why": why }),
            )
            .await
        })
    }

    fn restore<'a>(&'a self, id: DeadLetterId, why: &'a str) -> Answer<'a, LetterView> {
        Box::pin(async move {
            self.post(
                &format!("api/v1/letters/{id}/restore"),
                &json!({ "why": why }),
            )
            .await
        })
    }

    fn start_bulk(&self, asked: NewBulk) -> Answer<'_, Bulk> {
        Box::pin(async move { self.post("api/v1/bulk", &asked).await })
    }

    fn bulks<'a>(&'a self, query: &'a PageQuery) -> Answer<'a, BulkPage> {
        Box::pin(self.get("api/v1/bulk", query))
    }

    fn bulk(&self, id: Uuid) -> Answer<'_, Bulk> {
        Box::pin(async move { self.get(&format!("api/v1/bulk/{id}"), &()).await })
    }

    fn cancel_bulk<'a>(&'a self, id: Uuid, why: Option<&'a str>) -> Answer<'a, Bulk> {
        Box::pin(async move {
            let why = why.map(|why| ("why", why));
            self.answer(
                self.request(Method::DELETE, &format!("api/v1/bulk/{id}"))
                    .query(why.as_slice()),
            )
            .await
        })
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}
