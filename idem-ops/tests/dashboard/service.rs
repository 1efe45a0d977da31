//! A service with dead letters and its dashboard, on a free port of the loopback.

use std::sync::Arc;

use anyhow::ensure;
use axum::Router;
use idem_ops::{Auth, Secret};
use idem_runtime::{Error, Filter, Idem, LetterState, Origin, idempotent};
use idem_test_support::browser::{Chromium, Tab};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

pub(crate) const TOKEN: &str = "a token of the tests";
pub(crate) const HANDLER: &str = "orders.place";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    pub order_no: String,
    pub sku: String,
    pub qty: u32,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum OrderError {
    #[error("cannot place the order: {0}")]
    Refused(String),
    #[error(transparent)]
    Idem(#[from] Error),
}

/// Runs wait for a permit; orders of more than ten pieces fail.
#[idempotent(
    name = "orders.place",
    key = "order.order_no",
    retries = 1,
    backoff(initial = "1ms"),
    skip(stock)
)]
async fn place_order(order: Order, stock: Arc<Semaphore>) -> Result<u32, OrderError> {
    if let Ok(permit) = stock.acquire().await {
        permit.forget();
    }
    if order.qty > 10 {
        return Err(OrderError::Refused(format!(
            "{} is not in stock {} times",
            order.sku, order.qty
        )));
    }
    Ok(order.qty * 100)
}

/// A running service.
pub(crate) struct Service {
    pub idem: Idem,
    /// Permits for runs of the handler.
    pub stock: Arc<Semaphore>,
    /// The keys of the published messages, in order.
    pub published: Arc<Mutex<Vec<String>>>,
    /// The address of the dashboard, with a slash at its end.
    pub base: String,
    _folder: TempDir,
}

impl Service {
    /// Starts a service whose dashboard is nested at `place`.
    pub(crate) async fn nested(place: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let idem = Idem::open(folder.path())?;
        let stock = Arc::new(Semaphore::new(1000));
        let shelf = stock.clone();
        idem.register_handler(HANDLER, move |order: Order| {
            place_order(order, shelf.clone())
        });
        let pages = idem_ops::dashboard(&idem, Auth::token(Secret::new(TOKEN)));
        let app = if place.is_empty() {
            pages
        } else {
            Router::new().nest(place, pages)
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let base = format!("http://{}{place}/", listener.local_addr()?);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self {
            idem,
            stock,
            published: Arc::default(),
            base,
            _folder: folder,
        })
    }

    pub(crate) async fn start() -> anyhow::Result<Self> {
        Self::nested("").await
    }

    pub(crate) async fn order(
        &self,
        order_no: &str,
        sku: &str,
        qty: u32,
    ) -> Result<u32, OrderError> {
        let order = Order {
            order_no: order_no.into(),
            sku: sku.into(),
            qty,
        };
        self.idem
            .scope(place_order(order, self.stock.clone()))
            .await
    }

    /// Makes a dead letter and returns its id.
    pub(crate) async fn letter(&self, order_no: &str, sku: &str) -> anyhow::Result<String> {
        ensure!(self.order(order_no, sku, 12).await.is_err());
        self.letter_of(order_no).await
    }

    /// Makes a dead letter from a broker's message, which can be published back, and returns its
    /// id.
    pub(crate) async fn brought(&self, order_no: &str, origin: Origin) -> anyhow::Result<String> {
        let published = Arc::clone(&self.published);
        self.idem.register_publisher(origin.place(), move |letter| {
            published.lock().push(letter.key);
            async { Ok::<(), String>(()) }
        });
        let order = Order {
            order_no: order_no.into(),
            sku: "TEA-500".into(),
            qty: 12,
        };
        ensure!(
            self.idem
                .deliver(origin, place_order(order, self.stock.clone()))
                .await
                .output
                .is_err()
        );
        self.letter_of(order_no).await
    }

    async fn letter_of(&self, order_no: &str) -> anyhow::Result<String> {
        let letters = self
            .idem
            .dead_letters()
            .list(&Filter::default().key(order_no))
            .await?;
        ensure!(letters.len() == 1, "{letters:?}");
        Ok(letters[0].id.to_string())
    }

    /// Opens the dashboard in a signed-in tab.
    pub(crate) async fn tab(&self, chromium: &Chromium) -> anyhow::Result<Tab> {
        let tab = chromium.open(&self.base).await?;
        tab.sign_in(TOKEN).await?;
        Ok(tab)
    }

    pub(crate) async fn state(&self, id: &str) -> anyhow::Result<LetterState> {
        let letter = self.idem.dead_letters().get(&id.parse()?).await?;
        Ok(letter
            .ok_or_else(|| anyhow::anyhow!("no letter {id}"))?
            .state)
    }
}
