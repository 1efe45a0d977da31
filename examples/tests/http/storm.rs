//! Thousands of requests to a service that is killed again and again, from clients that hang up.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use fastrand::Rng;
use futures_util::future::try_join_all;
use idem_test_support::{DEADLINE, within};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::client::{Manner, send};
use crate::judge::{Judge, Row};
use crate::plan::{Plan, Request, text};
use crate::shop::{Program, Shop};

const CLIENTS: usize = 24;
/// After how many requests the service is killed. Even if all clients are in the middle of one, the
/// same one is not killed four times, which would spend its budget.
const BETWEEN_KILLS: std::ops::Range<u64> = 60..240;

pub(crate) struct Storm {
    plan: Plan,
    next: AtomicUsize,
    begun: watch::Sender<u64>,
    /// How often the service was started, and where it is.
    at: watch::Sender<(u64, Option<SocketAddr>)>,
    pub(crate) judge: Mutex<Judge>,
}

impl Storm {
    /// Sends all requests of a plan, kills the service meanwhile, and asks for each order once more.
    /// Returns what came of it, and the service as it stands.
    pub(crate) async fn run(
        program: &Program,
        seed: u64,
        requests: usize,
    ) -> anyhow::Result<(Self, Shop)> {
        println!("IDEM_HTTP_SEED={seed} IDEM_HTTP_REQUESTS={requests}");
        let mut random = Rng::with_seed(seed);
        let storm = Self {
            plan: Plan::new(&mut random, requests),
            next: AtomicUsize::new(0),
            begun: watch::Sender::new(0),
            at: watch::Sender::new((0, None)),
            judge: Mutex::default(),
        };
        let (start, over) = (Instant::now(), watch::Sender::new(false));
        let clients = async {
            try_join_all((0..CLIENTS).map(|_| storm.client())).await?;
            over.send_replace(true);
            anyhow::Ok(())
        };
        let killer = storm.kill(program, &mut random, &over);
        let ((), (shop, kills)) = tokio::try_join!(clients, killer)?;
        storm.ask_again().await?;
        let (took, judge) = (start.elapsed(), storm.judge.lock());
        println!(
            "{requests} requests, {} sent, {kills} kills, {} replays, {} times told to come again, {took:.0?}",
            *storm.begun.borrow(),
            judge.replays,
            judge.again
        );
        drop(judge);
        Ok((storm, shop))
    }

    pub(crate) fn compare(&self, rows: Vec<Row>) -> anyhow::Result<()> {
        self.judge.lock().compare(&self.plan, rows)
    }

    async fn client(&self) -> anyhow::Result<()> {
        loop {
            let next = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(request) = self.plan.requests.get(next) else {
                return Ok(());
            };
            self.ask(*request).await?;
        }
    }

    /// Sends a request, and again until there is an answer that stays or the client has hung up.
    async fn ask(&self, request: Request) -> anyhow::Result<()> {
        let text = text(request.order, request.content);
        let mut service = self.at.subscribe();
        loop {
            let there = service.wait_for(|(_, at)| at.is_some());
            let (start, at) = *within(there).await?;
            let at = at.context("it is there")?;
            self.begun.send_modify(|begun| *begun += 1);
            match timeout(DEADLINE, send(at, &text, request.manner)).await {
                Err(_) => bail!("no answer to {request:?}"),
                Ok(Ok(Some((answer, replayed)))) => {
                    if self.judge.lock().take(request, &answer, replayed)? {
                        return Ok(());
                    }
                    // As long as a client waits, who was told to.
                    sleep(Duration::from_millis(50)).await;
                }
                Ok(_) if request.manner != Manner::Whole => return Ok(()),
                Ok(Ok(None)) => bail!("it did not hang up"),
                Ok(Err(error)) => {
                    let killed = service.wait_for(|(now, at)| *now != start || at.is_none());
                    let killed = timeout(DEADLINE, killed).await;
                    ensure!(killed.is_ok(), "no kill broke {request:?}: {error}");
                }
            }
        }
    }

    /// Starts the service, and kills it after some requests, until the clients are ready.
    async fn kill(
        &self,
        program: &Program,
        random: &mut Rng,
        over: &watch::Sender<bool>,
    ) -> anyhow::Result<(Shop, u64)> {
        let (mut begun, mut over) = (self.begun.subscribe(), over.subscribe());
        for start in 1.. {
            if random.u32(..8) == 0 {
                let opening = program.spawn()?;
                sleep(Duration::from_micros(random.u64(..60_000))).await;
                opening.kill().await?;
            }
            let mut shop = program.spawn()?;
            self.at.send_replace((start, Some(shop.listens().await?)));
            let until = *begun.borrow() + random.u64(BETWEEN_KILLS);
            tokio::select! {
                _ = begun.wait_for(|begun| *begun >= until) => {}
                _ = over.wait_for(|over| *over) => return Ok((shop, start - 1)),
            }
            // Somewhere in the middle of those that have begun.
            sleep(Duration::from_micros(random.u64(..5_000))).await;
            self.at.send_replace((start, None));
            shop.kill().await?;
        }
        bail!("it was started too often")
    }

    /// Asks for each order once more: who was answered gets the same again, and it is a replay.
    async fn ask_again(&self) -> anyhow::Result<()> {
        let sent = |order: usize, content: usize| {
            let mut requests = self.plan.requests.iter();
            requests.any(|it| (it.order, it.content) == (order, content))
        };
        for order in 0..self.plan.orders {
            for content in 0..2 {
                if !sent(order, content) {
                    continue;
                }
                let (told, replays) = {
                    let judge = self.judge.lock();
                    (judge.was_told(order, content), judge.replays)
                };
                let manner = Manner::Whole;
                self.ask(Request {
                    order,
                    content,
                    manner,
                })
                .await?;
                let judge = self.judge.lock();
                let replayed = judge.replays > replays || judge.refused(order, content);
                ensure!(!told || replayed, "order {order} was no replay");
            }
        }
        Ok(())
    }
}
