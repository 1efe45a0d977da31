//! The service of the outages, in a process of its own: a consumer whose orders go into a table of
//! PostgreSQL, and a monitor that mails.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use idem_brokers::Consumer;
use idem_ops::alert::Email;
use idem_ops::monitor::Monitor;
use idem_runtime::pause::PauseRules;
use idem_runtime::{Idem, idempotent};
use idem_test_support::DEADLINE;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sqlx::{Connection, Error, PgConnection, query, query_as, query_scalar, raw_sql};

use crate::broker::Broker;
use crate::child::{report_letters, until_told_to_end};
use crate::shop::{PlaceOrder, Shop};

/// The mark with a [`Plan`].
const PLAN: &str = "plan";

/// How a service is built.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// The address of its database.
    pub(crate) database: String,
    /// The address of its mail server.
    pub(crate) mail: String,
    pub(crate) kind: Kind,
    /// Whether it tries again sooner than by default.
    pub(crate) hasty: bool,
}

/// What it says of outages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// Which errors are outages.
    Classified,
    /// Nothing.
    Unclassified,
    /// That no handler pauses.
    NeverPauses,
}

impl Plan {
    /// Keeps it for the service of this shop.
    pub(crate) fn keep(&self, shop: &Shop) {
        shop.mark(PLAN, &serde_json::to_string(self).unwrap());
    }
}

/// Runs the service until it is told to end.
pub(crate) async fn serve<B: Broker>(broker: &B, shop: Arc<Shop>, folder: &Path) {
    let plan: Plan = serde_json::from_str(&shop.marked(PLAN).unwrap()).unwrap();
    let rules = match plan.kind {
        Kind::NeverPauses => PauseRules::default().off(),
        _ if plan.hasty => {
            PauseRules::default().wait(Duration::from_millis(200), Duration::from_secs(1))
        }
        _ => PauseRules::default(),
    };
    let ledger = folder.join("ledger");
    let idem = Idem::builder().pause(rules).open(ledger).unwrap();
    report_letters(&idem, shop);
    let mail = Email::smtp(plan.mail).from("idem <alerts@shop.example.com>");
    let mail = mail.to("oncall@example.com").build().unwrap();
    let monitor = Monitor::new(&idem, "shop").channel(mail).start().unwrap();
    let table = Arc::new(Table::at(&plan.database));
    let consumer = Consumer::new(&idem, broker.source()).in_flight(32);
    let consumer = consumer.start(move |order: PlaceOrder| {
        let table = Arc::clone(&table);
        async move {
            match plan.kind {
                Kind::Classified => sell(table, order).await,
                _ => sell_unclassified(table, order).await,
            }
        }
    });
    until_told_to_end().await;
    consumer.stop(DEADLINE).await;
    monitor.stop().await;
    idem.close().await.unwrap();
}

/// The table of orders, and the connections to it that are idle. One that is refused fails at once, as
/// a pool that waits for it does not.
pub(crate) struct Table {
    database: String,
    idle: Mutex<Vec<PgConnection>>,
}

impl Table {
    pub(crate) fn at(database: &str) -> Self {
        Self {
            database: database.to_owned(),
            idle: Mutex::default(),
        }
    }

    /// Creates it. Nothing in it keeps an order from being there twice.
    pub(crate) async fn create(&self) -> anyhow::Result<()> {
        self.ask(async |table| {
            let create =
                "CREATE TABLE orders (order_no text NOT NULL); CREATE INDEX ON orders (order_no)";
            raw_sql(create).execute(table).await
        })
        .await?;
        Ok(())
    }

    /// Returns how many orders are in it, and how many different ones.
    pub(crate) async fn count(&self) -> anyhow::Result<(i64, i64)> {
        let count = "SELECT count(*), count(DISTINCT order_no) FROM orders";
        self.ask(async |table| query_as(count).fetch_one(table).await)
            .await
    }

    async fn insert(&self, order: &PlaceOrder) -> anyhow::Result<()> {
        self.ask(async |table| {
            let insert = query("INSERT INTO orders VALUES ($1)");
            insert.bind(&order.order_no).execute(table).await
        })
        .await?;
        Ok(())
    }

    async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> anyhow::Result<T> {
        let idle = self.idle.lock().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => PgConnection::connect(&self.database).await?,
        };
        let answer = question(&mut connection).await;
        let mut idle = self.idle.lock();
        match answer {
            Ok(_) => idle.push(connection),
            // The others are broken, too.
            Err(_) => idle.clear(),
        }
        Ok(answer?)
    }
}

async fn find(table: &Arc<Table>, order: &PlaceOrder) -> anyhow::Result<Option<()>> {
    let found = table.ask(async |table| {
        let found = query_scalar::<_, i32>("SELECT 1 FROM orders WHERE order_no = $1 LIMIT 1");
        found.bind(&order.order_no).fetch_optional(table).await
    });
    Ok(found.await?.map(drop))
}

/// Whether the database cannot be reached, or is going down or coming up: class 57 of its codes.
fn is_outage(error: &anyhow::Error) -> bool {
    match error.downcast_ref() {
        Some(Error::Database(error)) => error.code().is_some_and(|code| code.starts_with("57P")),
        Some(Error::Io(_) | Error::Protocol(_)) => true,
        _ => false,
    }
}

#[idempotent(
    name = "orders.sell",
    key = "order.order_no",
    retry = "redeliver",
    retries = 3,
    backoff(initial = "500ms", factor = 2, max = "2s"),
    outage = is_outage,
    existing = find,
    skip(table)
)]
async fn sell(table: Arc<Table>, order: PlaceOrder) -> anyhow::Result<()> {
    table.insert(&order).await
}

#[idempotent(
    name = "orders.sell",
    key = "order.order_no",
    retry = "redeliver",
    retries = 3,
    backoff(initial = "500ms", factor = 2, max = "2s"),
    existing = find,
    skip(table)
)]
async fn sell_unclassified(table: Arc<Table>, order: PlaceOrder) -> anyhow::Result<()> {
    table.insert(&order).await
}
