//! In with the token, and out again.

use std::net::IpAddr;
use std::time::Instant;

use askama::Template;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, HeaderValue, SET_COOKIE};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use super::error::PageError;
use super::forms::{Fields, Signed, read};
use super::page::{Answer, drawn, filters, redirect};
use super::session_guard::{ELSEWHERE, cookie, is_loopback, is_same_origin, set_cookie, unset_cookie};
use super::{Dashboard, assets};
use crate::Secret;
use crate::auth::AuthError;
use crate::shown::steers;

/// The login page is in the dashboard's root.
const ROOT: &str = "./";
/// More of a name is no name.
const LONGEST_NAME: usize = 100;
/// A token, a name, and where to go: all that anybody may send without being signed in.
const LARGEST: usize = 8 << 10;
/// More than the form has.
const FIELDS: usize = 8;

#[derive(Template)]
#[template(path = "dashboard/login.html")]
struct Login<'a> {
    root: &'a str,
    version: &'a str,
    /// Where the person wanted to go.
    to: &'a str,
    who: &'a str,
    problem: Option<&'a str>,
}

pub(super) async fn show(State(dashboard): State<Dashboard>, parts: Parts) -> Answer {
    let fields = Fields::of_query(&parts);
    let to = fields.get("to").unwrap_or("overview");
    if dashboard.auth.checks() {
        return Ok(redirect(ROOT, to));
    }
    // Somebody who has just signed in and comes back without a cookie would sign in for ever.
    let lost = to.contains("signed-in=") && cookie(&parts.headers).is_none();
    let problem = "You signed in, but the browser kept no session: over plain HTTP it does only on this machine itself. \
        Use HTTPS, or a tunnel to this machine.";
    page(StatusCode::OK, to, "", lost.then_some(problem))
}

pub(super) async fn enter(State(dashboard): State<Dashboard>, request: Request) -> Answer {
    let (parts, form) = request.into_parts();
    if !is_same_origin(&parts) {
        return Err(ELSEWHERE);
    }
    let address = dashboard.auth.peer(&parts);
    may_be_read(&dashboard, &parts, address)?;
    let fields = Fields::parse(&read(form, LARGEST, &dashboard).await?, FIELDS);
    let to = fields.get("to").unwrap_or("overview");
    let name = fields.get("who").unwrap_or_default();
    if name.chars().count() > LONGEST_NAME || name.chars().any(steers) {
        let problem = "That is no name: it is too long, or has signs that nobody sees.";
        return page(StatusCode::UNPROCESSABLE_ENTITY, to, "", Some(problem));
    }
    let token = Secret::new(fields.get("token").unwrap_or_default());
    let who = match dashboard.auth.sign_in(&token, address) {
        // Beside the name that anybody can type stands whose token it was.
        Ok(holder) if name.is_empty() => holder.to_string(),
        Ok(holder) => format!("{name} ({holder})"),
        Err(AuthError::TooMany { wait }) => {
            return Err(PageError::Refused(AuthError::TooMany { wait }));
        }
        Err(refusal) => {
            tracing::warn!(?address, %refusal, "somebody could not sign in to the dashboard");
            return page(
                StatusCode::UNAUTHORIZED,
                to,
                name,
                Some("That is not the token."),
            );
        }
    };
    if let Some(old) =
        cookie(&parts.headers).and_then(|cookie| dashboard.sessions.find(&cookie, Instant::now()))
    {
        dashboard.sessions.end(&old);
    }
    let (token, session) = dashboard.sessions.begin(&who, Instant::now())?;
    tracing::info!(who = session.who, "somebody signed in to the dashboard");
    let mark = if to.contains('?') { "&" } else { "?" };
    let mut response = redirect(ROOT, &format!("{to}{mark}signed-in=1"));
    response
        .headers_mut()
        .append(SET_COOKIE, set_cookie(&token, !is_loopback(&parts)));
    Ok(response)
}

/// Nothing of a form is read that cannot be a login. Of an address that has guessed too often only
/// one that says how short it is: a right token comes in all the same.
fn may_be_read(
    dashboard: &Dashboard,
    parts: &Parts,
    address: Option<IpAddr>,
) -> Result<(), PageError> {
    if dashboard.auth.checks() {
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
            .has_to_wait(address)
            .map_or(Ok(()), |refusal| Err(PageError::Refused(refusal))),
    }
}

pub(super) async fn leave(State(dashboard): State<Dashboard>, signed: Signed) -> Response {
    dashboard.sessions.end(&signed.visit.session);
    let mut response = redirect(&signed.visit.root, "login");
    response
        .headers_mut()
        .append(SET_COOKIE, unset_cookie(false));
    // A browser would go on showing pages that it still has.
    response
        .headers_mut()
        .insert("clear-site-data", HeaderValue::from_static("\"cache\""));
    response
}

fn page(status: StatusCode, to: &str, who: &str, problem: Option<&str>) -> Answer {
    Ok((
        status,
        drawn(&Login {
            root: ROOT,
            version: assets::version(),
            to,
            who,
            problem,
        })?,
    )
        .into_response())
}
