//! Extracts bodies, query parameters and ids, and refuses unknown fields.

use std::time::Duration;

use axum::RequestExt;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use idem_runtime::json::{Json as Text, from_json};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::auth::Principal;
use crate::service::{Actions, RedriveRule, Service};

/// The maximum size of a body, in bytes.
pub(super) const LARGEST_BODY: usize = 1 << 20;
/// The maximum time until a body has arrived.
const ARRIVAL: Duration = Duration::from_secs(30);

/// A JSON body.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Service> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, service: &Service) -> Result<Self, Problem> {
        let kind = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        // A form of another site cannot send this without a CORS preflight.
        if !kind.eq_ignore_ascii_case("application/json") {
            let detail = "the body must be JSON: send `Content-Type: application/json`";
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "not_json",
                detail,
            ));
        }
        let clock = service.idem().clock();
        let read: Result<Bytes, _> = tokio::select! {
            read = request.extract() => read,
            () = clock.sleep(ARRIVAL) => {
                let detail = "the body did not arrive in time";
                return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail));
            }
        };
        let body = read.map_err(|rejection: axum::extract::rejection::BytesRejection| {
            match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => {
                    let detail = format!("the body is larger than {LARGEST_BODY} bytes");
                    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
                }
                _ => Problem::invalid("the body did not arrive completely"),
            }
        })?;
        match from_json(&body) {
            Ok(value) => Ok(Self(value)),
            Err(problem) => Err(Problem::invalid(format!(
                "the body is not valid: {problem}"
            ))),
        }
    }
}

/// Query parameters.
pub(super) struct Query<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match axum::extract::Query::try_from_uri(&parts.uri) {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(Problem::invalid(rejection.body_text())),
        }
    }
}

/// The actions of the request's principal.
pub(super) struct Acting(pub(super) Actions);

impl FromRequestParts<Service> for Acting {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, Problem> {
        match parts.extensions.get::<Principal>() {
            Some(principal) => Ok(Self(service.by(principal.name()))),
            // The guard is before every route, so this cannot happen.
            None => Err(Problem::new(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "the request is not authenticated",
            )),
        }
    }
}

/// An id in the path.
pub(super) struct Id<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(id)) => Ok(Self(id)),
            Err(rejection) => Err(Problem::invalid(format!(
                "the id in the path is not valid: {}",
                rejection.body_text()
            ))),
        }
    }
}

/// No parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// A key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OneKey {
    pub(super) handler: String,
    pub(super) key: String,
}

/// A redrive of one letter.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RedriveOne {
    #[serde(default)]
    pub(super) run: bool,
    /// The payload for the run, in place of the letter's.
    #[serde(default)]
    pub(super) payload: Option<Text>,
    pub(super) why: String,
}

/// A new payload.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Edit {
    pub(super) payload: Text,
    pub(super) why: String,
}

/// A handler that is paused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPause {
    pub(super) handler: String,
    pub(super) why: String,
    /// Whether it is paused even if no handler of this name is known.
    #[serde(default)]
    pub(super) force: bool,
}

/// A handler that is resumed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OneHandler {
    pub(super) handler: String,
    pub(super) why: String,
}

/// A redrive rule.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRule {
    pub(super) rule: RedriveRule,
    pub(super) why: String,
}

/// A reason.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Why {
    pub(super) why: String,
}

/// An optional reason.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MaybeWhy {
    #[serde(default)]
    pub(super) why: Option<String>,
}
