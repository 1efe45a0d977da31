//! The guard before every page: it requires a session, and a change has to come from the session's
//! own page.

use std::time::Instant;

use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::http::Method;
use axum::http::header::SET_COOKIE;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::cookie;
use super::error::PageError;
use super::forms::{self, CSRF, FIELDS, Fields};
use super::links::{redirect, root};
use super::origin::{is_loopback, is_same_origin};
use super::session::Session;
use super::state::Dashboard;

/// A request with a session.
#[derive(Clone)]
pub(super) struct Visit {
    pub session: Session,
    /// The relative link to the dashboard's root: it works wherever the router is nested, also
    /// behind a proxy that removes a prefix.
    pub root: String,
}

impl FromRequestParts<Dashboard> for Visit {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, _: &Dashboard) -> Result<Self, PageError> {
        let visit = parts.extensions.get::<Visit>();
        visit.cloned().ok_or(PageError::NotSignedIn)
    }
}

/// A form with the session's CSRF token. It is the only way in which the handler of a change gets
/// fields.
pub(super) struct SignedForm {
    pub visit: Visit,
    pub fields: Fields,
}

impl FromRequest<Dashboard> for SignedForm {
    type Rejection = PageError;

    async fn from_request(request: Request, dashboard: &Dashboard) -> Result<Self, PageError> {
        let (mut parts, body) = request.into_parts();
        let visit = Visit::from_request_parts(&mut parts, dashboard).await?;
        let bytes = forms::read(body, forms::LARGEST, dashboard).await?;
        let fields = Fields::parse(&bytes, FIELDS + 1);
        if fields.len() > FIELDS {
            return Err(PageError::TooManyFields(FIELDS));
        }
        if !visit.session.csrf.is(fields.raw(CSRF).unwrap_or_default()) {
            return Err(PageError::Forged(
                "the form is not from this session's own page",
            ));
        }
        Ok(Self { visit, fields })
    }
}

/// Refuses requests without a session, and changes from other sites.
pub(super) async fn guard(
    State(dashboard): State<Dashboard>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    if parts.method != Method::GET && parts.method != Method::HEAD && !is_same_origin(&parts) {
        return FROM_ELSEWHERE.into_response();
    }
    dashboard.log_prefix(&parts);
    let root = root(parts.uri.path());
    let known = cookie::read(&parts.headers)
        .and_then(|cookie| dashboard.sessions.find(&cookie, Instant::now()));
    let (session, new) = match (known, dashboard.auth.has_check()) {
        (Some(session), false) => (session, None),
        // The check decides for each request, so the session has to be of the same person.
        (known, true) => match dashboard.auth.admit(&parts, dashboard.auth.peer(&parts)) {
            Ok(who) => match known.filter(|session| session.who == who.name()) {
                Some(session) => (session, None),
                None => match dashboard.sessions.begin(who.name(), Instant::now()) {
                    Ok((token, session)) => (session, Some(token)),
                    Err(error) => return PageError::from(error).into_response(),
                },
            },
            Err(error) => return PageError::Refused(error).into_response(),
        },
        (None, false) => return to_login(&parts, &root),
    };
    parts.extensions.insert(Visit { session, root });
    let secure = !is_loopback(&parts);
    let mut response = next.run(Request::from_parts(parts, body)).await;
    if let Some(token) = new {
        response
            .headers_mut()
            .append(SET_COOKIE, cookie::set(&token, secure));
    }
    response
}

/// The answer to a change from another site's page.
pub(super) const FROM_ELSEWHERE: PageError = PageError::Forged(
    "the request did not come from the dashboard's own page (a proxy must keep `Host`, or set `X-Forwarded-Host`)",
);

fn to_login(parts: &Parts, root: &str) -> Response {
    if parts.method != Method::GET {
        return PageError::NotSignedIn.into_response();
    }
    let here = parts
        .uri
        .path_and_query()
        .map_or("", |here| here.as_str())
        .trim_start_matches('/');
    redirect(
        root,
        &format!("login?{}", Fields::query(&[("to", Some(here))])),
    )
}
