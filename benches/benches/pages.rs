//! What the dashboard's pages and the API's list cost among 100,000 letters, beside the same among
//! 1,000.
//!
//! Requests go to the router itself: what is measured is the page, and no network.

#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot run measures nothing"
)]

use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use futures_util::stream::{self, StreamExt};
use http::{Method, Request, StatusCode};
use idem_benches::report::Row;
use idem_benches::rounds::in_turns;
use idem_ops::Auth;
use idem_runtime::{Error, Idem, idempotent};
use tower::ServiceExt;

const FEW: u64 = 1_000;
const MANY: u64 = 100_000;
/// How many requests a round has, and how many rounds there are.
const REQUESTS: usize = 20;
const ROUNDS: usize = 15;
const TOKEN: &str = "token-of-the-bench";
/// What can be wrong with an order: each is a group in the dashboard.
const WRONG: [&str; 10] = [
    "out of stock",
    "card declined",
    "no address",
    "no such coupon",
    "no such shop",
    "too heavy",
    "too large",
    "closed",
    "sold out",
    "stolen card",
];

#[derive(Debug, thiserror::Error)]
enum Oops {
    #[error("order {0}: {1}")]
    Wrong(u64, &'static str),
    #[error(transparent)]
    Idem(#[from] Error),
}

#[idempotent(name = "orders.place", key = "number", retries = 0)]
async fn place(number: u64) -> Result<(), Oops> {
    Err(Oops::Wrong(
        number,
        WRONG[usize::try_from(number).unwrap() % WRONG.len()],
    ))
}

#[idempotent(name = "mails.send", key = "number", retries = 0)]
async fn send(number: u64) -> Result<(), Oops> {
    Err(Oops::Wrong(number, "no such mailbox"))
}

/// A dashboard with a number of letters, and a signed-in session.
struct Dashboard {
    app: Router,
    cookie: String,
    letter: String,
    _folder: tempfile::TempDir,
}

impl Dashboard {
    async fn of(letters: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let idem = Idem::open(folder.path()).unwrap();
        let die = |number| {
            let idem = idem.clone();
            async move {
                // Every tenth letter is another handler's.
                let died = if number % 10 == 0 {
                    idem.scope(send(number)).await
                } else {
                    idem.scope(place(number)).await
                };
                assert!(matches!(died, Err(Oops::Wrong(..))), "{died:?}");
            }
        };
        let calls = stream::iter(0..letters)
            .map(|number| tokio::spawn(die(number)))
            .buffer_unordered(512);
        calls.for_each(|ended| async { ended.unwrap() }).await;
        let app = idem_ops::dashboard(&idem, Auth::token(TOKEN));
        let form = Request::post("/login")
            .header("host", "localhost")
            .header("origin", "http://localhost");
        let form = form.body(Body::from(format!("token={TOKEN}"))).unwrap();
        let response = app.clone().oneshot(form).await.unwrap();
        let cookie = response.headers()["set-cookie"]
            .to_str()
            .unwrap()
            .split(';')
            .next()
            .unwrap()
            .to_owned();
        let mut dashboard = Self {
            app,
            cookie,
            letter: String::new(),
            _folder: folder,
        };
        let list = loop {
            let list: serde_json::Value =
                serde_json::from_slice(&dashboard.get("/api/v1/letters?limit=1").await).unwrap();
            // The first walk through the ledger has ended.
            if list["complete"] == true {
                break list;
            }
        };
        assert_eq!(list["total"], letters);
        dashboard.letter = list["letters"][0]["id"].as_str().unwrap().to_owned();
        dashboard
    }

    async fn get(&self, path: &str) -> Bytes {
        let request = Request::builder()
            .method(Method::GET)
            .uri(path)
            .header("host", "localhost");
        let request = request
            .header("cookie", &self.cookie)
            .header("authorization", format!("Bearer {TOKEN}"));
        let response = self
            .app
            .clone()
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        axum::body::to_bytes(response.into_body(), usize::MAX)
            .await
            .unwrap()
    }

    /// How many microseconds a page takes.
    async fn each(&self, path: &str) -> f64 {
        let path = path.replace("{letter}", &self.letter);
        let start = Instant::now();
        for _ in 0..REQUESTS {
            self.get(&path).await;
        }
        start.elapsed().as_secs_f64() * 1e6 / REQUESTS as f64
    }
}

const PAGES: [(&str, &str); 9] = [
    ("the overview", "/overview"),
    ("the letters", "/letters"),
    ("a handler's letters", "/letters?handler=mails.send"),
    ("a key's letters", "/letters?key=500"),
    ("the groups", "/groups"),
    (
        "a group",
        "/group?handler=mails.send&error=order+%E2%80%A6%3A+no+such+mailbox",
    ),
    ("one letter", "/letters/{letter}"),
    ("API: the letters", "/api/v1/letters"),
    (
        "API: all of a handler's",
        "/api/v1/letters?handler=mails.send&state=any",
    ),
];

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let [few, many] = [FEW, MANY].map(|letters| runtime.block_on(Dashboard::of(letters)));
    for (page, path) in PAGES {
        let [ours, reference] = in_turns(
            ROUNDS,
            [&mut || runtime.block_on(many.each(path)), &mut || {
                runtime.block_on(few.each(path))
            }],
        );
        let (bench, beside) = (
            format!("{page}, {MANY} letters"),
            Some(("itself at 1000", reference)),
        );
        Row {
            bench,
            unit: "µs",
            ours,
            beside,
            to_reach: "≤ 1.5",
        }
        .print();
    }
}
