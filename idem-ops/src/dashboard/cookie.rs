//! The cookie of a session.

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};
use cookie::{Cookie, SameSite};

use super::session::{AT_MOST, Token};

const NAME: &str = "idem_session";

/// Returns the value of a request's session cookie.
pub(super) fn read(headers: &HeaderMap) -> Option<String> {
    let lines = headers
        .get_all(COOKIE)
        .into_iter()
        .filter_map(|line| line.to_str().ok());
    let mut cookies = lines.flat_map(Cookie::split_parse).flatten();
    cookies
        .find(|cookie| cookie.name() == NAME)
        .map(|cookie| cookie.value().to_owned())
}

/// Returns the header that sets the cookie. It has no path, so browsers send it to the folder of
/// the login page: the dashboard, wherever it is nested.
pub(super) fn set(token: &Token, secure: bool) -> HeaderValue {
    let seconds = i64::try_from(AT_MOST.as_secs()).unwrap_or(0);
    header(
        Cookie::build((NAME, token.as_str())).max_age(cookie::time::Duration::seconds(seconds)),
        secure,
    )
}

/// Returns the header that removes the cookie.
pub(super) fn unset(secure: bool) -> HeaderValue {
    header(
        Cookie::build((NAME, "")).max_age(cookie::time::Duration::ZERO),
        secure,
    )
}

fn header(cookie: cookie::CookieBuilder<'_>, secure: bool) -> HeaderValue {
    let cookie = cookie
        .http_only(true)
        .same_site(SameSite::Strict)
        .secure(secure)
        .build();
    // A token and the attributes are ASCII without control characters, so this cannot fail.
    HeaderValue::from_str(&cookie.to_string()).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_and_other_sites_cannot_read_the_cookie() {
        let token = Token::new().unwrap();
        let cookie = set(&token, true);
        let text = cookie.to_str().unwrap();
        for attribute in ["HttpOnly", "SameSite=Strict", "Secure", "Max-Age=43200"] {
            assert!(text.contains(attribute), "{attribute} in {text}");
        }
        assert!(!text.contains("Path") && !text.contains("Domain"), "{text}");
        assert!(!set(&token, false).to_str().unwrap().contains("Secure"));
        let mut sent = HeaderMap::new();
        sent.append(
            COOKIE,
            HeaderValue::from_static("other=1; idem_session=abc"),
        );
        assert_eq!(read(&sent).as_deref(), Some("abc"));
    }
}
