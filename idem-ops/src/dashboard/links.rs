//! Relative links and redirects within the dashboard.

use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::error::PageError;

/// Redirects to another page of the dashboard.
pub(super) fn redirect(root: &str, path: &str) -> Response {
    match HeaderValue::from_str(&format!("{root}{path}")) {
        Ok(location) => (StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response(),
        Err(_) => PageError::bad("the address has invalid characters").into_response(),
    }
}

/// Returns the relative link from a page to the dashboard's root. It is never empty, so that a path
/// after it is not read as a scheme or a host.
pub(super) fn root(path: &str) -> String {
    match path.matches('/').count() {
        0 | 1 => "./".to_owned(),
        slashes => "../".repeat(slashes - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_links_to_the_root() {
        let base = url::Url::parse("https://ops.example/idem/").unwrap();
        for path in ["/overview", "/letters/018f", "/letters/018f/discard"] {
            let page = base.join(path.trim_start_matches('/')).unwrap();
            assert_eq!(page.join(&root(path)).unwrap(), base, "{path}");
        }
        let login = base.join("login").unwrap();
        for to in [
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "javascript:alert(1)",
        ] {
            let there = login.join(&format!("{}{to}", root("/login"))).unwrap();
            assert_eq!(there.origin(), base.origin(), "{there}");
        }
    }
}
