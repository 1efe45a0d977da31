//! Signs in with a token, and out.

use std::net::IpAddr;
use std::time::Instant;

use askama::Template;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, HeaderValue, SET_COOKIE};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use super::error::PageError;
use super::forms::{Fields, read};
use super::links::redirect;
use super::origin::{is_loopback, is_same_origin};
use super::page::Answer;
use super::render::{filters, render};
use super::session_guard::{FROM_ELSEWHERE, SignedForm};
use super::state::Dashboard;
use super::{assets, cookie};
use crate::Secret;
use crate::auth::AuthError;
use crate::shown::steers;

/// The link to the root: the login page is in it.
const ROOT: &str = "./";
/// The maximum length of a name, in characters.
const LONGEST_NAME: usize = 100;
/// The maximum size of the form, in bytes: it is read without a session.
const LARGEST: usize = 8 << 10;
/// The maximum number of fields.
const FIELDS: usize = 8;

#[derive(Template)]
#[template(path = "dashboard/login.html")]
struct Login<'a> {
    root: &'a str,
    version: &'a str,
    /// The page to show after the login.
    to: &'a str,
    who: &'a str,
    problem: Option<&'a str>,
}

pub(super) async fn show(State(dashboard): State<Dashboard>, parts: Parts) -> Answer {
    let fields = Fields::from_query(&parts);
    let to = fields.get("to").unwrap_or("overview");
    if dashboard.auth.has_check() {
        return Ok(redirect(ROOT, to));
    }
    // Without this, a browser that keeps no cookie would come back here after each login.
    let lost = to.contains("signed-in=") && cookie::read(&parts.headers).is_none();
    let problem = "You signed in, but the browser did not keep the session: over plain HTTP it does so only on the same machine. \
        Use HTTPS, or a tunnel to this machine.";
    page(StatusCode::OK, to, "", lost.then_some(problem))
}

pub(super) async fn sign_in(State(dashboard): State<Dashboard>, request: Request) -> Answer {
    let (parts, form) = request.into_parts();
    if !is_same_origin(&parts) {
        return Err(FROM_ELSEWHERE);
    }
    let address = dashboard.auth.peer(&parts);
    check_size(&dashboard, &parts, address)?;
    let fields = Fields::parse(&read(form, LARGEST, &dashboard).await?, FIELDS);
    let to = fields.get("to").unwrap_or("overview");
    let name = fields.get("who").unwrap_or_default();
    if name.chars().count() > LONGEST_NAME || name.chars().any(steers) {
        let problem = "This name is too long, or has invisible characters.";
        return page(StatusCode::UNPROCESSABLE_ENTITY, to, "", Some(problem));
    }
    let token = Secret::new(fields.get("token").unwrap_or_default());
    let who = match dashboard.auth.sign_in(&token, address) {
        // Anyone can type any name, so the token's holder is shown beside it.
        Ok(holder) if name.is_empty() => holder.to_string(),
        Ok(holder) => format!("{name} ({holder})"),
        Err(AuthError::TooMany { wait }) => {
            return Err(PageError::Refused(AuthError::TooMany { wait }));
        }
        Err(error) => {
            tracing::warn!(?address, %error, "a login to the dashboard failed");
            return page(
                StatusCode::UNAUTHORIZED,
                to,
                name,
                Some("This token is not valid."),
            );
        }
    };
    if let Some(old) = cookie::read(&parts.headers)
        .and_then(|cookie| dashboard.sessions.find(&cookie, Instant::now()))
    {
        dashboard.sessions.end(&old);
    }
    let (token, session) = dashboard.sessions.begin(&who, Instant::now())?;
    tracing::info!(who = session.who, "a person signed in to the dashboard");
    let mark = if to.contains('?') { "&" } else { "?" };
    let mut response = redirect(ROOT, &format!("{to}{mark}signed-in=1"));
    response
        .headers_mut()
        .append(SET_COOKIE, cookie::set(&token, !is_loopback(&parts)));
    Ok(response)
}

/// Refuses to read a form that is too large, or without a length from an address with too many
/// failures. A form with a length is always read, so that a valid token is accepted.
fn check_size(
    dashboard: &Dashboard,
    parts: &Parts,
    address: Option<IpAddr>,
) -> Result<(), PageError> {
    if dashboard.auth.has_check() {
        return Err(PageError::Refused(AuthError::Wrong));
    }
    let length = parts
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    match length {
        Some(length) if length <= LARGEST => Ok(()),
        Some(_) => Err(PageError::TooLarge(LARGEST)),
        None => dashboard
            .auth
            .too_many_failures(address)
            .map_or(Ok(()), |error| Err(PageError::Refused(error))),
    }
}

pub(super) async fn sign_out(State(dashboard): State<Dashboard>, signed: SignedForm) -> Response {
    dashboard.sessions.end(&signed.visit.session);
    let mut response = redirect(&signed.visit.root, "login");
    response
        .headers_mut()
        .append(SET_COOKIE, cookie::unset(false));
    // The browser would still show cached pages.
    response
        .headers_mut()
        .insert("clear-site-data", HeaderValue::from_static("\"cache\""));
    response
}

fn page(status: StatusCode, to: &str, who: &str, problem: Option<&str>) -> Answer {
    Ok((
        status,
        render(&Login {
            root: ROOT,
            version: assets::version(),
            to,
            who,
            problem,
        })?,
    )
        .into_response())
}
