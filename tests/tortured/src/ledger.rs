//! How the process opens its ledger: a folder of its own, or a database that others use too.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use idem_postgres::Postgres;
use idem_runtime::ledger::{Engine, LedgerError};
use idem_runtime::{Error, Idem};
use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::emit::{cut, emit, emit_away, emit_trouble};
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
        let folder = folder.join("ledger");
        Idem::builder()
            .engine(Engine::of(&folder).unwrap_or_default())
            .cache(CACHE_BYTES)
            .open(folder)
    };
    opened
        .inspect_err(|error| emit_trouble(format!("the ledger cannot be opened: {error:#}")))
        .ok()
}

/// Tries until the server can be reached, as one that supervises a service does.
async fn open_shared(url: &str) -> Result<Idem, Error> {
    listen();
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

/// Emits what only the log tells: that this process lost all its claims, and that an attempt's
/// transaction was not committed. `RUST_LOG` shows more.
fn listen() {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::OFF.into());
    let log = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_filter(filter.from_env_lossy());
    tracing_subscriber::registry()
        .with(Told.with_filter(LevelFilter::WARN))
        .with(log)
        .init();
}

struct Told;

impl<S: Subscriber> Layer<S> for Told {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let has = |name| event.fields().any(|field| field.name() == name);
        match event.metadata().target() {
            "idem_runtime::ledger::shared::runner" if has("next") => emit(&Event::Lapsed),
            "idem_runtime::call::transaction" if has("error") => {
                let mut refused = Refused::default();
                event.record(&mut refused);
                if let Some(n) = refused.n {
                    let text = cut(refused.text);
                    emit(&Event::NotCommitted { n, text });
                }
            }
            _ => {}
        }
    }
}

/// Key and error of an attempt that was not committed.
#[derive(Default)]
struct Refused {
    n: Option<u64>,
    text: String,
}

impl Visit for Refused {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "key" {
            self.n = value.parse().ok();
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "error" {
            self.text = format!("{value:?}");
        }
    }
}
