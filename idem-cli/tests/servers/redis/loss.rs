//! The server loses what it had acknowledged, and a person agrees to go on.

use std::sync::Arc;

use idem_ops::service::{AuditAction, Outcome, PageQuery, Service};
use idem_test_support::servers::Server;

use super::{at, service, tell};
use crate::kinds;
use crate::moved::small;
use crate::support::{At, place_order};

pub(crate) async fn is_found_and_a_person_agrees(server: Arc<Server>) -> anyhow::Result<()> {
    let (at, idem) = (at(&server), service(server.address()).await?);
    assert_eq!(idem.scope(place_order(small("A-1"))).await?, 200);
    let nothing = at.json(&["accept-loss", "--why", "it looks odd"]).await;
    assert_eq!(nothing["accepted"], false, "{nothing:#}");

    tell::<()>(&server, "FLUSHALL").await?;
    let refused = idem.scope(place_order(small("A-2"))).await.unwrap_err();
    let refused = format!("{refused:#}");
    assert!(refused.contains("idem accept-loss"), "{refused}");
    let checkup = at.idem(&["doctor", "--json"]).await.ended(1).json();
    assert_eq!(kinds(&checkup), ["lost"], "{checkup:#}");
    let said = at.idem(&["stats"]).await.ended(1);
    assert!(said.err.contains("idem accept-loss"), "{said:?}");

    let why = ["accept-loss", "--why", "the file is gone too"];
    let asked = at.idem(&why).await.ended(2);
    assert!(
        asked.err.contains("it was emptied") && asked.err.contains("--yes"),
        "{asked:?}"
    );
    at.idem(&["accept-loss", "--yes"]).await.ended(2);
    let agreed = at.json(&[&why[..], &["--yes"]].concat()).await;
    assert_eq!(agreed["accepted"], true, "{agreed:#}");
    // What is gone runs again, and what comes is recorded.
    assert_eq!(idem.scope(place_order(small("A-2"))).await?, 200);
    at.idem(&["doctor"]).await.ended(0);
    let log = Service::from(&idem).audit(&PageQuery::default()).await?;
    let entry = &log.entries[0];
    assert_eq!(
        (&*entry.who, entry.what, &entry.outcome),
        ("ann", AuditAction::AcceptLoss, &Outcome::Done)
    );
    assert_eq!(
        entry.why.as_deref(),
        Some("it was emptied: the file is gone too")
    );
    idem.close().await?;

    let folder = At::folder(tempfile::tempdir()?.path());
    let said = folder.idem(&why).await.ended(2);
    assert!(said.err.contains("redis://"), "{said:?}");
    Ok(())
}
