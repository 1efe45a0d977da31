//! A consumer or a producer in a child process, which runs this program again and can be killed.

use std::env;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use idem_brokers::{Consumer, Relay};
use idem_runtime::Idem;
use idem_test_support::DEADLINE;

use crate::broker::Broker;
use crate::service::serve;
use crate::shop::{
    AT_ONCE, HASTY, PATIENT, PlaceOrder, SIDE_BY_SIDE, Shop, accept, accept_all, orders_of, place,
    place_and_hang,
};

const VARIABLE: &str = "IDEM_BROKERS_CHILD";

/// The child's role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    /// Accepts orders, and sends them on.
    Produce,
    /// Places the orders that arrive.
    Consume,
    /// Places orders as the first consumer ever.
    FirstStart,
    /// Sells the orders that arrive, as a service that logs and mails.
    Serve,
    /// Hangs when the first order is in the table and not in the ledger.
    HangsInTheBody,
    /// Hangs when the first order is in the ledger and not acked.
    HangsBeforeTheAck,
}

/// The file with what a child logs: the errors of a first start, including its client's, and what a
/// service says by default.
pub(crate) const LOG: &str = "stderr";

/// A child process, which is killed when this is dropped.
pub(crate) struct Process(Child);

/// Starts a child on a shop's folder, which contains the ledger, too.
pub(crate) fn start<B: Broker>(address: &str, queue: &str, folder: &Path, job: Job) -> Process {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args([B::NAME, address, queue])
        .arg(folder)
        .arg(format!("{job:?}"));
    command
        .env(VARIABLE, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    let logged = match job {
        Job::FirstStart => Some("error"),
        Job::Serve => Some("idem=info"),
        _ => None,
    };
    if let Some(logged) = logged {
        let mut log = File::options();
        let log = log.create(true).append(true).open(folder.join(LOG));
        command.env("RUST_LOG", logged).stderr(log.unwrap());
    }
    Process(command.spawn().unwrap())
}

impl Process {
    /// Kills the process with SIGKILL.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Stops the process gracefully.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        drop(self.0.stdin.take());
        crate::broker::until("the child's process ends", || {
            self.0.try_wait().unwrap().is_some()
        })
        .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The arguments of a child process.
pub(crate) struct Task {
    broker: String,
    address: String,
    queue: String,
    folder: PathBuf,
    job: Job,
}

impl Task {
    /// Returns this process's task if it is a child.
    pub(crate) fn own() -> Option<Self> {
        env::var_os(VARIABLE)?;
        let arguments: Vec<_> = env::args().skip(1).collect();
        let [broker, address, queue, folder, job] = <[String; 5]>::try_from(arguments).unwrap();
        let job = match job.as_str() {
            "Produce" => Job::Produce,
            "HangsInTheBody" => Job::HangsInTheBody,
            "HangsBeforeTheAck" => Job::HangsBeforeTheAck,
            "FirstStart" => Job::FirstStart,
            "Serve" => Job::Serve,
            _ => Job::Consume,
        };
        Some(Self {
            broker,
            address,
            queue,
            folder: folder.into(),
            job,
        })
    }

    /// Runs the task if it is for this broker.
    pub(crate) fn run<B: Broker>(&self) {
        if self.broker != B::NAME {
            return;
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(self.work(&B::new(&self.address, &self.queue)));
    }

    /// Runs until the standard input ends.
    async fn work<B: Broker>(&self, broker: &B) {
        let shop = Shop::at(&self.folder);
        match self.job {
            Job::Produce => produce(broker, &self.queue, &shop, &self.folder).await,
            Job::Serve => serve(broker, shop, &self.folder).await,
            job => consume(broker, shop, &self.folder, job).await,
        }
    }
}

pub(crate) async fn until_told_to_end() {
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    let _ = ended.await;
}

async fn produce<B: Broker>(broker: &B, queue: &str, shop: &Shop, folder: &Path) {
    let idem = Idem::open(folder.join("outbox")).unwrap();
    let relay = Relay::new(&idem, broker.publisher()).start();
    let accepted = async {
        let orders = orders_of(HASTY);
        let hasty = orders
            .chunks(orders.len() / SIDE_BY_SIDE)
            .map(<[_]>::to_vec)
            .map(|orders| {
                let (idem, queue) = (idem.clone(), queue.to_owned());
                tokio::spawn(async move {
                    for orders in orders.chunks(AT_ONCE).map(<[_]>::to_vec) {
                        idem.scope(accept_all(&idem, &queue, orders)).await.unwrap();
                    }
                })
            });
        let patient = PATIENT.map(async |customer| {
            for order in orders_of(customer) {
                idem.scope(accept(&idem, queue, order)).await.unwrap();
            }
        });
        join_all(patient).await;
        for accepted in hasty {
            accepted.await.unwrap();
        }
        while !idem.outbox().pending(None, 1).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = accepted => {}
        failed = shop.follow(&idem) => failed.unwrap(),
    }
    shop.mark("sent", "");
    until_told_to_end().await;
    relay.stop(DEADLINE).await;
    idem.close().await.unwrap();
}

async fn consume<B: Broker>(broker: &B, shop: Arc<Shop>, folder: &Path, job: Job) {
    let idem = Idem::open(folder.join("ledger")).unwrap();
    let work = Arc::clone(&shop);
    let source = if job == Job::FirstStart {
        broker.first_source().await.unwrap()
    } else {
        broker.source()
    };
    let consumer = Consumer::new(&idem, source)
        .in_flight(32)
        .start(move |order: PlaceOrder| {
            let shop = Arc::clone(&work);
            async move {
                if job == Job::HangsInTheBody {
                    return place_and_hang(shop, order).await;
                }
                let placed = place(Arc::clone(&shop), order).await;
                if job == Job::HangsBeforeTheAck {
                    shop.mark("before_the_ack", "");
                    std::future::pending::<()>().await;
                }
                placed
            }
        });
    report_letters(&idem, shop);
    until_told_to_end().await;
    consumer.stop(DEADLINE).await;
    idem.close().await.unwrap();
}

/// Marks how many letters there are, again and again.
pub(crate) fn report_letters(idem: &Idem, shop: Arc<Shop>) {
    let watched = idem.clone();
    tokio::spawn(async move {
        // Ends when the ledger is closed.
        while let Ok(letters) = watched.dead_letters().count_open().await {
            shop.mark("letters", &letters.to_string());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
}
