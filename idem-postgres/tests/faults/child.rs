//! A process of the service, which runs this program again and can be killed and stopped.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use crate::load::deliver;
use crate::shop::{MODES, Mode, Shop, process};

const VARIABLE: &str = "IDEM_FAULTS_CHILD";

/// A child process, which is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    says: Option<ChildStdin>,
    said: BufReader<ChildStdout>,
}

impl Process {
    /// Starts a process that places these orders, and tells the answers.
    pub(crate) fn places(address: &str, orders: &[String]) -> anyhow::Result<Self> {
        Self::start(address, "places", orders)
    }

    /// Starts a process whose body of this order waits for a word.
    pub(crate) fn holds(address: &str, order_no: &str) -> anyhow::Result<Self> {
        Self::start(address, "holds", &[order_no.to_owned()])
    }

    fn start(address: &str, job: &str, orders: &[String]) -> anyhow::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.arg(address).arg(job).args(orders);
        command.env(VARIABLE, "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let says = child.stdin.take();
        let said = child.stdout.take().context("it is a pipe")?;
        let said = BufReader::new(said);
        Ok(Self { child, says, said })
    }

    /// Waits for its next line, which is `None` after the last.
    pub(crate) fn line(&mut self) -> anyhow::Result<Option<String>> {
        let mut line = String::new();
        let read = self.said.read_line(&mut line)?;
        Ok((read > 0).then(|| line.trim_end().to_owned()))
    }

    /// Lets its body go on.
    pub(crate) fn let_go(&mut self) -> anyhow::Result<()> {
        let says = self.says.as_mut().context("it is a pipe")?;
        Ok(writeln!(says, "go")?)
    }

    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a child process does.
pub(crate) struct Task {
    address: String,
    job: String,
    orders: Vec<String>,
}

impl Task {
    /// Returns this process's task if it is a child.
    pub(crate) fn own() -> Option<Self> {
        env::var_os(VARIABLE)?;
        let mut arguments = env::args().skip(1);
        Some(Self {
            address: arguments.next()?,
            job: arguments.next()?,
            orders: arguments.collect(),
        })
    }

    pub(crate) fn run(&self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(self.work());
    }

    async fn work(&self) {
        let shop = Shop::at(&self.address);
        let idem = process(&self.address).await.unwrap();
        if self.job == "holds" {
            shop.hold(1);
            let held = Arc::clone(&shop);
            tokio::spawn(async move {
                held.holds(1).await;
                println!("held");
                let word = || std::io::stdin().read_line(&mut String::new());
                tokio::task::spawn_blocking(word).await.unwrap().unwrap();
                held.let_go();
            });
            let mode = mode_of(&self.orders[0]);
            match shop.place(&idem, mode, &self.orders[0]).await {
                Ok(receipt) => println!("{}", receipt.run),
                Err(error) => println!("{error}"),
            }
            return;
        }
        for order_no in &self.orders {
            let receipt = deliver(&shop, &idem, mode_of(order_no), order_no).await;
            println!("{order_no} {} {}", receipt.run, shop.runs(order_no));
        }
        idem.close().await.unwrap();
    }
}

pub(crate) fn mode_of(order_no: &str) -> Mode {
    let named = |mode: &Mode| order_no.starts_with(&format!("{mode:?}"));
    MODES.into_iter().find(named).unwrap()
}
