//! The page of the service's health and its notifications.

use askama::Template;
use axum::extract::State;

use super::overview::size;
use super::page::{Answer, Page, Tab, show as answer};
use super::session_guard::Visit;
use super::state::Dashboard;
use crate::monitor::AlertState;
use crate::service::{Health, Readiness, Stats, StatsQuery};

#[derive(Template)]
#[template(path = "dashboard/health.html")]
struct HealthPage {
    page: Page,
    health: Health,
    readiness: Readiness,
    stats: Stats,
    size: String,
    alerts: AlertState,
    /// Whether any channel has a waiting notice.
    waiting: bool,
}

pub(super) async fn show(State(dashboard): State<Dashboard>, visit: Visit) -> Answer {
    let health = dashboard.service.health().await;
    let readiness = dashboard.service.readiness().await;
    let stats = dashboard
        .service
        .stats(&StatsQuery { minutes: Some(1) })
        .await?;
    let alerts = dashboard.service.alerts().await?;
    let page = Page::new(&dashboard, &visit, Tab::Health);
    let waiting = alerts.channels.iter().any(|channel| channel.waiting > 0);
    answer(&HealthPage {
        page,
        size: size(stats.ledger_bytes),
        health,
        readiness,
        stats,
        alerts,
        waiting,
    })
}
