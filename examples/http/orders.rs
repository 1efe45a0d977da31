//! The route. It knows nothing of keys, but that it looks first whether the order is in the book.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header::LOCATION};
use axum::response::{IntoResponse, Response};
use idem_http::OrRelease;
use serde::{Deserialize, Serialize};

use crate::book::Book;

/// An order as a client sends it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NewOrder {
    sku: String,
    qty: u32,
}

/// An order in the book.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) order_no: u64,
    #[serde(flatten)]
    pub(crate) order: NewOrder,
}

/// `POST /orders`. A request that is no order releases its key, so that it can be mended.
pub(crate) async fn place(
    State(book): State<Arc<Book>>,
    OrRelease(Json(order)): OrRelease<Json<NewOrder>>,
) -> Response {
    if order.qty == 0 {
        // This is a result: duplicates get it, and no dead letter is written.
        return (
            StatusCode::UNPROCESSABLE_ENTITY,
            "an order has a piece at least",
        )
            .into_response();
    }
    // The principal and the key: each request has its own.
    let Some(request) = idem_runtime::attempt().map(|attempt| attempt.key) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    // A process that died in between has placed the order, and not recorded it.
    if let Some(order) = book.find(&request) {
        idem_runtime::found_existing();
        return created(order);
    }
    match book.place(&request, order) {
        Ok(order) => created(order),
        // A failed attempt: the client's next request with the key tries again.
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn created(order: Order) -> Response {
    let location = format!("/orders/{}", order.order_no);
    (StatusCode::CREATED, [(LOCATION, location)], Json(order)).into_response()
}
