//! A service in an outage, what it needs, and the orders that come.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::ensure;
use idem_runtime::{Filter, Idem};
use idem_test_support::servers::{Needs, POSTGRES, Server};
use idem_test_support::smtp::{Mail, Mode, SmtpServer};
use idem_test_support::within;
use mail_parser::MessageParser;
use tokio::task::JoinHandle;
use tokio::time::interval;

use crate::broker::{Broker, Stage, publish, until};
use crate::child::{self, Job, Process};
use crate::scenarios::causes::drain;
use crate::service::{Kind, Plan, Table};
use crate::shop::PlaceOrder;

/// The most lines that a service logs, from its start to its end.
const LINES: usize = 100;

/// A service, what it needs, and the orders that come.
pub(super) struct World<B: Broker> {
    pub(super) stage: Stage<B>,
    database: Server,
    table: Table,
    mails: SmtpServer,
    /// The ids of the mails that were read.
    read: HashSet<String>,
    service: Option<Process>,
    pub(super) stream: Stream,
}

impl<B: Broker> World<B> {
    pub(super) async fn start(
        server: &Server,
        kind: Kind,
        per_second: u32,
        hasty: bool,
    ) -> anyhow::Result<Self> {
        let (stage, database) = tokio::try_join!(
            Stage::<B>::new(server),
            Server::start(&POSTGRES, Needs::Own)
        )?;
        let mails = SmtpServer::start(Mode::Plain).await;
        let url = format!("{}/postgres", database.address());
        let table = Table::at(&url);
        table.create().await?;
        let plan = Plan {
            database: url,
            mail: mails.url(),
            kind,
            hasty,
        };
        plan.keep(&stage.shop);
        let mut world = Self {
            stream: Stream::start(&stage, per_second),
            stage,
            database,
            table,
            mails,
            read: HashSet::new(),
            service: None,
        };
        world.is_killed_and_starts_again(server);
        Ok(world)
    }

    /// Kills the service, if it runs, and starts it.
    pub(super) fn is_killed_and_starts_again(&mut self, server: &Server) {
        self.service.take().into_iter().for_each(Process::kill);
        let (name, folder) = (&self.stage.name, self.stage.folder.path());
        self.service = Some(child::start::<B>(
            server.address(),
            name,
            folder,
            Job::Serve,
        ));
    }

    /// Stops the database once so many orders are sold.
    pub(super) async fn goes_away_after(&self, orders: usize) -> anyhow::Result<()> {
        self.until_sold(orders).await?;
        self.database.shut_down("INT")
    }

    /// Waits until people know of the pause, and more orders have come.
    pub(super) async fn is_paused(&mut self) -> anyhow::Result<()> {
        self.is_told("[idem] shop: orders.sell is paused").await?;
        self.more_orders_come().await
    }

    /// Waits until more orders have come than a consumer holds.
    pub(super) async fn more_orders_come(&self) -> anyhow::Result<()> {
        let more = self.stream.sent() + 200;
        until("more orders come", || self.stream.sent() > more).await
    }

    /// Starts the database, and checks what becomes of the orders.
    pub(super) async fn comes_back(mut self) -> anyhow::Result<()> {
        self.database_returns().await?;
        self.is_told("[idem] shop: orders.sell is no longer paused")
            .await?;
        self.ends().await
    }

    /// Starts the database.
    pub(super) async fn database_returns(&mut self) -> anyhow::Result<()> {
        self.database.restart().await?;
        // Its old connections are gone.
        self.table = Table::at(&format!("{}/postgres", self.database.address()));
        Ok(())
    }

    pub(super) async fn sold(&self) -> anyhow::Result<usize> {
        Ok(self.table.count().await?.0.try_into()?)
    }

    /// Waits until so many orders are sold, as long as there are more of them now and then: after a
    /// kill RabbitMQ's dead-letter worker brings few at a time.
    pub(super) async fn until_sold(&self, orders: usize) -> anyhow::Result<()> {
        let mut sold = self.sold().await?;
        while sold < orders {
            let before = sold;
            sold = within(async {
                loop {
                    let sold = self.sold().await?;
                    if sold > before {
                        return anyhow::Ok(sold);
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
            .await?;
        }
        Ok(())
    }

    /// Waits for the next mail, and checks how its subject begins.
    async fn is_told(&mut self, what: &str) -> anyhow::Result<()> {
        loop {
            let mail = self.mails.mail().await;
            if let Some(subject) = self.read(&mail) {
                ensure!(subject.starts_with(what), "{subject}");
                return Ok(());
            }
        }
    }

    /// Returns a mail's subject. A service that dies as it sends a mail sends it once more, with the
    /// same id: then there is none.
    fn read(&mut self, mail: &Mail) -> Option<String> {
        let mail = MessageParser::default().parse(&mail.data)?;
        let is_new = self.read.insert(mail.message_id()?.to_owned());
        is_new.then(|| mail.subject().unwrap_or_default().to_owned())
    }

    /// Returns the lines that the service has logged.
    pub(super) fn log(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(
            self.stage.folder.path().join(child::LOG),
        )?)
    }

    /// Stops the service.
    pub(super) async fn stop(&mut self) -> anyhow::Result<()> {
        match self.service.take() {
            Some(service) => service.stop().await,
            None => Ok(()),
        }
    }

    /// Returns how many letters the service has.
    pub(super) fn letters(&self) -> usize {
        let letters = self.stage.shop.marked("letters");
        letters.map_or(0, |letters| letters.parse().unwrap())
    }

    /// Returns how many orders are neither sold nor a letter.
    pub(super) async fn open(&self) -> anyhow::Result<usize> {
        let settled = self.sold().await? + self.letters();
        Ok(self.stream.sent().saturating_sub(settled))
    }

    /// Returns how many mails came that were not read.
    pub(super) fn mails(&mut self) -> usize {
        self.mails.rest().len()
    }

    /// Ends the stream and then the service, and checks what became of the orders.
    async fn ends(mut self) -> anyhow::Result<()> {
        let sent = self.stream.stop().await?;
        self.until_sold(sent).await?;
        self.stop().await?;
        let idem = Idem::open(self.stage.folder.path().join("ledger"))?;
        let all = Filter::default().any_state();
        let letters = idem.dead_letters().list(&all).await?;
        ensure!(letters.is_empty(), "{letters:#?}");
        let orders = self.table.count().await?;
        ensure!(orders == (sent as i64, sent as i64), "{orders:?} of {sent}");
        let others = self.mails.rest();
        let others: Vec<_> = others.iter().filter_map(|mail| self.read(mail)).collect();
        ensure!(others.is_empty(), "{others:?}");
        let log = self.log()?;
        ensure!(log.lines().count() < LINES, "the log:\n{log}");
        drain(&self.stage).await?;
        self.stage.is_clean().await
    }
}

/// Orders that come at a steady rate.
pub(super) struct Stream {
    sent: Arc<AtomicUsize>,
    ends: Arc<AtomicBool>,
    task: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Stream {
    pub(super) fn start<B: Broker>(stage: &Stage<B>, per_second: u32) -> Self {
        let (sent, ends) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (counted, ended) = (Arc::clone(&sent), Arc::clone(&ends));
        let (publisher, to) = (stage.broker.publisher(), stage.name.clone());
        let task = tokio::spawn(async move {
            let mut ticks = interval(Duration::from_secs(1) / per_second);
            while !ended.load(Ordering::SeqCst) {
                ticks.tick().await;
                let number = counted.load(Ordering::SeqCst);
                let order = PlaceOrder::new(format!("A-{number:05}"));
                publish(&publisher, order.message(&to)).await?;
                counted.fetch_add(1, Ordering::SeqCst);
            }
            Ok(())
        });
        Self {
            sent,
            ends,
            task: Some(task),
        }
    }

    pub(super) fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }

    /// Ends it, and returns how many orders came.
    pub(super) async fn stop(&mut self) -> anyhow::Result<usize> {
        self.ends.store(true, Ordering::SeqCst);
        if let Some(task) = self.task.take() {
            within(task).await??;
        }
        Ok(self.sent())
    }
}
