//! Everything people can ask of an [`Idem`] and do with its dead letters, without HTTP.
//!
//! The JSON API, the dashboard's pages and the command line use nothing else. What they are answered is `Serialize` and
//! `Deserialize`: the JSON API sends it as it stands.

mod audit;
mod error;
mod groups;
mod letters;
mod redrives;
mod stats;
mod story;

use std::sync::Arc;

use idem_runtime::{DeadLetterId, Idem};
use uuid::Uuid;

pub use audit::{AuditEntry, AuditPage, Deed, Outcome, PageQuery};
pub use error::ServiceError;
pub use groups::{Group, GroupPage, GroupQuery};
pub use letters::{
    LONGEST_PAGE, LetterLine, LetterPage, LetterQuery, LetterView, PAGE, Redriven, RunOutcome, StateFilter,
};
pub use redrives::{NewRedrive, Redrive, RedrivePage, RedriveProblem, RedriveState, Selection};
pub use stats::{Count, Health, Latency, MINUTES, Minute, Stats, StatsQuery};
pub use story::{Event, EventKind, KeyState, Story};

/// What people can ask of an [`Idem`] and do with its dead letters. A clone is another handle of the same.
#[derive(Clone)]
pub struct Service {
    inner: Arc<Inner>,
}

struct Inner {
    idem: Idem,
}

impl Service {
    /// The service of an Idem. One for each Idem is enough: it keeps an index of the letters in memory.
    pub fn new(idem: Idem) -> Self {
        todo!()
    }
    /// The Idem.
    pub fn idem(&self) -> &Idem {
        &self.inner.idem
    }
    /// The same in a person's name, for everything that changes something.
    pub fn by(&self, who: impl Into<String>) -> Acting {
        Acting { service: self.clone(), who: who.into() }
    }
    pub async fn letters(&self, query: &LetterQuery) -> Result<LetterPage, ServiceError> {
        todo!()
    }
    pub async fn letter(&self, id: &DeadLetterId) -> Result<LetterView, ServiceError> {
        todo!()
    }
    pub async fn groups(&self, query: &GroupQuery) -> Result<GroupPage, ServiceError> {
        todo!()
    }
    pub async fn explain(&self, handler: &str, key: &str) -> Result<Story, ServiceError> {
        todo!()
    }
    pub async fn redrives(&self, query: &PageQuery) -> Result<RedrivePage, ServiceError> {
        todo!()
    }
    pub async fn redrive(&self, id: Uuid) -> Result<Redrive, ServiceError> {
        todo!()
    }
    pub async fn audit(&self, query: &PageQuery) -> Result<AuditPage, ServiceError> {
        todo!()
    }
    pub async fn stats(&self, query: &StatsQuery) -> Result<Stats, ServiceError> {
        todo!()
    }
    pub async fn health(&self) -> Health {
        todo!()
    }
    /// The process's metrics as Prometheus text; nothing where another recorder has them.
    pub fn prometheus(&self) -> Option<String> {
        todo!()
    }
}

/// A person who changes something.
#[derive(Clone)]
pub struct Acting {
    service: Service,
    who: String,
}

impl Acting {
    pub async fn redrive(&self, id: &DeadLetterId, run: bool, why: &str) -> Result<Redriven, ServiceError> {
        todo!()
    }
    pub async fn edit(
        &self,
        id: &DeadLetterId,
        payload: serde_json::Value,
        why: &str,
    ) -> Result<LetterView, ServiceError> {
        todo!()
    }
    pub async fn discard(&self, id: &DeadLetterId, why: &str) -> Result<LetterView, ServiceError> {
        todo!()
    }
    pub async fn restore(&self, id: &DeadLetterId, why: &str) -> Result<LetterView, ServiceError> {
        todo!()
    }
    pub async fn start_redrive(&self, asked: NewRedrive) -> Result<Redrive, ServiceError> {
        todo!()
    }
    pub async fn cancel_redrive(&self, id: Uuid, why: Option<&str>) -> Result<Redrive, ServiceError> {
        todo!()
    }
}
