//! Whose keys they are.

use std::fmt;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::request::Parts;

/// The callers that share their keys: a key of another scope is another key, so that a caller who
/// sends a key of somebody else gets nothing of theirs.
///
/// It is stored with the record and shown with its letters. A [hashed](Self::hashed) one is not.
#[derive(Clone)]
pub struct Scope(Kind);

type ReadScope = Arc<dyn Fn(&Parts) -> Option<String> + Send + Sync>;

#[derive(Clone)]
enum Kind {
    Public,
    Read { read: ReadScope, hashed: bool },
}

impl Scope {
    /// Reads the scope from the request: the tenant or the principal that a layer for
    /// authentication has put into its extensions. A request without one is answered with 401.
    ///
    /// ```
    /// #[derive(Clone)]
    /// struct Tenant(String);
    ///
    /// let scope = idem_http::Scope::new(|request| Some(request.extensions.get::<Tenant>()?.0.clone()));
    /// ```
    pub fn new(read: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static) -> Self {
        let read = Arc::new(read);
        Self(Kind::Read {
            read,
            hashed: false,
        })
    }

    /// [`new`](Self::new) for what is a secret: only its hash is stored.
    pub fn hashed(read: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static) -> Self {
        let read = Arc::new(read);
        Self(Kind::Read { read, hashed: true })
    }

    /// Takes the bearer token for the principal, by its hash. The token is not checked: that is
    /// the work of a layer outside of this one, which may look at another one where a request has
    /// two `Authorization` headers, so such a request has no scope.
    pub fn bearer() -> Self {
        Self::hashed(|request| {
            let mut values = request.headers.get_all(AUTHORIZATION).iter();
            let (Some(value), None) = (values.next(), values.next()) else {
                return None;
            };
            let value = value.to_str().ok()?;
            let (scheme, token) = value.split_once(' ')?;
            let token = token.trim_matches(' ');
            scheme
                .eq_ignore_ascii_case("bearer")
                .then(|| token.to_owned())
        })
    }

    /// Lets all callers share their keys: one that guesses a key of another gets that answer. For
    /// services with one caller.
    pub fn public() -> Self {
        Self(Kind::Public)
    }

    /// Returns the request's scope as a part of the key.
    pub(crate) fn of(&self, request: &Parts) -> Option<String> {
        match &self.0 {
            Kind::Public => Some("*".to_owned()),
            Kind::Read { read, hashed } => {
                let scope = read(request).filter(|scope| !scope.is_empty())?;
                Some(match hashed {
                    true => format!("{:032x}", short_hash(scope.as_bytes())),
                    false => scope,
                })
            }
        }
    }
}

/// Returns the first half of a hash.
fn short_hash(secret: &[u8]) -> u128 {
    let mut half = [0; 16];
    half.copy_from_slice(&blake3::hash(secret).as_bytes()[..16]);
    u128::from_be_bytes(half)
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}
