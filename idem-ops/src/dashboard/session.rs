//! Who is signed in: a session for each browser, in memory, so that a restart signs everybody out.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A session that nobody uses ends.
const IDLE: Duration = Duration::from_secs(60 * 60);
/// A session ends, however much it is used.
pub(super) const AT_MOST: Duration = Duration::from_secs(12 * 60 * 60);
/// More than the people of one service; the one used longest ago makes room.
const MOST: usize = 1000;

/// 256 bits that nobody can guess, as text.
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

    /// In a time that says nothing about where they differ.
    pub(super) fn is(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

/// A session as one request sees it.
#[derive(Clone)]
pub(super) struct Session {
    pub who: String,
    /// What every form of this session carries.
    pub csrf: Token,
    id: Id,
}

/// One thing to tell a person on the next page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flash {
    pub good: bool,
    pub text: String,
    /// A letter to go on with.
    pub letter: Option<String>,
}

/// What a session's cookie hashes to: what stands in memory opens no session, and a look-up's time
/// tells nothing.
type Id = [u8; 32];

struct Kept {
    who: String,
    csrf: Token,
    begun: Instant,
    used: Instant,
    flash: Option<Flash>,
}

/// All sessions.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<Id, Kept>>);

impl Sessions {
    /// Begins a session; the token is for the cookie.
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
        kept.retain(|_, session| session.lives(now));
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
            Kept {
                who: who.to_owned(),
                csrf,
                begun: now,
                used: now,
                flash: None,
            },
        );
        Ok((token, session))
    }

    /// The session of a cookie, where it is known and has not ended.
    pub(super) fn find(&self, cookie: &str, now: Instant) -> Option<Session> {
        let id = id(cookie);
        let mut kept = self.0.lock();
        let session = kept.get_mut(&id)?;
        if !session.lives(now) {
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

    /// Keeps something to tell on the next page.
    pub(super) fn tell(&self, session: &Session, flash: Flash) {
        if let Some(kept) = self.0.lock().get_mut(&session.id) {
            kept.flash = Some(flash);
        }
    }

    /// What is to be told, once.
    pub(super) fn told(&self, session: &Session) -> Option<Flash> {
        self.0.lock().get_mut(&session.id)?.flash.take()
    }
}

impl Kept {
    fn lives(&self, now: Instant) -> bool {
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
    fn a_session_ends_unused_and_at_last_even_when_used() {
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
    fn the_one_used_longest_ago_makes_room() {
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
    fn something_is_told_once_and_to_nobody_else() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let (_, ann) = sessions.begin("ann", now).unwrap();
        let (cookie, bob) = sessions.begin("bob", now).unwrap();
        let flash = Flash {
            good: true,
            text: "done".into(),
            letter: None,
        };
        sessions.tell(&ann, flash.clone());
        assert_eq!(sessions.told(&bob), None);
        assert_eq!(sessions.told(&ann), Some(flash));
        assert_eq!(sessions.told(&ann), None);
        sessions.end(&bob);
        assert!(sessions.find(cookie.as_str(), now).is_none());
    }

    #[test]
    fn tokens_differ_and_only_the_same_one_is_it() {
        let (one, other) = (Token::new().unwrap(), Token::new().unwrap());
        assert_eq!(one.as_str().len(), 43, "256 bits");
        assert!(one.is(one.as_str()));
        assert!(!one.is(other.as_str()));
        assert!(!one.is(""));
    }
}
