//! What a person does with many letters: those that are ticked, or a whole group.

use std::time::Duration;

use axum::extract::State;
use idem_runtime::Error;
use tokio::time::{interval, timeout};

use super::Dashboard;
use super::acts::PATIENCE;
use super::error::PageError;
use super::forms::{Fields, Signed};
use super::groups::of_group;
use super::page::{Answer, redirect};
use super::session::Flash;
use super::visit::Visit;
use crate::service::{Acting, LONGEST_PAGE, LetterQuery, NewRedrive, Selection, Service, ServiceError};

pub(super) async fn selection(State(dashboard): State<Dashboard>, signed: Signed) -> Answer {
    let Signed { visit, fields } = signed;
    let ids = fields.ids()?;
    if ids.is_empty() {
        return Err(PageError::bad("no letter is selected: go back and tick some"));
    }
    if fields.get("act") != Some("discard") {
        return redrive(&dashboard, &visit, &fields, Selection::Ids(ids)).await;
    }
    let why = fields.need("why", "A reason")?;
    let acting = dashboard.service.by(&visit.session.who);
    let mut count = Count::default();
    for id in &ids {
        count.add(acting.discard(id, why).await)?;
    }
    dashboard.sessions.tell(&visit.session, count.in_words());
    Ok(redirect(&visit.root, "letters"))
}

pub(super) async fn group(State(dashboard): State<Dashboard>, signed: Signed) -> Answer {
    let Signed { visit, fields } = signed;
    let (handler, error) = (fields.need("handler", "The handler")?, fields.raw("error").unwrap_or_default());
    if fields.get("act") != Some("discard") {
        let selection = Selection::Group { handler: handler.to_owned(), error: error.to_owned() };
        return redrive(&dashboard, &visit, &fields, selection).await;
    }
    let (why, rate) = (fields.need("why", "A reason")?.to_owned(), rate(&fields)?);
    let (service, group) = (dashboard.service.clone(), of_group(handler, error));
    let acting = service.by(&visit.session.who);
    let discarding = tokio::spawn(async move { discard_all(&acting, &service, group, &why, rate).await });
    let flash = match timeout(PATIENCE, discarding).await {
        Ok(Ok(count)) => count?.in_words(),
        Ok(Err(_)) => return Err(PageError::bad("the discarding ended early: look at what is left")),
        Err(_) => Flash {
            good: true,
            text: "The discarding goes on: load this page again to see what is left.".into(),
            letter: None,
        },
    };
    dashboard.sessions.tell(&visit.session, flash);
    let query = Fields::query(&[("handler", Some(handler)), ("error", Some(error))]);
    Ok(redirect(&visit.root, &format!("group?{query}")))
}

async fn redrive(dashboard: &Dashboard, visit: &Visit, fields: &Fields, selection: Selection) -> Answer {
    let rate = rate(fields)?;
    let run = fields.get("act") == Some("run");
    let why = fields.need("why", "A reason")?.to_owned();
    let asked = NewRedrive { selection, rate, run, why };
    let redrive = dashboard.service.by(&visit.session.who).start_redrive(asked).await?;
    Ok(redirect(&visit.root, &format!("redrives/{}", redrive.id)))
}

/// How many letters a second; the service has the same limits.
fn rate(fields: &Fields) -> Result<f64, PageError> {
    let given = fields.need("rate", "How many letters a second")?;
    let rate = given.parse().ok().filter(|rate| (0.01..=1000.0).contains(rate));
    rate.ok_or_else(|| PageError::bad(format!("“{given}” is no number of letters a second from 0.01 to 1000")))
}

/// Discards a group's letters one by one, newest first, at most so many a second.
///
/// It is not kept across a restart: what is discarded by then stays so, and the rest of the group is still there.
async fn discard_all(
    acting: &Acting,
    service: &Service,
    group: LetterQuery,
    why: &str,
    rate: f64,
) -> Result<Count, ServiceError> {
    let mut pace = interval(Duration::from_secs_f64(1.0 / rate));
    let mut query = LetterQuery { limit: Some(LONGEST_PAGE), ..group };
    let mut count = Count::default();
    loop {
        let page = service.letters(&query).await?;
        for letter in &page.letters {
            pace.tick().await;
            count.add(acting.discard(&letter.id, why).await)?;
        }
        match page.next {
            None => return Ok(count),
            next => query.after = next,
        }
    }
}

/// What came of many discards.
#[derive(Default)]
struct Count {
    done: u64,
    /// Somebody else was quicker.
    closed: u64,
}

impl Count {
    fn add<T>(&mut self, discarded: Result<T, ServiceError>) -> Result<(), ServiceError> {
        match discarded {
            Ok(_) => self.done += 1,
            Err(ServiceError::Idem(Error::LetterClosed { .. }) | ServiceError::NoSuchLetter(_)) => self.closed += 1,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn in_words(&self) -> Flash {
        let letters = if self.done == 1 { "letter is" } else { "letters are" };
        let mut text = format!("{} {letters} discarded.", self.done);
        if self.closed > 0 {
            text.push_str(&format!(" {} had been closed by somebody else meanwhile.", self.closed));
        }
        Flash { good: true, text, letter: None }
    }
}
