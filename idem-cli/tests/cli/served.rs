//! A service with dead letters and a dashboard, over real HTTP.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;

use axum::Router;
use idem_ops::Auth;
use idem_ops::service::Service;
use idem_runtime::{DeadLetterId, Idem};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use crate::support::{At, PlaceOrder, bury, order, place_order, token};

pub(crate) struct Served {
    pub(crate) idem: Idem,
    pub(crate) ids: Vec<DeadLetterId>,
    pub(crate) address: SocketAddr,
    serving: AbortHandle,
    /// The folder goes after everything that uses it.
    pub(crate) data: tempfile::TempDir,
}

impl Served {
    /// With letters of orders A-1 to A-n, of two kinds of error, and a handler that can be run
    /// again.
    pub(crate) async fn start(letters: usize) -> Self {
        let data = tempfile::tempdir().unwrap();
        let idem = Idem::open(data.path()).unwrap();
        idem.register_handler("orders.place", place_order);
        let ids = bury(&idem, (1..=letters).map(numbered)).await;
        Self::of(data, idem, ids, |router| router).await
    }

    /// With an index of at most so many letters.
    pub(crate) async fn indexing(letters: usize, most: usize) -> Self {
        let data = tempfile::tempdir().unwrap();
        let idem = Idem::open(data.path()).unwrap();
        let ids = bury(&idem, (1..=letters).map(numbered)).await;
        let router =
            idem_ops::api::router(&Service::indexing(idem.clone(), most), Auth::token(token()));
        Self::at_router(data, idem, ids, Router::new().nest("/ops", router)).await
    }

    /// Letters of more orders.
    pub(crate) async fn bury(&self, numbers: RangeInclusive<usize>) {
        bury(&self.idem, numbers.map(numbered)).await;
    }

    /// Of this folder, with what stands before the service.
    pub(crate) async fn of(
        data: tempfile::TempDir,
        idem: Idem,
        ids: Vec<DeadLetterId>,
        before: impl FnOnce(Router) -> Router,
    ) -> Self {
        // As a service would: not at the root.
        let router =
            before(Router::new().nest("/ops", idem_ops::dashboard(&idem, Auth::token(token()))));
        Self::at_router(data, idem, ids, router).await
    }

    pub(crate) async fn at_router(
        data: tempfile::TempDir,
        idem: Idem,
        ids: Vec<DeadLetterId>,
        router: Router,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(idem_ops::serve(listener, router).into_future()).abort_handle();
        Self {
            idem,
            ids,
            address,
            serving,
            data,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/ops", self.address)
    }

    pub(crate) fn at(&self) -> At {
        At::Service(self.url())
    }
}

fn numbered(number: usize) -> PlaceOrder {
    order(
        &format!("A-{number}"),
        if number % 2 == 1 {
            "out of stock"
        } else {
            "no such sku"
        },
    )
}

impl Drop for Served {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
