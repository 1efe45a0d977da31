//! Each route asks the service, and sends what it says.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use idem_runtime::DeadLetterId;
use uuid::Uuid;

use super::extract::{By, Edit, Id, Json, MaybeWhy, Nothing, OneKey, Query, RedriveOne, Why};
use super::problem::Problem;
use crate::monitor::AlertState;
use crate::service::{
    AuditPage, BulkJob, BulkPage, GroupPage, GroupQuery, LetterPage, LetterQuery, LetterView, NewBulkJob,
    PageQuery, Redriven, Service, ServiceError, Stats, StatsQuery, Timeline,
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
    By(acting): By,
    Id(id): Id<DeadLetterId>,
    _: Query<Nothing>,
    Json(RedriveOne { run, payload, why }): Json<RedriveOne>,
) -> Answer<Redriven> {
    changed(async move {
        match payload {
            None => acting.redrive(&id, run, &why).await,
            Some(payload) if run => acting.run_with(&id, payload, &why).await,
            Some(_) => {
                let why = "is for a run: say `\"run\": true`, or edit the letter".to_owned();
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
    By(acting): By,
    Id(id): Id<DeadLetterId>,
    _: Query<Nothing>,
    Json(Why { why }): Json<Why>,
) -> Answer<Redriven> {
    changed(async move { acting.republish(&id, &why).await }).await
}

pub(super) async fn edit(
    By(acting): By,
    Id(id): Id<DeadLetterId>,
    _: Query<Nothing>,
    Json(Edit { payload, why }): Json<Edit>,
) -> Answer<LetterView> {
    changed(async move { acting.edit(&id, payload, &why).await }).await
}

pub(super) async fn discard(
    By(acting): By,
    Id(id): Id<DeadLetterId>,
    _: Query<Nothing>,
    Json(Why { why }): Json<Why>,
) -> Answer<LetterView> {
    changed(async move { acting.discard(&id, &why).await }).await
}

pub(super) async fn restore(
    By(acting): By,
    Id(id): Id<DeadLetterId>,
    _: Query<Nothing>,
    Json(Why { why }): Json<Why>,
) -> Answer<LetterView> {
    changed(async move { acting.restore(&id, &why).await }).await
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
    By(acting): By,
    _: Query<Nothing>,
    Json(asked): Json<NewBulkJob>,
) -> Result<(StatusCode, axum::Json<BulkJob>), Problem> {
    Ok((
        StatusCode::ACCEPTED,
        changed(async move { acting.start_bulk(asked).await }).await?,
    ))
}

pub(super) async fn cancel_bulk(
    By(acting): By,
    Id(id): Id<Uuid>,
    Query(MaybeWhy { why }): Query<MaybeWhy>,
) -> Answer<BulkJob> {
    changed(async move { acting.cancel_bulk(id, why.as_deref()).await }).await
}

pub(super) async fn groups(
    service: State<Service>,
    Query(query): Query<GroupQuery>,
) -> Answer<GroupPage> {
    answer(service.groups(&query).await?)
}

pub(super) async fn explain(
    service: State<Service>,
    Query(OneKey { handler, key }): Query<OneKey>,
) -> Answer<Timeline> {
    answer(service.explain(&handler, &key).await?)
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

/// A change that was begun is not dropped with its request, when its caller hangs up.
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
