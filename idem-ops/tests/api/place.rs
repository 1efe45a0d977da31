//! A service with a handler that can fail, its API on a free port, and a client.
#![expect(
    clippy::unwrap_used,
    reason = "a helper that cannot go on fails its test"
)]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use idem_ops::Auth;
use idem_ops::api::Problem;
use idem_ops::service::{BulkJob, BulkState, LetterPage};
use idem_runtime::pause::PauseRules;
use idem_runtime::testing::ManualClock;
use idem_runtime::{DeadLetterId, Error, Idem, idempotent};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::common::{DEADLINE, until};

pub const TOKEN: &str = "a token of the test";

/// Orders of more pieces are refused.
pub const IN_STOCK: u32 = 10;

#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    #[error("order {0}: {1} pieces are not in stock")]
    OutOfStock(String, u32),
    #[error(transparent)]
    Idem(#[from] Error),
}

#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct PlaceOrder {
    pub order_no: String,
    pub qty: u32,
    #[serde(default)]
    pub phone: String,
}

/// The placed orders and how often each was placed, by folder.
pub type Shelf = Arc<Mutex<BTreeMap<String, u32>>>;

#[idempotent(
    name = "orders.place",
    key = "order.order_no",
    retries = 0,
    skip(shelf)
)]
pub async fn place_order(order: PlaceOrder, shelf: Shelf) -> Result<u32, OrderError> {
    if order.qty > IN_STOCK {
        return Err(OrderError::OutOfStock(order.order_no, order.qty));
    }
    *shelf
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .entry(order.order_no)
        .or_default() += 1;
    Ok(order.qty * 100)
}

#[idempotent(name = "mails.send", key = "to", retries = 0)]
pub async fn send_mail(to: String) -> Result<(), OrderError> {
    Err(OrderError::OutOfStock(to, 0))
}

pub struct Place {
    pub idem: Idem,
    pub shelf: Shelf,
    address: SocketAddr,
    serving: JoinHandle<()>,
    client: reqwest::Client,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    #[track_caller]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        assert!(
            (200..300).contains(&self.status),
            "{} {}",
            self.status,
            self.text
        );
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    #[track_caller]
    pub fn problem(&self, status: u16, kind: &str) -> Problem {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem: Problem = serde_json::from_str(&self.text).unwrap();
        assert_eq!(
            (problem.status, problem.kind.as_str()),
            (status, kind),
            "{}",
            self.text
        );
        problem
    }
}

fn tokens() -> Auth {
    Auth::token(TOKEN).with_token("ann", "ann's own token")
}

impl Place {
    pub async fn open(folder: &Path) -> Self {
        Self::open_with(folder, tokens()).await
    }

    pub async fn open_with(folder: &Path, auth: Auth) -> Self {
        Self::new(Idem::open(folder).unwrap(), auth).await
    }

    /// A place whose clock the test advances.
    pub async fn open_at(folder: &Path, clock: &ManualClock) -> Self {
        let idem = Idem::builder()
            .pause(PauseRules::default().off())
            .clock(Arc::new(clock.clone()))
            .open(folder)
            .unwrap();
        Self::new(idem, tokens()).await
    }

    /// A place with an open Idem.
    pub async fn new(idem: Idem, auth: Auth) -> Self {
        let shelf = Shelf::default();
        let of = Arc::clone(&shelf);
        idem.register_handler("orders.place", move |order: PlaceOrder| {
            place_order(order, Arc::clone(&of))
        });
        let router = idem_ops::dashboard(&idem, auth);
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(idem_ops::serve(listener, router).into_future());
        // It fails if another test has installed it already, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(DEADLINE)
            .build()
            .unwrap();
        Self {
            idem,
            shelf,
            address,
            serving,
            client,
        }
    }

    /// Stops like a service that ends.
    pub async fn stop(self) {
        self.serving.abort();
        let _ = self.serving.await;
        self.idem.close().await.unwrap();
    }

    pub async fn order(&self, order_no: &str, qty: u32) -> Result<u32, OrderError> {
        let order = PlaceOrder {
            order_no: order_no.to_owned(),
            qty,
            phone: String::new(),
        };
        self.idem
            .scope(place_order(order, Arc::clone(&self.shelf)))
            .await
    }

    /// Sends orders that all become dead letters.
    pub async fn bad_orders(&self, count: usize) {
        for first in (0..count).step_by(1000) {
            let orders = first..count.min(first + 1000);
            let orders: Vec<_> = orders.map(|number| format!("A-{number:06}")).collect();
            let calls =
                futures_util::future::join_all(orders.iter().map(|order| self.order(order, 11)));
            assert!(calls.await.iter().all(Result::is_err));
        }
    }

    pub async fn request(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<Vec<u8>>,
    ) -> Answer {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self
            .client
            .request(method, format!("http://{}{path}", self.address));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body);
        }
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        assert_eq!(headers["cache-control"], "no-store", "{path}");
        Answer {
            status,
            headers,
            text: answer.text().await.unwrap(),
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.request("GET", path, Some(TOKEN), None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.request(
            "POST",
            path,
            Some("ann's own token"),
            Some(body.to_string().into_bytes()),
        )
        .await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.request("DELETE", path, Some(TOKEN), None).await
    }

    /// Returns the only letter of a key.
    pub async fn letter_of(&self, key: &str) -> DeadLetterId {
        let page: LetterPage = self
            .get(&format!("/api/v1/letters?key={key}&state=any"))
            .await
            .json();
        assert_eq!(page.letters.len(), 1, "{page:?}");
        page.letters[0].id
    }

    pub async fn bulk(&self, id: uuid::Uuid) -> BulkJob {
        self.get(&format!("/api/v1/bulk/{id}")).await.json()
    }

    /// Waits until the bulk job meets a condition.
    pub async fn bulk_until(&self, id: uuid::Uuid, wanted: impl Fn(&BulkJob) -> bool) -> BulkJob {
        let bulk = until(
            async || self.bulk(id).await,
            |bulk| wanted(bulk) || bulk.state != BulkState::Running,
        )
        .await;
        assert!(wanted(&bulk), "{bulk:?}");
        bulk
    }

    /// Does the same on a manual clock, which it advances in steps of 10 ms.
    pub async fn bulk_in_time(
        &self,
        clock: &ManualClock,
        id: uuid::Uuid,
        wanted: impl Fn(&BulkJob) -> bool,
    ) -> BulkJob {
        let look = async || {
            clock.advance(Duration::from_millis(10));
            self.bulk(id).await
        };
        let bulk = until(look, |bulk| {
            wanted(bulk) || bulk.state != BulkState::Running
        })
        .await;
        assert!(wanted(&bulk), "{bulk:?}");
        bulk
    }
}
