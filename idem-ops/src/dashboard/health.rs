//! Whether the service can do its work, and whether people are told.

use askama::Template;
use axum::extract::State;

use super::Dashboard;
use super::error::PageError;
use super::overview::size;
use super::page::{Answer, Page, Tab, show as draw};
use super::visit::Visit;
use crate::service::{Health, Stats, StatsQuery};

/// More are not counted one by one.
const MOST: usize = 1000;
/// More of the monitor's notes are not shown.
const NOTES: usize = 50;

#[derive(Template)]
#[template(path = "dashboard/health.html")]
struct HealthPage {
    page: Page,
    health: Health,
    stats: Stats,
    size: String,
    /// How many letters nobody has been told of; empty where there is none.
    untold: String,
    /// What the monitor keeps, by name.
    notes: Vec<(String, String)>,
}

pub(super) async fn show(State(dashboard): State<Dashboard>, visit: Visit) -> Answer {
    let health = dashboard.service.health().await;
    let stats = dashboard.service.stats(&StatsQuery { minutes: Some(1) }).await?;
    let (untold, notes) = alerts(&dashboard).await?;
    draw(&HealthPage {
        page: Page::of(&dashboard, &visit, Tab::Health),
        size: size(stats.ledger_bytes),
        health,
        stats,
        untold,
        notes,
    })
}

async fn alerts(dashboard: &Dashboard) -> Result<(String, Vec<(String, String)>), PageError> {
    let notes = dashboard.service.idem().notes();
    let untold = match notes.list("untold/", None, MOST).await?.len() {
        0 => String::new(),
        MOST => format!("{MOST} or more"),
        some => some.to_string(),
    };
    let kept = notes.list("alerts/", None, NOTES).await?;
    let shown = kept.into_iter().map(|note| (note.key, pretty(&note.value)));
    Ok((untold, shown.collect()))
}

fn pretty(value: &[u8]) -> String {
    let json = serde_json::from_slice::<serde_json::Value>(value).and_then(|json| serde_json::to_string_pretty(&json));
    json.unwrap_or_else(|_| format!("{} bytes", value.len()))
}
