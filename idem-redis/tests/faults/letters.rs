//! Letters in a second ledger: they last where Redis does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{bail, ensure};
use idem_postgres::Postgres;
use idem_redis::Redis;
use idem_runtime::ledger::SledLedger;
use idem_runtime::{DeadLetter, Error, Filter, Idem, idempotent};
use idem_test_support::servers::{Database, Kind, Needs, POSTGRES, REDIS, Server, trial_beside};
use idem_test_support::within;
use libtest_mimic::Trial;

use crate::shop::is_unavailable;
use crate::{tell, test};

pub(crate) fn all() -> Vec<Trial> {
    static DATABASE: [&Kind; 1] = [&POSTGRES];
    vec![
        trial_beside(
            "letters::outlast_it_in_a_database".to_owned(),
            &REDIS,
            Needs::Own,
            &DATABASE,
            outlast_in_a_database,
        ),
        test("letters::outlast_a_server_that_forgets", outlast),
        test("letters::come_back_while_a_process_lives", come_back),
        test("letters::are_kept_before_a_death_is_answered", kept_first),
    ]
}

/// A bank that refuses refunds, until it is told to pay.
#[derive(Debug, Default)]
struct Bank {
    runs: AtomicUsize,
    pays: AtomicBool,
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("the bank refuses")]
    Refused,
    #[error(transparent)]
    Idem(#[from] Error),
}

impl Failed {
    fn is_unavailable(&self) -> bool {
        matches!(self, Self::Idem(error) if is_unavailable(error))
    }
}

#[idempotent(name = "bank.refund", key = "order_no", retries = 0, skip(bank))]
async fn refund(order_no: String, bank: Arc<Bank>) -> Result<String, Failed> {
    bank.runs.fetch_add(1, Ordering::Relaxed);
    if bank.pays.load(Ordering::Relaxed) {
        return Ok(order_no);
    }
    Err(Failed::Refused)
}

impl Bank {
    async fn refund(self: &Arc<Self>, idem: &Idem) -> Result<String, Failed> {
        idem.scope(refund("A-1".into(), Arc::clone(self))).await
    }

    fn runs(&self) -> usize {
        self.runs.load(Ordering::Relaxed)
    }

    async fn is_dead(self: &Arc<Self>, idem: &Idem) -> anyhow::Result<()> {
        let runs = self.runs();
        let told = self.refund(idem).await;
        ensure!(
            matches!(told, Err(Failed::Idem(Error::DeadLettered { .. }))),
            "{told:?}"
        );
        ensure!(self.runs() == runs, "a dead message does not run");
        Ok(())
    }
}

async fn open(server: &Server, folder: &tempfile::TempDir) -> Result<Idem, Error> {
    let folder = folder.path().to_owned();
    let redis = Redis::new(server.address()).letters_in(|context| async move {
        let (clock, instance) = (context.clock, context.instance.to_string());
        SledLedger::open(&folder, 16 << 20, clock, instance)
    });
    Idem::builder().open_with(redis).await
}

async fn only_letter(idem: &Idem) -> anyhow::Result<DeadLetter> {
    let letters = idem.dead_letters().list(&Filter::default()).await?;
    match <[DeadLetter; 1]>::try_from(letters) {
        Ok([letter]) => Ok(letter),
        Err(letters) => bail!("{letters:#?}"),
    }
}

async fn outlast(server: Arc<Server>) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    outlast_in(&server, || open(&server, &folder)).await
}

async fn outlast_in_a_database(server: Arc<Server>) -> anyhow::Result<()> {
    let database = Database::empty().await?;
    let open = || {
        let second = Postgres::connect(database.url());
        let redis = Redis::new(server.address()).letters_in(second);
        Idem::builder().open_with(redis)
    };
    outlast_in(&server, open).await
}

/// Nothing lasts on this server, and no process remembers what was there.
async fn outlast_in<F>(server: &Server, open: impl Fn() -> F) -> anyhow::Result<()>
where
    F: Future<Output = Result<Idem, Error>>,
{
    tell::<()>(server, "CONFIG SET appendonly no").await?;
    let bank = Arc::<Bank>::default();
    let idem = open().await?;
    assert!(bank.refund(&idem).await.is_err());
    let letter = only_letter(&idem).await?;
    idem.close().await?;

    tell::<()>(server, "FLUSHALL").await?;
    let idem = open().await?;
    ensure!(only_letter(&idem).await? == letter);
    let untold = idem.notes().list("untold/", None, 2).await?;
    ensure!(untold.len() == 1, "people are told again");
    bank.is_dead(&idem).await?;

    idem.dead_letters().redrive(&letter.id).await?;
    bank.pays.store(true, Ordering::Relaxed);
    ensure!(bank.refund(&idem).await? == "A-1");
    ensure!(bank.runs() == 2);
    idem.close().await?;

    tell::<()>(server, "FLUSHALL").await?;
    let idem = open().await?;
    let any = Filter::default().any_state();
    let letters = idem.dead_letters().list(&any).await?;
    ensure!(letters.is_empty(), "it was closed");
    Ok(idem.close().await?)
}

async fn come_back(server: Arc<Server>) -> anyhow::Result<()> {
    let (bank, folder) = (Arc::<Bank>::default(), tempfile::tempdir()?);
    let idem = open(&server, &folder).await?;
    assert!(bank.refund(&idem).await.is_err());
    let letter = only_letter(&idem).await?;
    // The sweep sees the letter before it is gone.
    idem.sweep().await?;
    tell::<()>(&server, "FLUSHALL").await?;
    ensure!(
        bank.refund(&idem)
            .await
            .is_err_and(|error| error.is_unavailable())
    );
    ensure!(Redis::new(server.address()).accept_loss().await?);
    within(async {
        // Each sweep looks for a loss.
        while idem.dead_letters().get(&letter.id).await?.is_none() {
            idem.sweep().await?;
        }
        anyhow::Ok(())
    })
    .await?;
    bank.is_dead(&idem).await?;
    Ok(idem.close().await?)
}

/// While the second ledger does not answer, neither a call nor a duplicate is told that it is dead.
async fn kept_first(server: Arc<Server>) -> anyhow::Result<()> {
    let second = Server::start(&REDIS, Needs::Own).await?;
    let bank = Arc::<Bank>::default();
    let open = || {
        let second = Redis::new(second.address()).ledger();
        let redis = Redis::new(server.address()).letters_in(second);
        Idem::builder().open_with(redis)
    };
    let (idem, another) = (open().await?, open().await?);
    second.freeze()?;
    for idem in [&idem, &another] {
        let told = within(bank.refund(idem)).await;
        ensure!(
            matches!(&told, Err(error) if error.is_unavailable()),
            "{told:?}"
        );
    }
    ensure!(bank.runs() == 1);
    let letter = only_letter(&idem).await?;
    // The process that wrote it dies before the second ledger is back.
    drop(idem);
    second.thaw()?;
    within(async {
        while another.notes().list("unkept/", None, 1).await?.len() == 1 {
            another.sweep().await?;
        }
        anyhow::Ok(())
    })
    .await?;
    bank.is_dead(&another).await?;
    another.close().await?;

    tell::<()>(&server, "FLUSHALL").await?;
    let idem = open().await?;
    ensure!(only_letter(&idem).await? == letter);
    bank.is_dead(&idem).await?;
    Ok(idem.close().await?)
}
