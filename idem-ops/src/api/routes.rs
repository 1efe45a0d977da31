//! The routes: each one calls the service and sends its answer.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use idem_runtime::DeadLetterId;
use uuid::Uuid;

use super::extract::{
    Acting, Edit, Id, Json, MaybeWhy, NewPause, NewRule, Nothing, OneHandler, OneKey, Query,
    RedriveOne, Why,
};
use super::problem::Problem;
use crate::monitor::AlertState;
use crate::service::{
    AuditPage, Backup, BulkJob, BulkPage, Erase, Erasure, GroupPage, GroupQuery, LetterPage,
    LetterQuery, LetterView, NewBulkJob, PageQuery, Pause, PauseList, Redriven, Service,
    ServiceError, SetRule, Stats, StatsQuery, Timeline,
};

type Answer<T> = Result<axum::Json<T>, Problem>;

fn answer<T>(value: T) -> Answer<T> {
    Ok(axum::Json(value))
}

pub(super) async fn letters(
    service: State<Service>,
    Query(query): Query<LetterQuery>,
) -> Answer<LetterPage> {
    answer(service.letters(&query).await?)
}

pub(super) async fn letter(
    service: State<Service>,
    Id(id): Id<DeadLetterId>,
    _: Query<Nothing>,
) -> Answer<LetterView> {
    answer(service.letter(&id).await?)
}

pub(super) async fn redrive_one(
    Acting(actions): Acting,
    Id(id): Id<DeadLetterId>,
    _: Query<Nothing>,
    Json(RedriveOne { run, payload, why }): Json<RedriveOne>,
) -> Answer<Redriven> {
    changed(async move {
        match payload {
            None if run => actions.run(&id, &why).await,
            None => actions.redrive(&id, &why).await,
            Some(payload) if run => actions.run_with(&id, payload, &why).await,
            Some(_) => {
                let why = "is only for a run: send `\"run\": true`, or edit the letter".to_owned();
                Err(ServiceError::Invalid {
                    field: "payload",
                    why,
                })
            }
        }
    })
    .await
}

pub(super) async fn publish(
    Acting(actions): Acting,
    Id(id): Id<DeadLetterId>,
    _: Query<Nothing>,
    Json(Why { why }): Json<Why>,
) -> Answer<Redriven> {
    changed(async move { actions.republish(&id, &why).await }).await
}

pub(super) async fn edit(
    Acting(actions): Acting,
    Id(id): Id<DeadLetterId>,
    _: Query<Nothing>,
    Json(Edit { payload, why }): Json<Edit>,
) -> Answer<LetterView> {
    changed(async move { actions.edit(&id, payload, &why).await }).await
}

pub(super) async fn discard(
    Acting(actions): Acting,
    Id(id): Id<DeadLetterId>,
    _: Query<Nothing>,
    Json(Why { why }): Json<Why>,
) -> Answer<LetterView> {
    changed(async move { actions.discard(&id, &why).await }).await
}

pub(super) async fn restore(
    Acting(actions): Acting,
    Id(id): Id<DeadLetterId>,
    _: Query<Nothing>,
    Json(Why { why }): Json<Why>,
) -> Answer<LetterView> {
    changed(async move { actions.restore(&id, &why).await }).await
}

pub(super) async fn back_up(
    Acting(actions): Acting,
    _: Query<Nothing>,
    Json(Nothing {}): Json<Nothing>,
) -> Answer<Backup> {
    changed(async move { actions.back_up().await }).await
}

pub(super) async fn bulks(
    service: State<Service>,
    Query(query): Query<PageQuery>,
) -> Answer<BulkPage> {
    answer(service.bulks(&query).await?)
}

pub(super) async fn bulk(
    service: State<Service>,
    Id(id): Id<Uuid>,
    _: Query<Nothing>,
) -> Answer<BulkJob> {
    answer(service.bulk(id).await?)
}

pub(super) async fn start_bulk(
    Acting(actions): Acting,
    _: Query<Nothing>,
    Json(asked): Json<NewBulkJob>,
) -> Result<(StatusCode, axum::Json<BulkJob>), Problem> {
    Ok((
        StatusCode::ACCEPTED,
        changed(async move { actions.start_bulk(asked).await }).await?,
    ))
}

pub(super) async fn cancel_bulk(
    Acting(actions): Acting,
    Id(id): Id<Uuid>,
    Query(MaybeWhy { why }): Query<MaybeWhy>,
) -> Answer<BulkJob> {
    changed(async move { actions.cancel_bulk(id, why.as_deref()).await }).await
}

pub(super) async fn groups(
    service: State<Service>,
    Query(query): Query<GroupQuery>,
) -> Answer<GroupPage> {
    answer(service.groups(&query).await?)
}

pub(super) async fn pauses(service: State<Service>, _: Query<Nothing>) -> Answer<PauseList> {
    answer(service.pauses().await?)
}

pub(super) async fn pause(
    Acting(actions): Acting,
    _: Query<Nothing>,
    Json(asked): Json<NewPause>,
) -> Answer<Pause> {
    let NewPause {
        handler,
        why,
        force,
    } = asked;
    changed(async move {
        match force {
            true => actions.force_pause(&handler, &why).await,
            false => actions.pause(&handler, &why).await,
        }
    })
    .await
}

pub(super) async fn resume(
    Acting(actions): Acting,
    Query(OneHandler { handler, why }): Query<OneHandler>,
) -> Answer<Pause> {
    changed(async move { actions.resume(&handler, &why).await }).await
}

pub(super) async fn erase(
    Acting(actions): Acting,
    _: Query<Nothing>,
    Json(message): Json<Erase>,
) -> Answer<Erasure> {
    changed(async move { actions.erase(message).await }).await
}

pub(super) async fn explain(
    service: State<Service>,
    Query(OneKey { handler, key }): Query<OneKey>,
) -> Answer<Timeline> {
    answer(service.explain(&handler, &key).await?)
}

pub(super) async fn rules(service: State<Service>, _: Query<Nothing>) -> Answer<Vec<SetRule>> {
    answer(service.rules().await?)
}

pub(super) async fn set_rule(
    Acting(actions): Acting,
    _: Query<Nothing>,
    Json(NewRule { rule, why }): Json<NewRule>,
) -> Answer<SetRule> {
    changed(async move { actions.set_rule(rule, &why).await }).await
}

pub(super) async fn remove_rule(
    Acting(actions): Acting,
    Id(name): Id<String>,
    Query(Why { why }): Query<Why>,
) -> Answer<SetRule> {
    changed(async move { actions.remove_rule(&name, &why).await }).await
}

pub(super) async fn stats(
    service: State<Service>,
    Query(query): Query<StatsQuery>,
) -> Answer<Stats> {
    answer(service.stats(&query).await?)
}

pub(super) async fn alerts(service: State<Service>, _: Query<Nothing>) -> Answer<AlertState> {
    answer(service.alerts().await?)
}

pub(super) async fn audit(
    service: State<Service>,
    Query(query): Query<PageQuery>,
) -> Answer<AuditPage> {
    answer(service.audit(&query).await?)
}

pub(super) async fn metrics(
    service: State<Service>,
    _: Query<Nothing>,
) -> Result<Response, Problem> {
    let text = service.prometheus().ok_or_else(|| {
        let detail = crate::metrics::OtherRecorder.to_string();
        Problem::new(StatusCode::NOT_FOUND, "other_recorder", detail)
    })?;
    Ok((
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
        .into_response())
}

pub(super) async fn healthz(service: State<Service>) -> Response {
    let up = service.health().await.up;
    let (status, text) = if up {
        (StatusCode::OK, "up\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not up\n")
    };
    (status, text).into_response()
}

pub(super) async fn readyz(service: State<Service>) -> Response {
    let readiness = service.readiness().await;
    if readiness.ready {
        let text = match readiness.paused.as_slice() {
            [] => "ready\n".to_owned(),
            paused => format!("ready\npaused: {}\n", paused.join(", ")),
        };
        return (StatusCode::OK, text).into_response();
    }
    let text = format!("not ready: {}\n", readiness.problems.join("; "));
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

/// Finishes a change that has begun, even if the caller closes the connection.
async fn changed<T: Send + 'static>(
    change: impl Future<Output = Result<T, ServiceError>> + Send + 'static,
) -> Answer<T> {
    let done = tokio::spawn(change).await.map_err(|_| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "panicked",
            "the change panicked: look at the log",
        )
    })?;
    Ok(axum::Json(done?))
}
