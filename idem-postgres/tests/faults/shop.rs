//! A shop that places orders, and its judge.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::ensure;
use idem_postgres::Postgres;
use idem_runtime::ledger::LedgerError;
use idem_runtime::{Error, Idem, attempt, idempotent};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sqlx::{Connection, PgConnection};
use tokio::sync::watch;

/// Shorter than a server needs to come back in some tests, and longer than it does in others.
pub(crate) const LEASE: Duration = Duration::from_secs(4);

/// How a handler writes its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// In the attempt's transaction, after the claim was committed.
    Counted,
    /// In the attempt's transaction, which commits the claim too.
    Single,
    /// Nowhere: its effect is outside of the database.
    Outside,
}

pub(crate) const MODES: [Mode; 3] = [Mode::Counted, Mode::Single, Mode::Outside];

/// The answer to an order. Each run of a body has a number of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) order_no: String,
    pub(crate) run: i64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    #[error(transparent)]
    Idem(#[from] Error),
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
}

impl PlaceError {
    /// Returns whether idem says that the ledger was not there.
    pub(crate) fn is_unavailable(&self) -> bool {
        let Self::Idem(error) = self else {
            return false;
        };
        matches!(
            error,
            Error::Ledger {
                source: LedgerError::Unavailable { .. },
                ..
            } | Error::NotCommitted { .. }
                | Error::LeaseLost { .. }
        )
    }

    /// Returns whether a fault of the server, the network or the process excuses it.
    fn may_come(&self) -> bool {
        matches!(self, Self::Sql(_)) || self.is_unavailable()
    }
}

/// What all processes of a test share.
#[derive(Debug)]
pub(crate) struct Shop {
    /// The way to the server that no test cuts.
    address: Mutex<String>,
    answers: watch::Sender<HashMap<String, Receipt>>,
    attempts: Mutex<HashMap<String, Vec<u32>>>,
    wrongs: Mutex<Vec<String>>,
    gate: Gate,
}

/// Holds bodies in the middle: after their row was written, and before their last statement.
#[derive(Debug, Default)]
struct Gate {
    /// How many of the next are held.
    to_hold: AtomicUsize,
    held: watch::Sender<usize>,
    open: watch::Sender<bool>,
}

impl Shop {
    /// Opens a shop on this server. Nothing but the ledger keeps its orders unique.
    pub(crate) async fn open(address: &str) -> anyhow::Result<Arc<Self>> {
        let shop = Self::at(address);
        sqlx::raw_sql("CREATE TABLE orders (order_no text, run bigint)")
            .execute(&mut shop.connect().await?)
            .await?;
        Ok(shop)
    }

    /// Returns the shop that another process opened.
    pub(crate) fn at(address: &str) -> Arc<Self> {
        Arc::new(Self {
            address: Mutex::new(address.to_owned()),
            answers: watch::Sender::default(),
            attempts: Mutex::default(),
            wrongs: Mutex::default(),
            gate: Gate::default(),
        })
    }

    pub(crate) async fn connect(&self) -> sqlx::Result<PgConnection> {
        let address = self.address.lock().clone();
        PgConnection::connect(&address).await
    }

    /// Moves to another server.
    pub(crate) fn move_to(&self, address: &str) {
        address.clone_into(&mut self.address.lock());
    }

    /// Places an order in one of the three ways, and returns its answer.
    pub(crate) async fn place(
        self: &Arc<Self>,
        idem: &Idem,
        mode: Mode,
        order_no: &str,
    ) -> Result<Receipt, PlaceError> {
        let (order_no, shop) = (order_no.to_owned(), Arc::clone(self));
        let answer = match mode {
            Mode::Counted => idem.scope(counted(order_no, shop)).await,
            Mode::Single => idem.scope(single(order_no, shop)).await,
            Mode::Outside => idem.scope(outside(order_no, shop)).await,
        };
        match &answer {
            Ok(receipt) => self.answered(receipt),
            Err(error) if error.may_come() => {}
            Err(error) => self.wrong(format!("an error that no fault excuses: {error:#?}")),
        }
        answer
    }

    /// Notes that a body starts.
    pub(crate) fn starts(&self, order_no: &str) -> i64 {
        if let Some(attempt) = attempt() {
            let mut attempts = self.attempts.lock();
            let before = attempts.entry(order_no.to_owned()).or_default();
            before.push(attempt.number);
        }
        // A body that claims nothing may have been on its way; what it writes is refused.
        if !order_no.starts_with("Single") && self.answers.borrow().contains_key(order_no) {
            self.wrong(format!("{order_no} ran though it was answered"));
        }
        fastrand::i64(..)
    }

    /// Holds the next bodies.
    pub(crate) fn hold(&self, bodies: usize) {
        self.gate.open.send_replace(false);
        self.gate.held.send_replace(0);
        self.gate.to_hold.store(bodies, Ordering::Relaxed);
    }

    /// Waits until so many are held.
    pub(crate) async fn holds(&self, bodies: usize) {
        let mut held = self.gate.held.subscribe();
        let held = held.wait_for(|held| *held >= bodies);
        idem_test_support::within(held).await.unwrap();
    }

    pub(crate) fn let_go(&self) {
        self.gate.to_hold.store(0, Ordering::Relaxed);
        self.gate.open.send_replace(true);
    }

    async fn pass_gate(&self) {
        let less = |to_hold: usize| to_hold.checked_sub(1);
        let holds = self
            .gate
            .to_hold
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        if holds.is_ok() {
            self.gate.held.send_modify(|held| *held += 1);
            let mut open = self.gate.open.subscribe();
            open.wait_for(|open| *open).await.unwrap();
        }
    }

    /// Returns how many bodies of an order have started here.
    pub(crate) fn runs(&self, order_no: &str) -> usize {
        self.attempts.lock().get(order_no).map_or(0, Vec::len)
    }

    /// Notes what another process was answered.
    pub(crate) fn hears(&self, order_no: &str, run: i64) {
        let order_no = order_no.to_owned();
        self.answered(&Receipt { order_no, run });
    }

    fn answered(&self, receipt: &Receipt) {
        self.answers.send_modify(|answers| {
            let first = answers
                .entry(receipt.order_no.clone())
                .or_insert_with(|| receipt.clone());
            if first != receipt {
                self.wrong(format!("{first:?} was answered, and then {receipt:?}"));
            }
        });
    }

    fn wrong(&self, what: String) {
        self.wrongs.lock().push(what);
    }

    /// Waits until so many orders more are answered.
    pub(crate) async fn goes_on(&self, more: usize) {
        let until = self.answers.borrow().len() + more;
        let mut answers = self.answers.subscribe();
        let enough = answers.wait_for(|answers| answers.len() >= until);
        idem_test_support::within(enough).await.unwrap();
    }

    /// Waits until a statement on the server waits for this.
    pub(crate) async fn waits_for(&self, what: &str) -> anyhow::Result<()> {
        let mut connection = self.connect().await?;
        let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = $1)";
        idem_test_support::within(async {
            // The server does not tell when a statement begins to wait.
            while !sqlx::query_scalar::<_, bool>(waits)
                .bind(what)
                .fetch_one(&mut connection)
                .await?
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        })
        .await
    }

    /// Ends all sessions of the ledger's processes.
    pub(crate) async fn end_sessions(&self) -> anyhow::Result<()> {
        self.end_sessions_by(&mut self.connect().await?).await
    }

    pub(crate) async fn end_sessions_by(&self, by: &mut PgConnection) -> anyhow::Result<()> {
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE application_name = 'idem'";
        sqlx::query(end).execute(by).await?;
        Ok(())
    }

    /// Waits until a replica has all that was committed.
    pub(crate) async fn wait_for_the_replica(&self) -> anyhow::Result<()> {
        let behind = "SELECT count(*) FROM pg_stat_replication
            WHERE replay_lsn IS DISTINCT FROM pg_current_wal_lsn()";
        let mut connection = self.connect().await?;
        idem_test_support::within(async {
            // The server does not tell when a replica has caught up.
            while sqlx::query_scalar::<_, i64>(behind)
                .fetch_one(&mut connection)
                .await?
                > 0
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        })
        .await
    }

    /// Returns the server's timeline as the ledger has noted it.
    pub(crate) async fn timeline(&self) -> anyhow::Result<i64> {
        let noted = sqlx::query_scalar("SELECT timeline::bigint FROM idem.server");
        Ok(noted.fetch_one(&mut self.connect().await?).await?)
    }

    /// Forgets the answers to these orders, as the server has.
    pub(crate) fn forgets(&self, end: &str) {
        self.answers
            .send_modify(|answers| answers.retain(|order_no, _| !order_no.ends_with(end)));
        self.attempts
            .lock()
            .retain(|order_no, _| !order_no.ends_with(end));
    }

    /// Returns the rows of an order in the business table.
    pub(crate) async fn rows(&self, order_no: &str) -> anyhow::Result<Vec<i64>> {
        let rows = sqlx::query_scalar("SELECT run FROM orders WHERE order_no = $1");
        let mut connection = self.connect().await?;
        Ok(rows.bind(order_no).fetch_all(&mut connection).await?)
    }

    /// Judges all orders, each of which was answered.
    pub(crate) async fn judge(&self) -> anyhow::Result<()> {
        let wrongs = self.wrongs.lock().clone();
        ensure!(wrongs.is_empty(), "{wrongs:#?}");
        let mut connection = self.connect().await?;
        let rows: Vec<(String, i64)> = sqlx::query_as("SELECT order_no, run FROM orders")
            .fetch_all(&mut connection)
            .await?;
        let mut placed = BTreeMap::<_, Vec<i64>>::new();
        for (order_no, run) in rows {
            placed.entry(order_no).or_default().push(run);
        }
        let answers = self.answers.borrow().clone();
        for (order_no, receipt) in &answers {
            let rows = placed.remove(order_no).unwrap_or_default();
            let outside = order_no.starts_with("Outside");
            let expected = if outside { vec![] } else { vec![receipt.run] };
            ensure!(rows == expected, "{receipt:?}, and in the table {rows:?}");
        }
        ensure!(placed.is_empty(), "placed and never answered: {placed:?}");
        for (order_no, attempts) in &*self.attempts.lock() {
            // What writes no claim first cannot count what it does not know of.
            let counts = !order_no.starts_with("Single");
            // A transaction that the server could not commit is not charged: the next attempt has its
            // number.
            let outside = order_no.starts_with("Outside");
            let grows = attempts
                .is_sorted_by(|before, after| before < after || (!outside && before == after));
            ensure!(!counts || grows, "{order_no} had the attempts {attempts:?}");
        }
        for (what, sql) in [
            ("letters", "SELECT count(*) FROM idem.letter"),
            (
                "live records",
                "SELECT count(*) FROM idem.record WHERE live",
            ),
        ] {
            let count: i64 = sqlx::query_scalar(sql).fetch_one(&mut connection).await?;
            ensure!(count == 0, "{count} {what} are left");
        }
        Ok(())
    }
}

/// Opens the ledger as a process of its own does.
pub(crate) async fn process(address: &str) -> Result<Idem, Error> {
    process_with(Postgres::new(address)).await
}

pub(crate) async fn process_with(postgres: Postgres) -> Result<Idem, Error> {
    Idem::builder()
        .open_with(postgres.lease(LEASE).ledger())
        .await
}

#[idempotent(
    name = "shop.counted",
    key = "order_no",
    retries = 200,
    backoff(initial = "20ms", factor = 1),
    skip(shop)
)]
async fn counted(order_no: String, shop: Arc<Shop>) -> Result<Receipt, PlaceError> {
    booked(order_no, &shop).await
}

#[idempotent(
    name = "shop.single",
    key = "order_no",
    transaction = "single",
    retries = 200,
    backoff(initial = "20ms", factor = 1),
    skip(shop)
)]
async fn single(order_no: String, shop: Arc<Shop>) -> Result<Receipt, PlaceError> {
    booked(order_no, &shop).await
}

#[idempotent(
    name = "shop.outside",
    key = "order_no",
    retries = 200,
    backoff(initial = "20ms", factor = 1),
    skip(shop)
)]
async fn outside(order_no: String, shop: Arc<Shop>) -> Result<Receipt, PlaceError> {
    let run = shop.starts(&order_no);
    shop.pass_gate().await;
    Ok(Receipt { order_no, run })
}

/// Writes an order's row in the attempt's transaction.
async fn booked(order_no: String, shop: &Shop) -> Result<Receipt, PlaceError> {
    let run = shop.starts(&order_no);
    let mut tx = idem_postgres::transaction().await?;
    sqlx::query("INSERT INTO orders (order_no, run) VALUES ($1, $2)")
        .bind(&order_no)
        .bind(run)
        .execute(&mut *tx)
        .await?;
    shop.pass_gate().await;
    sqlx::query("SELECT 1").execute(&mut *tx).await?;
    Ok(Receipt { order_no, run })
}
