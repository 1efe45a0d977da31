//! Where a request comes from: the dashboard's own page or another site, this machine or elsewhere.

use axum::http::header::{HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use url::Url;

use crate::loopback;

/// Returns whether a change comes from the dashboard's own page. Browsers say so on a trusted
/// connection; otherwise the origin must be the requested host.
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

/// Returns whether the connection stays on this machine, so that a cookie needs no TLS.
pub(super) fn is_loopback(parts: &Parts) -> bool {
    let scheme = parts
        .headers
        .get("x-forwarded-proto")
        .and_then(|scheme| scheme.to_str().ok()?.split(',').next());
    let through_tls = scheme.is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"));
    let Some(host) = host(parts).and_then(|host| Url::parse(&format!("http://{host}")).ok()) else {
        return false;
    };
    // Browsers resolve every name below `localhost` to this machine.
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
    use axum::http::Request;

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
    fn only_the_dashboard_s_own_page_has_the_same_origin() {
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
            "a form always sends its origin"
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
    fn a_cookie_goes_without_tls_only_on_the_loopback() {
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
                "TLS ends at a proxy: {scheme}"
            );
        }
        assert!(loopback(&[
            ("host", "localhost"),
            ("x-forwarded-proto", "http")
        ]));
    }
}
