//! Sessions of signed-in browsers, in memory: a restart signs everyone out.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// An unused session ends after this time.
const IDLE: Duration = Duration::from_secs(60 * 60);
/// A session ends after this time, even if it is used.
pub(super) const AT_MOST: Duration = Duration::from_secs(12 * 60 * 60);
/// The maximum number of sessions; the one that was used longest ago makes room for another.
const MOST: usize = 1000;

/// 256 random bits, as text.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Token(String);

impl Token {
    pub(super) fn new() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(URL_SAFE_NO_PAD.encode(bytes)))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Compares in constant time.
    pub(super) fn is(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

/// A session as one request sees it.
#[derive(Clone)]
pub(super) struct Session {
    pub who: String,
    /// The CSRF token, which every form of this session has.
    pub csrf: Token,
    id: Id,
}

/// A message that is shown once, on the next page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flash {
    pub good: bool,
    pub text: String,
    /// A letter to link to.
    pub letter: Option<String>,
}

impl Flash {
    /// A message of success.
    pub(super) fn good(text: impl Into<String>) -> Self {
        Self {
            good: true,
            text: text.into(),
            letter: None,
        }
    }

    /// A message of failure.
    pub(super) fn bad(text: impl Into<String>) -> Self {
        Self {
            good: false,
            ..Self::good(text)
        }
    }
}

/// The hash of a session's cookie: the memory has no cookie that opens a session, and the time of a
/// look-up reveals nothing.
type Id = [u8; 32];

struct Entry {
    who: String,
    csrf: Token,
    begun: Instant,
    used: Instant,
    flash: Option<Flash>,
}

/// All sessions.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<Id, Entry>>);

impl Sessions {
    /// Starts a session; the token is for the cookie.
    pub(super) fn begin(
        &self,
        who: &str,
        now: Instant,
    ) -> Result<(Token, Session), getrandom::Error> {
        let (token, csrf) = (Token::new()?, Token::new()?);
        let session = Session {
            who: who.to_owned(),
            csrf: csrf.clone(),
            id: id(token.as_str()),
        };
        let mut kept = self.0.lock();
        kept.retain(|_, session| session.is_alive(now));
        if kept.len() >= MOST
            && let Some(oldest) = kept
                .iter()
                .min_by_key(|(_, session)| session.used)
                .map(|(id, _)| *id)
        {
            kept.remove(&oldest);
        }
        kept.insert(
            session.id,
            Entry {
                who: who.to_owned(),
                csrf,
                begun: now,
                used: now,
                flash: None,
            },
        );
        Ok((token, session))
    }

    /// Returns the session of a cookie, if it is known and has not ended.
    pub(super) fn find(&self, cookie: &str, now: Instant) -> Option<Session> {
        let id = id(cookie);
        let mut kept = self.0.lock();
        let session = kept.get_mut(&id)?;
        if !session.is_alive(now) {
            kept.remove(&id);
            return None;
        }
        session.used = now;
        Some(Session {
            who: session.who.clone(),
            csrf: session.csrf.clone(),
            id,
        })
    }

    pub(super) fn end(&self, session: &Session) {
        self.0.lock().remove(&session.id);
    }

    /// Stores a message for the next page.
    pub(super) fn set_flash(&self, session: &Session, flash: Flash) {
        if let Some(kept) = self.0.lock().get_mut(&session.id) {
            kept.flash = Some(flash);
        }
    }

    /// Takes the message for this page.
    pub(super) fn take_flash(&self, session: &Session) -> Option<Flash> {
        self.0.lock().get_mut(&session.id)?.flash.take()
    }
}

impl Entry {
    fn is_alive(&self, now: Instant) -> bool {
        now.duration_since(self.used) < IDLE && now.duration_since(self.begun) < AT_MOST
    }
}

fn id(cookie: &str) -> Id {
    Sha256::digest(cookie.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_session_ends_when_unused_and_after_twelve_hours() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let (cookie, _) = sessions.begin("ann", start).unwrap();
        assert!(
            sessions.find(cookie.as_str(), start + IDLE).is_none(),
            "unused for an hour"
        );

        let (cookie, _) = sessions.begin("ann", start).unwrap();
        let mut now = start;
        while now + IDLE - SECOND < start + AT_MOST {
            now += IDLE - SECOND;
            assert_eq!(sessions.find(cookie.as_str(), now).unwrap().who, "ann");
        }
        assert!(
            sessions.find(cookie.as_str(), start + AT_MOST).is_none(),
            "after twelve hours"
        );
    }

    #[test]
    fn the_session_that_was_used_longest_ago_makes_room() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let (first, _) = sessions.begin("first", start).unwrap();
        let (second, _) = sessions.begin("second", start).unwrap();
        for _ in 2..MOST {
            sessions.begin("many", start + SECOND).unwrap();
        }
        assert!(sessions.find(first.as_str(), start + 2 * SECOND).is_some());
        sessions.begin("one more", start + 3 * SECOND).unwrap();
        assert!(sessions.find(second.as_str(), start + 4 * SECOND).is_none());
        assert!(sessions.find(first.as_str(), start + 4 * SECOND).is_some());
        assert_eq!(sessions.0.lock().len(), MOST);
    }

    #[test]
    fn a_flash_is_shown_once_and_only_in_its_session() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let (_, ann) = sessions.begin("ann", now).unwrap();
        let (cookie, bob) = sessions.begin("bob", now).unwrap();
        let flash = Flash::good("done");
        sessions.set_flash(&ann, flash.clone());
        assert_eq!(sessions.take_flash(&bob), None);
        assert_eq!(sessions.take_flash(&ann), Some(flash));
        assert_eq!(sessions.take_flash(&ann), None);
        sessions.end(&bob);
        assert!(sessions.find(cookie.as_str(), now).is_none());
    }

    #[test]
    fn tokens_differ_and_equal_only_themselves() {
        let (one, other) = (Token::new().unwrap(), Token::new().unwrap());
        assert_eq!(one.as_str().len(), 43, "256 bits");
        assert!(one.is(one.as_str()));
        assert!(!one.is(other.as_str()));
        assert!(!one.is(""));
    }
}
