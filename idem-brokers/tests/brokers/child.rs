//! A consumer in a process of its own, which is this program again: it can be killed as a machine kills.

use std::env;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use idem_brokers::Consumer;
use idem_runtime::Idem;
use idem_test_support::DEADLINE;

use crate::broker::Broker;
use crate::shop::{PlaceOrder, Shop, place, place_and_hang};

const VARIABLE: &str = "IDEM_BROKERS_CHILD";

/// What the child's handler does besides placing orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handler {
    Plain,
    /// The first order hangs when it is in the table and not in the ledger.
    HangsInTheBody,
    /// The first order hangs when it is in the ledger and not acked.
    HangsBeforeTheAck,
}

/// A consumer's process. Dropped, it is killed.
pub(crate) struct Process(Child);

/// Starts one on a shop's folder; the ledger is in it too.
pub(crate) fn start<B: Broker>(address: &str, queue: &str, folder: &Path, handler: Handler) -> Process {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([B::NAME, address, queue]).arg(folder).arg(format!("{handler:?}"));
    command.env(VARIABLE, "1").stdin(Stdio::piped()).stdout(Stdio::null());
    Process(command.spawn().unwrap())
}

impl Process {
    /// SIGKILL: it gets to do nothing more.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Lets it end in order.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        drop(self.0.stdin.take());
        crate::broker::until("the consumer's process ends", || self.0.try_wait().unwrap().is_some()).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What this process is told when it is one.
pub(crate) struct Task {
    broker: String,
    address: String,
    queue: String,
    folder: PathBuf,
    handler: Handler,
}

impl Task {
    /// This process's, if it is a consumer's.
    pub(crate) fn own() -> Option<Self> {
        env::var_os(VARIABLE)?;
        let arguments: Vec<_> = env::args().skip(1).collect();
        let [broker, address, queue, folder, handler] = <[String; 5]>::try_from(arguments).unwrap();
        let handler = match handler.as_str() {
            "HangsInTheBody" => Handler::HangsInTheBody,
            "HangsBeforeTheAck" => Handler::HangsBeforeTheAck,
            _ => Handler::Plain,
        };
        Some(Self { broker, address, queue, folder: folder.into(), handler })
    }

    /// Consumes, if it is this broker that was meant.
    pub(crate) fn run<B: Broker>(&self) {
        if self.broker != B::NAME {
            return;
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(consume(B::new(&self.address, &self.queue), &self.folder, self.handler));
    }
}

/// Until its standard input ends.
async fn consume<B: Broker>(broker: B, folder: &Path, handler: Handler) {
    let shop = Shop::at(folder);
    let idem = Idem::open(folder.join("ledger")).unwrap();
    let work = Arc::clone(&shop);
    let consumer = Consumer::new(&idem, broker.source()).in_flight(32).start(move |order: PlaceOrder| {
        let shop = Arc::clone(&work);
        async move {
            if handler == Handler::HangsInTheBody {
                return place_and_hang(shop, order).await;
            }
            let placed = place(Arc::clone(&shop), order).await;
            if handler == Handler::HangsBeforeTheAck {
                shop.mark("before_the_ack", "");
                std::future::pending::<()>().await;
            }
            placed
        }
    });
    let told = idem.clone();
    tokio::spawn(async move {
        // Until the ledger is closed.
        while let Ok(letters) = told.dead_letters().count_open().await {
            shop.mark("letters", &letters.to_string());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    let _ = ended.await;
    consumer.stop(DEADLINE).await;
    idem.close().await.unwrap();
}
