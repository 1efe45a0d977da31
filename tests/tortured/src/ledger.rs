//! How the process opens its ledger: a folder of its own, or a database that others use too.

use std::path::Path;
use std::time::Duration;

use idem_postgres::Postgres;
use idem_runtime::ledger::LedgerError;
use idem_runtime::{Error, Idem};
use tracing::Subscriber;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::emit::{emit, emit_away, emit_trouble};
use crate::event::Event;
use crate::table::{self, Table};

/// Large enough for a ledger of 100,000 messages.
const CACHE_BYTES: u64 = 64 << 20;
/// After how long a killed process's messages go on. The torturer stops processes for longer.
const LEASE: Duration = Duration::from_secs(2);
/// How long to wait for a server that could not be reached.
const PAUSE: Duration = Duration::from_millis(100);

/// Opens the ledger in a folder, or in the database of a URL.
pub(crate) async fn open(place: &str) -> Option<Idem> {
    let opened = if place.starts_with("postgres://") {
        open_shared(place).await
    } else {
        let folder = Path::new(place);
        table::open(Table::File(table::File::read(&folder.join("table"))));
        Idem::builder()
            .cache(CACHE_BYTES)
            .open(folder.join("ledger"))
    };
    opened
        .inspect_err(|error| emit_trouble(format!("the ledger cannot be opened: {error:#}")))
        .ok()
}

/// Tries until the server can be reached, as one that supervises a service does.
async fn open_shared(url: &str) -> Result<Idem, Error> {
    tell_lives();
    loop {
        match table::Database::connect(url).await {
            Ok(database) => {
                table::open(Table::Database(database));
                break;
            }
            Err(error) => emit_away(&error),
        }
        tokio::time::sleep(PAUSE).await;
    }
    loop {
        let postgres = Postgres::new(url).lease(LEASE);
        match Idem::builder().open_with(postgres.ledger()).await {
            Err(Error::Ledger {
                source: error @ LedgerError::Unavailable { .. },
                ..
            }) => emit_away(&error),
            opened => return opened,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Emits when this process loses all its claims. `RUST_LOG` shows more.
fn tell_lives() {
    let log = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_filter(EnvFilter::from_default_env());
    tracing_subscriber::registry()
        .with(Lives.with_filter(LevelFilter::WARN))
        .with(log)
        .init();
}

struct Lives;

impl<S: Subscriber> Layer<S> for Lives {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let of_the_runner = event.metadata().target() == "idem_runtime::ledger::shared::runner";
        if of_the_runner && event.fields().any(|field| field.name() == "next") {
            emit(&Event::Lapsed);
        }
    }
}
