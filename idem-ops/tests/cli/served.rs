//! A service with dead letters and a dashboard, over real HTTP.

use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use idem_ops::Auth;
use idem_runtime::{DeadLetterId, Idem};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use crate::support::{At, bury, order, place_order, token};

pub(crate) struct Served {
    pub(crate) idem: Idem,
    pub(crate) ids: Vec<DeadLetterId>,
    pub(crate) address: SocketAddr,
    serving: AbortHandle,
    /// The folder goes after everything that uses it.
    pub(crate) data: tempfile::TempDir,
}

impl Served {
    /// With letters of orders A-1 to A-n, of two kinds of error, and a handler that can be run again.
    pub(crate) async fn start(letters: usize) -> Self {
        let data = tempfile::tempdir().unwrap();
        let idem = Idem::open(data.path()).unwrap();
        idem.redrive_with("orders.place", place_order);
        let note = |n| if n % 2 == 1 { "out of stock" } else { "no such sku" };
        let ids = bury(&idem, (1..=letters).map(|n| order(&format!("A-{n}"), note(n)))).await;
        // As a service would: not at the root.
        let router = Router::new().nest("/ops", idem_ops::dashboard(&idem, Auth::token(token())));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(idem_ops::serve(listener, router).into_future()).abort_handle();
        Self { idem, ids, address, serving, data }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/ops", self.address)
    }

    pub(crate) fn at(&self) -> At {
        At::Service(self.url())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
