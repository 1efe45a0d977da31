//! Who may come in: nobody, unless a token or the user's own check says so.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::ConnectInfo;
use http::header::{AUTHORIZATION, COOKIE};
use http::request::Parts;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::Secret;
use crate::proxies::{self, Network};

/// Failures of one address within [`WINDOW`] before further ones have to wait.
const OF_ONE: u32 = 10;
/// Failures of all addresses together before further ones have to wait.
const OF_ALL: u32 = 100;
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are remembered; beyond, all unknown ones share one count.
const ADDRESSES: usize = 10_000;

/// A person or a program that may come in; the name stands in the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal(Arc<str>);

impl Principal {
    /// By name.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into().into())
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who may come in. A clone counts failures together with the first.
///
/// Tokens are compared in constant time. After 10 wrong ones within a minute from one address, and
/// after 100 from all addresses together, further wrong ones are told to wait. A right one always
/// comes in, so a token has to be one that nobody guesses: 128 random bits, as `openssl rand -hex
/// 16` makes them. Addresses are seen where [`serve`](crate::serve) serves the dashboard, or
/// `axum::serve` with `into_make_service_with_connect_info::<SocketAddr>()`; behind a proxy say
/// which by [`trusted_proxies`](Self::trusted_proxies), or all callers are one address.
#[derive(Clone)]
pub struct Auth {
    kind: Kind,
    guard: Arc<Guard>,
    trusted_proxies: Vec<Network>,
}

/// The user's own.
type Check = dyn Fn(&Parts) -> Option<Principal> + Send + Sync;

#[derive(Clone)]
enum Kind {
    Tokens(Vec<(Principal, Secret)>),
    Check(Arc<Check>),
}

/// Why somebody may not come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// Nothing was shown.
    #[error("log in first: send `Authorization: Bearer …` with the token")]
    Anonymous,
    /// It was not right.
    #[error("the token, or what else was shown, is not right")]
    Wrong,
    /// Too often wrong.
    #[error("too many failed logins: wait {} seconds", wait.as_secs().max(1))]
    TooMany {
        /// How long.
        wait: Duration,
    },
}

impl Auth {
    /// Whoever has the token, by the name of `token`. An empty token lets nobody in.
    pub fn token(token: impl Into<Secret>) -> Self {
        Self::of(Kind::Tokens(vec![(Principal::new("token"), token.into())]))
    }

    /// One more, with a name and a token of their own, so that the audit log tells people apart.
    /// With
    /// [`check`](Self::check) it changes nothing.
    #[must_use]
    pub fn with_token(mut self, name: impl Into<String>, token: impl Into<Secret>) -> Self {
        if let Kind::Tokens(tokens) = &mut self.kind {
            tokens.push((Principal::new(name), token.into()));
        }
        self
    }

    /// Whoever the user's own check knows: a session of the service's, a header that a proxy in
    /// front sets.
    pub fn check(check: impl Fn(&Parts) -> Option<Principal> + Send + Sync + 'static) -> Self {
        Self::of(Kind::Check(Arc::new(check)))
    }

    /// Proxies whose `X-Forwarded-For` says where a request came from. From all others it is not
    /// believed: anybody can send it.
    #[must_use]
    pub fn trusted_proxies(mut self, proxies: impl IntoIterator<Item = Network>) -> Self {
        self.trusted_proxies = proxies.into_iter().collect();
        self
    }

    fn of(kind: Kind) -> Self {
        Self {
            kind,
            guard: Arc::default(),
            trusted_proxies: Vec::new(),
        }
    }

    /// Whether the user's own check decides, so that there is nothing to sign in with.
    pub(crate) fn checks(&self) -> bool {
        matches!(self.kind, Kind::Check(_))
    }

    /// Whether a token is right, for a login form. Failures count.
    ///
    /// # Errors
    /// It is not; after too many that were not, it says how long to wait. Where
    /// [`check`](Self::check) decides, no token is right.
    pub fn sign_in(&self, token: &Secret, address: Option<IpAddr>) -> Result<Principal, AuthError> {
        self.attempt(address, || self.holder(token.expose()))
    }

    /// Who sent a request.
    ///
    /// # Errors
    /// Nobody who may come in; after too many failures it says how long to wait.
    pub fn admit(&self, request: &Parts, address: Option<IpAddr>) -> Result<Principal, AuthError> {
        let headers = &request.headers;
        match &self.kind {
            Kind::Tokens(_) => {
                // A request without a token is no guess.
                let header = headers.get(AUTHORIZATION).ok_or(AuthError::Anonymous)?;
                let token = header.to_str().ok().and_then(|text| text.split_once(' '));
                let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
                self.attempt(address, || self.holder(token?.1.trim()))
            }
            Kind::Check(check)
                if headers.contains_key(AUTHORIZATION) || headers.contains_key(COOKIE) =>
            {
                self.attempt(address, || check(request))
            }
            Kind::Check(check) => check(request).ok_or(AuthError::Anonymous),
        }
    }

    /// What is right comes in whatever was guessed before: many people may share an address, and
    /// one of them may guess.
    fn attempt(
        &self,
        address: Option<IpAddr>,
        right: impl FnOnce() -> Option<Principal>,
    ) -> Result<Principal, AuthError> {
        right().ok_or_else(|| self.guard.fail(address, Instant::now()))
    }

    /// Whether this address has guessed too often.
    pub(crate) fn has_to_wait(&self, address: Option<IpAddr>) -> Option<AuthError> {
        self.guard.wait(address, Instant::now())
    }

    /// Whose failures a request's are.
    pub(crate) fn peer(&self, request: &Parts) -> Option<IpAddr> {
        let connected = request
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map(|ConnectInfo(address)| address.ip());
        proxies::peer(connected, &request.headers, &self.trusted_proxies)
    }

    /// Every token is compared, by its hash, so that neither their lengths nor their order show in
    /// the time it takes.
    fn holder(&self, shown: &str) -> Option<Principal> {
        let Kind::Tokens(tokens) = &self.kind else {
            return None;
        };
        let shown = Sha256::digest(shown.as_bytes());
        let mut found = None;
        for (who, token) in tokens {
            let right = Sha256::digest(token.expose().as_bytes()).ct_eq(&shown);
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
        let kind = match &self.kind {
            Kind::Tokens(tokens) => format!("{} tokens", tokens.len()),
            Kind::Check(_) => "a check".to_owned(),
        };
        write!(f, "Auth({kind})")
    }
}

/// Failures, by address and in all.
#[derive(Default)]
struct Guard(Mutex<Failures>);

#[derive(Default)]
struct Failures {
    by_address: HashMap<Option<IpAddr>, Tally>,
    all: Tally,
}

#[derive(Default, Clone, Copy)]
struct Tally {
    failures: u32,
    since: Option<Instant>,
}

impl Tally {
    fn wait(&self, most: u32, now: Instant) -> Option<Duration> {
        let left = WINDOW.checked_sub(now.duration_since(self.since?))?;
        (self.failures >= most && !left.is_zero()).then_some(left)
    }

    fn fail(&mut self, now: Instant) {
        if self.idle(now) {
            (self.failures, self.since) = (0, Some(now));
        }
        self.failures += 1;
    }

    fn idle(&self, now: Instant) -> bool {
        self.since
            .is_none_or(|since| now.duration_since(since) >= WINDOW)
    }
}

impl Guard {
    fn wait(&self, address: Option<IpAddr>, now: Instant) -> Option<AuthError> {
        let failures = self.0.lock();
        let of_one = failures
            .by_address
            .get(&network(address))
            .and_then(|tally| tally.wait(OF_ONE, now));
        let wait = of_one.max(failures.all.wait(OF_ALL, now))?;
        Some(AuthError::TooMany { wait })
    }

    /// Counts a failure; those beyond the limit say how long it lasts.
    fn fail(&self, address: Option<IpAddr>, now: Instant) -> AuthError {
        if let Some(refusal) = self.wait(address, now) {
            return refusal;
        }
        let mut failures = self.0.lock();
        let mut address = network(address);
        if failures.by_address.len() >= ADDRESSES && !failures.by_address.contains_key(&address) {
            failures.by_address.retain(|_, tally| !tally.idle(now));
            if failures.by_address.len() >= ADDRESSES {
                address = None;
            }
        }
        failures.by_address.entry(address).or_default().fail(now);
        failures.all.fail(now);
        AuthError::Wrong
    }
}

/// Whoever has one address of IPv6 has 2^64 of them.
fn network(address: Option<IpAddr>) -> Option<IpAddr> {
    match address.map(|address| address.to_canonical()) {
        Some(IpAddr::V6(address)) => Some(IpAddr::V6(Ipv6Addr::from_bits(
            address.to_bits() & !u128::from(u64::MAX),
        ))),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn the_right_token_comes_in_by_its_holder_s_name() {
        let auth = Auth::token("right").with_token("ann", "hers");
        assert_eq!(auth.sign_in(&"hers".into(), None), Ok(Principal::new("ann")));
        assert_eq!(auth.sign_in(&"right".into(), None), Ok(Principal::new("token")));
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
    fn wrong_tokens_of_an_address_wait_after_some_and_a_right_one_never() {
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
            "it is no way around"
        );
        assert_eq!(
            auth.sign_in(&"wrong".into(), address(2)),
            Err(AuthError::Wrong)
        );
    }

    #[test]
    fn many_addresses_that_guess_lock_out_nobody_who_knows() {
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

    #[test]
    fn a_window_ends() {
        let (guard, start) = (Guard::default(), Instant::now());
        for _ in 0..OF_ONE {
            guard.fail(address(1), start);
        }
        assert!(guard.wait(address(1), start + WINDOW / 2).is_some());
        assert!(guard.wait(address(1), start + WINDOW).is_none());
    }

    #[test]
    fn however_many_addresses_guess_so_many_are_remembered() {
        let (guard, start) = (Guard::default(), Instant::now());
        for number in 0..2 * ADDRESSES as u64 {
            // Far apart, so that all together never have to wait.
            let now = start + WINDOW * u32::try_from(number / 50).unwrap();
            guard.fail(
                Some(IpAddr::from(Ipv6Addr::from_bits(u128::from(number) << 64))),
                now,
            );
        }
        assert!(guard.0.lock().by_address.len() <= ADDRESSES);
    }

    #[test]
    fn addresses_of_one_network_of_ipv6_are_one() {
        let of = |text: &str| network(Some(text.parse().unwrap()));
        assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), address(1));
    }
}
