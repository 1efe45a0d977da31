//! Authentication of requests by tokens or by the user's own check.

mod failures;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::ConnectInfo;
use http::header::{AUTHORIZATION, COOKIE};
use http::request::Parts;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::Secret;
use crate::proxies::{self, Network};
use failures::Failures;

/// An authenticated person or program; the audit log has its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal(Arc<str>);

impl Principal {
    /// Creates a principal of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into().into())
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Authentication by tokens or by a check of your own. Clones count failures together.
///
/// Tokens are compared in constant time. After 10 wrong tokens within a minute from one address, or
/// 100 from all addresses, further wrong ones have to wait. A valid token is always accepted, so
/// use one that cannot be guessed: 128 random bits, as from `openssl rand -hex 16`.
///
/// The address of a request is known if [`serve`](crate::serve) serves the dashboard, or
/// `axum::serve` with `into_make_service_with_connect_info::<SocketAddr>()`. Behind a proxy, set
/// [`trusted_proxies`](Self::trusted_proxies); otherwise all callers have one address.
#[derive(Clone)]
pub struct Auth {
    method: Method,
    failures: Arc<Failures>,
    trusted_proxies: Vec<Network>,
}

/// The user's own check.
type Check = dyn Fn(&Parts) -> Option<Principal> + Send + Sync;

#[derive(Clone)]
enum Method {
    Tokens(Vec<(Principal, Secret)>),
    Check(Arc<Check>),
}

/// Why a request was not authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// There were no credentials.
    #[error("log in first: send `Authorization: Bearer …` with the token")]
    Anonymous,
    /// The credentials were wrong.
    #[error("the credentials are not valid: check the token")]
    Wrong,
    /// There were too many failures.
    #[error("too many failed logins: wait {} seconds", wait.as_secs().max(1))]
    TooMany {
        /// The time to wait.
        wait: Duration,
    },
}

impl Auth {
    /// Accepts one token, for the principal `token`. An empty token is never accepted.
    pub fn token(token: impl Into<Secret>) -> Self {
        Self::new(Method::Tokens(vec![(
            Principal::new("token"),
            token.into(),
        )]))
    }

    /// Accepts one more token, for a principal of this name, so that the audit log tells people
    /// apart. It has no effect with [`check`](Self::check).
    #[must_use]
    pub fn with_token(mut self, name: impl Into<String>, token: impl Into<Secret>) -> Self {
        if let Method::Tokens(tokens) = &mut self.method {
            tokens.push((Principal::new(name), token.into()));
        }
        self
    }

    /// Accepts the requests for which `check` returns a principal: by a session of the service, or
    /// a header that a proxy sets.
    pub fn check(check: impl Fn(&Parts) -> Option<Principal> + Send + Sync + 'static) -> Self {
        Self::new(Method::Check(Arc::new(check)))
    }

    /// Sets the proxies whose `X-Forwarded-For` is trusted. From others it is ignored, since any
    /// client can send it.
    #[must_use]
    pub fn trusted_proxies(mut self, proxies: impl IntoIterator<Item = Network>) -> Self {
        self.trusted_proxies = proxies.into_iter().collect();
        self
    }

    fn new(method: Method) -> Self {
        Self {
            method,
            failures: Arc::default(),
            trusted_proxies: Vec::new(),
        }
    }

    /// Returns whether the user's own check decides, so that no token is valid.
    pub(crate) fn has_check(&self) -> bool {
        matches!(self.method, Method::Check(_))
    }

    /// Checks a token, as for a login form. Failures count.
    ///
    /// # Errors
    /// The token is wrong; after too many failures the error has the time to wait. With
    /// [`check`](Self::check), every token is wrong.
    pub fn sign_in(&self, token: &Secret, address: Option<IpAddr>) -> Result<Principal, AuthError> {
        self.attempt(address, || self.holder(token.expose()))
    }

    /// Returns the principal of a request.
    ///
    /// # Errors
    /// There are no credentials or they are wrong; after too many failures the error has the time
    /// to wait.
    pub fn admit(&self, request: &Parts, address: Option<IpAddr>) -> Result<Principal, AuthError> {
        let headers = &request.headers;
        match &self.method {
            Method::Tokens(_) => {
                // A request without a token does not count as a failure.
                let header = headers.get(AUTHORIZATION).ok_or(AuthError::Anonymous)?;
                let token = header.to_str().ok().and_then(|text| text.split_once(' '));
                let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
                self.attempt(address, || self.holder(token?.1.trim()))
            }
            Method::Check(check)
                if headers.contains_key(AUTHORIZATION) || headers.contains_key(COOKIE) =>
            {
                self.attempt(address, || check(request))
            }
            Method::Check(check) => check(request).ok_or(AuthError::Anonymous),
        }
    }

    /// Valid credentials are accepted despite failures: many people may share an address with one
    /// that guesses.
    fn attempt(
        &self,
        address: Option<IpAddr>,
        principal: impl FnOnce() -> Option<Principal>,
    ) -> Result<Principal, AuthError> {
        principal().ok_or_else(|| self.failures.count(address, Instant::now()))
    }

    /// Returns the error of an address with too many failures.
    pub(crate) fn too_many_failures(&self, address: Option<IpAddr>) -> Option<AuthError> {
        self.failures.too_many(address, Instant::now())
    }

    /// Returns the address for which a request's failures count.
    pub(crate) fn peer(&self, request: &Parts) -> Option<IpAddr> {
        let connected = request
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map(|ConnectInfo(address)| address.ip());
        proxies::peer(connected, &request.headers, &self.trusted_proxies)
    }

    /// Compares every token by its hash, so that the time reveals neither their lengths nor their
    /// order.
    fn holder(&self, given: &str) -> Option<Principal> {
        let Method::Tokens(tokens) = &self.method else {
            return None;
        };
        let given = Sha256::digest(given.as_bytes());
        let mut found = None;
        for (who, token) in tokens {
            let right = Sha256::digest(token.expose().as_bytes()).ct_eq(&given);
            let set = Choice::from(u8::from(!token.expose().is_empty()));
            if bool::from(right & set) {
                found = Some(who.clone());
            }
        }
        found
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = match &self.method {
            Method::Tokens(tokens) => format!("{} tokens", tokens.len()),
            Method::Check(_) => "a check".to_owned(),
        };
        write!(f, "Auth({method})")
    }
}

#[cfg(test)]
mod tests {
    use super::failures::{OF_ALL, OF_ONE};
    use super::*;

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn a_valid_token_is_accepted_for_its_holder() {
        let auth = Auth::token("right").with_token("ann", "hers");
        assert_eq!(
            auth.sign_in(&"hers".into(), None),
            Ok(Principal::new("ann"))
        );
        assert_eq!(
            auth.sign_in(&"right".into(), None),
            Ok(Principal::new("token"))
        );
        for wrong in ["", "righ", "rightt", "RIGHT"] {
            assert_eq!(auth.sign_in(&wrong.into(), None), Err(AuthError::Wrong));
        }
        assert_eq!(
            Auth::token("").sign_in(&"".into(), None),
            Err(AuthError::Wrong)
        );
        assert!(!format!("{auth:?}").contains("right"));
    }

    #[test]
    fn wrong_tokens_of_an_address_have_to_wait_and_a_valid_one_never() {
        let auth = Auth::token("right");
        for _ in 0..OF_ONE {
            assert_eq!(
                auth.sign_in(&"wrong".into(), address(1)),
                Err(AuthError::Wrong)
            );
        }
        assert!(matches!(
            auth.sign_in(&"wrong".into(), address(1)),
            Err(AuthError::TooMany { .. })
        ));
        assert!(auth.sign_in(&"right".into(), address(1)).is_ok());
        assert!(
            matches!(
                auth.sign_in(&"wrong".into(), address(1)),
                Err(AuthError::TooMany { .. })
            ),
            "a valid token does not reset the count"
        );
        assert_eq!(
            auth.sign_in(&"wrong".into(), address(2)),
            Err(AuthError::Wrong)
        );
    }

    #[test]
    fn many_guessing_addresses_do_not_lock_out_a_valid_token() {
        let auth = Auth::token("right");
        for guess in 0..OF_ALL {
            let last = u8::try_from(guess % 200).unwrap();
            assert_eq!(
                auth.sign_in(&"wrong".into(), address(last)),
                Err(AuthError::Wrong)
            );
        }
        assert!(matches!(
            auth.sign_in(&"wrong".into(), address(250)),
            Err(AuthError::TooMany { .. })
        ));
        assert!(auth.sign_in(&"right".into(), address(250)).is_ok());
    }
}
