//! Ten processes place the same orders.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::ensure;
use idem_test_support::servers::Server;
use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::child::{Process, mode_of};
use crate::load::deliver;
use crate::shop::{Mode, Shop, process};
use crate::test;

pub(crate) fn all() -> Vec<Trial> {
    vec![
        test("crowded::ten_processes_on_one_key", |server| {
            crowd(server, false)
        }),
        test("crowded::ten_processes_that_are_killed", |server| {
            crowd(server, true)
        }),
    ]
}

const PROCESSES: usize = 10;

async fn crowd(server: Arc<Server>, kills: bool) -> anyhow::Result<()> {
    let shop = Shop::open(server.address()).await?;
    // The tables are there: the processes meet at their first order.
    let idem = process(server.address()).await?;
    let orders: Vec<_> = (0..if kills { 60 } else { 3 })
        .map(|number| format!("{:?}-{number}", crate::shop::MODES[number % 3]))
        .collect();
    let start = || Process::places(server.address(), &orders);
    let mut processes = (0..PROCESSES)
        .map(|_| start())
        .collect::<anyhow::Result<Vec<_>>>()?;
    if kills {
        for process in &mut processes[1..] {
            // Each is killed at another order.
            for _ in 0..fastrand::usize(..orders.len()) {
                process.line()?;
            }
            process.signal(Signal::KILL)?;
        }
    }
    let mut runs = BTreeMap::<String, usize>::new();
    for mut process in processes {
        while let Some(line) = process.line()? {
            let said: Vec<_> = line.split(' ').collect();
            let [order_no, run, started] = said[..] else {
                anyhow::bail!("it says {line:?}");
            };
            shop.hears(order_no, run.parse()?);
            *runs.entry(order_no.to_owned()).or_default() += started.parse::<usize>()?;
        }
    }
    for order_no in &orders {
        let mode = mode_of(order_no);
        deliver(&shop, &idem, mode, order_no).await;
        let runs = runs[order_no];
        ensure!(
            kills || mode == Mode::Single || runs == 1,
            "{order_no} ran {runs} times"
        );
    }
    idem.close().await?;
    shop.judge().await
}
