//! What the server's settings promise: the table of the guide, line by line.

use std::sync::Arc;

use anyhow::ensure;
use idem_redis::Redis;
use idem_test_support::servers::Server;
use libtest_mimic::Trial;

use crate::shop::process_with;
use crate::{tell, test};

pub(crate) fn all() -> Vec<Trial> {
    vec![
        test("promises::are_said_by_setting", by_setting),
        test("promises::too_little_is_refused", too_little),
        test("promises::what_is_not_told_is_not_promised", not_told),
    ]
}

async fn promises(address: &str) -> anyhow::Result<String> {
    Ok(Redis::new(address).health().await?.promises())
}

async fn by_setting(server: Arc<Server>) -> anyhow::Result<()> {
    let table = [
        ("CONFIG SET appendfsync always", "is on the server's disk"),
        (
            "CONFIG SET appendfsync everysec",
            "may lose the last two seconds",
        ),
        (
            "CONFIG SET appendfsync no",
            "may lose what its system had not written",
        ),
        (
            "CONFIG SET maxmemory-policy volatile-lru",
            "keys may be evicted",
        ),
        (
            "CONFIG SET appendonly no",
            "nothing lasts a restart of the server",
        ),
    ];
    for (setting, promise) in table {
        tell::<()>(&server, setting).await?;
        let said = promises(server.address()).await?;
        ensure!(said.contains(promise), "{setting}: {said}");
    }
    Ok(())
}

async fn too_little(server: Arc<Server>) -> anyhow::Result<()> {
    let address = server.address();
    tell::<()>(&server, "CONFIG SET maxmemory-policy allkeys-lru").await?;
    let refused = process_with(Redis::new(address)).await;
    let refused = refused.err().map(|error| format!("{error:#}"));
    let says = |word: &str| refused.as_ref().is_some_and(|said| said.contains(word));
    ensure!(says("allow_eviction()"), "{refused:?}");
    let missing = Redis::new(address).allow_eviction().create(false);
    ensure!(!missing.health().await?.has_ledger);
    ensure!(process_with(missing).await.is_err(), "there is none");
    let allowed = process_with(Redis::new(address).allow_eviction()).await?;
    ensure!(Redis::new(address).health().await?.has_ledger);
    allowed.close().await?;

    tell::<()>(&server, "CONFIG SET maxmemory-policy noeviction").await?;
    tell::<()>(&server, "CONFIG SET appendonly no").await?;
    let refused = process_with(Redis::new(address)).await;
    let refused = refused.err().map(|error| format!("{error:#}"));
    let says = |word: &str| refused.as_ref().is_some_and(|said| said.contains(word));
    ensure!(says("allow_loss()"), "{refused:?}");
    let allowed = process_with(Redis::new(address).allow_loss()).await?;
    Ok(allowed.close().await?)
}

/// As on managed servers, which forbid `CONFIG`, and on one that forbids `INFO` too.
async fn not_told(server: Arc<Server>) -> anyhow::Result<()> {
    for (user, forbidden, promise) in [
        ("managed", "-config", "cannot verify how much"),
        ("closed", "-config -info", "cannot verify whether"),
    ] {
        let rules = format!("ACL SETUSER {user} on >secret ~* &* +@all {forbidden}");
        tell::<()>(&server, &rules).await?;
        let address = server
            .address()
            .replace("redis://", &format!("redis://{user}:secret@"));
        let said = promises(&address).await?;
        ensure!(said.contains(promise), "{said}");
        let idem = process_with(Redis::new(&address)).await?;
        idem.close().await?;
    }
    Ok(())
}
