//! Clients: one key for each logical request, over a connection that loses answers.

mod issued;
mod reqwest;
mod tower;

use std::sync::Arc;

use ::tower::{Service as TowerService, service_fn};
use axum::extract::Request as Received;
use axum::response::Response as Answered;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use idem_http::IdempotencyKey;
use parking_lot::Mutex;

use crate::common::{Client, Service, Version};

/// A request as a program makes it, without a key.
pub(crate) fn order(body: &'static str) -> Request<Full<Bytes>> {
    Request::post("/")
        .header("authorization", "Bearer ann")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from_static(body.as_bytes())))
        .unwrap()
}

/// The answers that came over a connection, those that were lost among them.
#[derive(Clone, Default)]
pub(crate) struct Came(Arc<Mutex<Vec<StatusCode>>>);

impl Came {
    pub(crate) fn all(&self) -> Vec<StatusCode> {
        self.0.lock().clone()
    }

    pub(crate) async fn has(&self, status: StatusCode) {
        crate::common::soon(async {
            while !self.0.lock().contains(&status) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// A connection that loses its first answers.
pub(crate) fn connection(
    client: &Client,
    losses: usize,
    came: &Came,
) -> impl TowerService<
    Request<Full<Bytes>>,
    Response = Response<Incoming>,
    Error = &'static str,
    Future: Send,
>
+ Clone
+ Send
+ 'static
+ use<> {
    let (client, came) = (client.clone(), came.clone());
    service_fn(move |request| {
        let (client, came) = (client.clone(), came.clone());
        async move {
            let answer = client.begin(request).await;
            let mut all = came.0.lock();
            all.push(answer.status());
            match all.len() > losses {
                true => Ok(answer),
                false => Err("the connection broke"),
            }
        }
    })
}

/// The keys that a service's handler has seen.
#[derive(Clone, Default)]
pub(crate) struct Keys(Arc<Mutex<Vec<String>>>);

impl Keys {
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().clone()
    }

    fn note(&self, request: &Received) {
        let key = request.extensions().get::<IdempotencyKey>().unwrap();
        self.0.lock().push(key.to_string());
    }
}

/// Starts a service that notes the keys, and answers by the number of the run.
pub(crate) async fn shop(
    answer: impl Fn(u32) -> Answered + Clone + Send + Sync + 'static,
) -> (Service, Keys) {
    let keys = Keys::default();
    let noted = keys.clone();
    let service = Service::start(
        Version::Http2,
        |layer| layer,
        move |run, request| {
            noted.note(&request);
            std::future::ready(answer(run))
        },
    );
    (service.await, keys)
}
