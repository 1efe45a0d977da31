//! One request of somebody who is signed in, and the door before it.

use std::time::Instant;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{COOKIE, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use cookie::{Cookie, SameSite};
use url::Url;

use super::Dashboard;
use super::error::PageError;
use super::forms::Fields;
use super::page::{redirect, root};
use super::session::{AT_MOST, Session, Token};
use crate::loopback;

const COOKIE_NAME: &str = "idem_session";

/// One request of somebody who is signed in.
#[derive(Clone)]
pub(super) struct Visit {
    pub session: Session,
    /// What leads from this page to the dashboard's root: pages link relatively, so that they work
    /// wherever the router is nested, also behind a proxy that takes a prefix off.
    pub root: String,
}

impl FromRequestParts<Dashboard> for Visit {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, _: &Dashboard) -> Result<Self, PageError> {
        parts
            .extensions
            .get::<Visit>()
            .cloned()
            .ok_or(PageError::NotSignedIn)
    }
}

/// Lets nobody in without a session, and no change from another site.
pub(super) async fn door(
    State(dashboard): State<Dashboard>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    if parts.method != Method::GET && parts.method != Method::HEAD && !is_same_origin(&parts) {
        return ELSEWHERE.into_response();
    }
    dashboard.say_where(&parts);
    let root = root(parts.uri.path());
    let known =
        cookie(&parts.headers).and_then(|cookie| dashboard.sessions.find(&cookie, Instant::now()));
    let (session, new) = match (known, dashboard.auth.checks()) {
        (Some(session), false) => (session, None),
        // Whoever the check names now is who acts, whatever the session was begun for.
        (known, true) => match dashboard.auth.admit(&parts, dashboard.auth.peer(&parts)) {
            Ok(who) => match known.filter(|session| session.who == who.name()) {
                Some(session) => (session, None),
                None => match dashboard.sessions.begin(who.name(), Instant::now()) {
                    Ok((token, session)) => (session, Some(token)),
                    Err(error) => return PageError::from(error).into_response(),
                },
            },
            Err(refusal) => return PageError::Refused(refusal).into_response(),
        },
        (None, false) => return to_login(&parts, &root),
    };
    parts.extensions.insert(Visit { session, root });
    let secure = !is_loopback(&parts);
    let mut response = next.run(Request::from_parts(parts, body)).await;
    if let Some(token) = new {
        response
            .headers_mut()
            .append("set-cookie", set_cookie(&token, secure));
    }
    response
}

/// What a change from another site's page is told.
pub(super) const ELSEWHERE: PageError = PageError::Forged(
    "the request did not come from the dashboard's own page (behind a proxy, let it keep `Host`, or set `X-Forwarded-Host`)",
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

/// The session's cookie of a request.
pub(super) fn cookie(headers: &HeaderMap) -> Option<String> {
    let lines = headers
        .get_all(COOKIE)
        .into_iter()
        .filter_map(|line| line.to_str().ok());
    let mut cookies = lines.flat_map(Cookie::split_parse).flatten();
    cookies
        .find(|cookie| cookie.name() == COOKIE_NAME)
        .map(|cookie| cookie.value().to_owned())
}

/// A cookie without a path, so that it is sent to the folder of the login page: the dashboard,
/// wherever it is nested.
pub(super) fn set_cookie(token: &Token, secure: bool) -> HeaderValue {
    let seconds = i64::try_from(AT_MOST.as_secs()).unwrap_or(0);
    value(
        Cookie::build((COOKIE_NAME, token.as_str()))
            .max_age(cookie::time::Duration::seconds(seconds)),
        secure,
    )
}

/// Takes the cookie away.
pub(super) fn unset_cookie(secure: bool) -> HeaderValue {
    value(
        Cookie::build((COOKIE_NAME, "")).max_age(cookie::time::Duration::ZERO),
        secure,
    )
}

fn value(cookie: cookie::CookieBuilder<'_>, secure: bool) -> HeaderValue {
    let cookie = cookie
        .http_only(true)
        .same_site(SameSite::Strict)
        .secure(secure)
        .build();
    // Only letters, digits and what a cookie's attributes are made of.
    HeaderValue::from_str(&cookie.to_string()).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Whether a change comes from the dashboard's own page. Browsers say so themselves where the
/// connection can be trusted; where they do not, the origin has to be the host that they asked.
pub(super) fn is_same_origin(parts: &Parts) -> bool {
    let header = |name: &str| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    if let Some(site) = header("sec-fetch-site") {
        return site == "same-origin";
    }
    let Some(origin) = header(ORIGIN.as_str()).and_then(|origin| Url::parse(origin).ok()) else {
        return false;
    };
    let same = |host: &str| {
        Url::parse(&format!("{}://{host}", origin.scheme()))
            .is_ok_and(|asked| asked.origin() == origin.origin())
    };
    origin.origin().is_tuple()
        && [host(parts), header("x-forwarded-host")]
            .into_iter()
            .flatten()
            .any(same)
}

/// Whether nobody else can hear the connection, so that a cookie may go without TLS.
pub(super) fn is_loopback(parts: &Parts) -> bool {
    let scheme = parts
        .headers
        .get("x-forwarded-proto")
        .and_then(|scheme| scheme.to_str().ok()?.split(',').next());
    let through_tls = scheme.is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"));
    let Some(host) = host(parts).and_then(|host| Url::parse(&format!("http://{host}")).ok()) else {
        return false;
    };
    // Browsers take every name below `localhost` for this machine.
    let below = |host: &url::Host<&str>| matches!(host, url::Host::Domain(name) if name.ends_with(".localhost"));
    host.host()
        .is_some_and(|host| loopback::is_loopback(&host) || below(&host))
        && !through_tls
}

fn host(parts: &Parts) -> Option<&str> {
    let header = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    header.or_else(|| parts.uri.authority().map(Authority::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let request = headers
            .iter()
            .fold(Request::builder(), |request, (name, value)| {
                request.header(*name, *value)
            });
        request
            .body(axum::body::Body::empty())
            .unwrap()
            .into_parts()
            .0
    }

    #[test]
    fn only_the_own_page_is_the_same_origin() {
        let same = |headers: &[(&str, &str)]| is_same_origin(&parts(headers));
        assert!(same(&[
            ("host", "ops.example:8443"),
            ("origin", "https://ops.example:8443")
        ]));
        assert!(same(&[
            ("host", "ops.example"),
            ("origin", "https://ops.example")
        ]));
        assert!(same(&[
            ("host", "10.0.0.1:80"),
            ("x-forwarded-host", "ops.example"),
            ("origin", "https://ops.example")
        ]));
        assert!(same(&[
            ("host", "upstream"),
            ("origin", "https://ops.example"),
            ("sec-fetch-site", "same-origin")
        ]));
        for origin in [
            "https://evil.example",
            "https://ops.example.evil.example",
            "https://ops.example:444",
            "null",
            "",
        ] {
            assert!(
                !same(&[("host", "ops.example"), ("origin", origin)]),
                "{origin}"
            );
        }
        assert!(
            !same(&[("host", "ops.example")]),
            "a form always has an origin"
        );
        for site in ["cross-site", "same-site", "none"] {
            assert!(
                !same(&[
                    ("host", "a"),
                    ("origin", "http://a"),
                    ("sec-fetch-site", site)
                ]),
                "{site}"
            );
        }
    }

    #[test]
    fn a_cookie_goes_without_tls_only_where_nobody_hears_it() {
        let loopback = |headers: &[(&str, &str)]| is_loopback(&parts(headers));
        for host in [
            "localhost:8080",
            "127.0.0.1",
            "127.9.9.9:1",
            "[::1]:80",
            "orders.localhost",
        ] {
            assert!(loopback(&[("host", host)]), "{host}");
        }
        for host in ["ops.example", "10.0.0.1:80", "localhost.evil.example", ""] {
            assert!(!loopback(&[("host", host)]), "{host}");
        }
        for scheme in ["https", "HTTPS", "Https", "https, http"] {
            assert!(
                !loopback(&[("host", "localhost"), ("x-forwarded-proto", scheme)]),
                "a proxy speaks TLS: {scheme}"
            );
        }
        assert!(loopback(&[
            ("host", "localhost"),
            ("x-forwarded-proto", "http")
        ]));
    }

    #[test]
    fn the_cookie_is_kept_from_scripts_and_other_sites() {
        let token = Token::new().unwrap();
        let cookie = set_cookie(&token, true);
        let text = cookie.to_str().unwrap();
        for attribute in ["HttpOnly", "SameSite=Strict", "Secure", "Max-Age=43200"] {
            assert!(text.contains(attribute), "{attribute} in {text}");
        }
        assert!(!text.contains("Path") && !text.contains("Domain"), "{text}");
        assert!(
            !set_cookie(&token, false)
                .to_str()
                .unwrap()
                .contains("Secure")
        );
        let sent = parts(&[("cookie", "other=1; idem_session=abc")]);
        assert_eq!(super::cookie(&sent.headers).as_deref(), Some("abc"));
    }
}
