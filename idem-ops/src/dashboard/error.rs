//! The errors of pages, and the page that shows them.

use std::sync::Arc;

use askama::Template;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{Html, IntoResponse, Response};
use idem_runtime::ledger::LedgerError;

use super::assets;
use super::render::render;
use crate::api::classify;
use crate::auth::AuthError;
use crate::service::ServiceError;

/// Why a page was not shown or a change was not made.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum PageError {
    #[error("you are not signed in")]
    NotSignedIn,
    #[error("nothing was changed: {0}")]
    Forged(&'static str),
    #[error("the form is too large: the limit is {0} bytes")]
    TooLarge(usize),
    #[error("the form has more than {0} fields: select less at once")]
    TooManyFields(usize),
    #[error("the form did not arrive in time: send it again")]
    Unfinished,
    #[error("{0}")]
    Bad(String),
    #[error("{0}")]
    Missing(String),
    #[error("{}", refused(*.0))]
    Refused(AuthError),
    #[error("{0:#}")]
    Service(Arc<ServiceError>),
    #[error("the system failed to provide random numbers: {0}")]
    Random(getrandom::Error),
    #[error("the page cannot be rendered: {0}")]
    Template(Arc<askama::Error>),
}

impl PageError {
    pub(super) fn bad(text: impl Into<String>) -> Self {
        Self::Bad(text.into())
    }

    pub(super) fn missing(text: impl Into<String>) -> Self {
        Self::Missing(text.into())
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::NotSignedIn => StatusCode::UNAUTHORIZED,
            Self::Forged(_) => StatusCode::FORBIDDEN,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unfinished => StatusCode::REQUEST_TIMEOUT,
            Self::Bad(_) | Self::TooManyFields(_) => StatusCode::BAD_REQUEST,
            Self::Missing(_) => StatusCode::NOT_FOUND,
            Self::Refused(AuthError::TooMany { .. }) => StatusCode::TOO_MANY_REQUESTS,
            Self::Refused(_) => StatusCode::UNAUTHORIZED,
            Self::Service(error) => classify(error).0,
            Self::Random(_) | Self::Template(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Renders the page of the error; `root` is the link to the dashboard's root.
    pub(super) fn page(&self, root: &str) -> Response {
        let status = self.status();
        if status.is_server_error() {
            tracing::error!(error = %self, "a page of the dashboard failed");
        }
        let title = status.canonical_reason().unwrap_or("Error");
        let html = render(&ErrorPage {
            root,
            title,
            version: assets::version(),
            text: self.to_string(),
        });
        let mut response =
            (status, html.unwrap_or_else(|_| Html(title.to_owned()))).into_response();
        if let Self::Refused(AuthError::TooMany { wait }) = self {
            response
                .headers_mut()
                .insert(RETRY_AFTER, wait.as_secs().max(1).into());
        }
        response
    }
}

#[derive(Template)]
#[template(path = "dashboard/error.html")]
struct ErrorPage<'a> {
    root: &'a str,
    title: &'a str,
    version: &'a str,
    text: String,
}

/// Describes the error to a person with a browser.
fn refused(error: AuthError) -> String {
    match error {
        AuthError::TooMany { wait } => {
            format!(
                "too many failed attempts to sign in: wait {} seconds",
                wait.as_secs().max(1)
            )
        }
        _ => "you are not signed in, or may not see this".to_owned(),
    }
}

/// The outermost layer renders the page, since it knows the link to the dashboard's root.
impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<ServiceError> for PageError {
    fn from(error: ServiceError) -> Self {
        Self::Service(Arc::new(error))
    }
}

impl From<LedgerError> for PageError {
    fn from(error: LedgerError) -> Self {
        ServiceError::from(error).into()
    }
}

impl From<getrandom::Error> for PageError {
    fn from(error: getrandom::Error) -> Self {
        Self::Random(error)
    }
}

impl From<askama::Error> for PageError {
    fn from(error: askama::Error) -> Self {
        Self::Template(Arc::new(error))
    }
}
