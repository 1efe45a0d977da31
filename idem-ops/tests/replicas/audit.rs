//! The audit log that replicas share.

use std::time::Duration;

use idem_ops::service::{AuditEntry, Outcome, PageQuery, Service};
use idem_runtime::testing::ManualClock;

use crate::{Shared, die, open};

async fn log(service: &Service) -> Vec<AuditEntry> {
    let (mut entries, mut query) = (Vec::new(), PageQuery::default());
    query.limit = Some(7);
    loop {
        let page = service.audit(&query).await.unwrap();
        entries.extend(page.entries);
        query.after = page.next;
        if page.next.is_none() {
            return entries;
        }
    }
}

#[tokio::test]
async fn each_shows_what_the_others_did_in_the_order_of_the_actions_whatever_their_clocks_say() {
    let (shared, late) = (Shared::new(), ManualClock::default());
    shared.clock.advance(Duration::from_secs(5 * 60 * 60));
    let (one, other) = (shared.process(), shared.process_at(&late));
    let (here, there) = (Service::new(one.clone()), Service::new(other));
    die(&one, 0..20, "no stock").await;
    let ids = open(&one).await;
    assert!(log(&here).await.is_empty() && log(&there).await.is_empty());
    for (at, id) in ids.iter().enumerate() {
        let (service, who) = [(&here, "ann"), (&there, "bob")][at % 2];
        service.by(who).discard(id, "a test").await.unwrap();
    }
    let all = log(&there).await;
    assert_eq!(all, log(&here).await);
    let acted: Vec<_> = all
        .iter()
        .rev()
        .map(|entry| entry.letter.unwrap())
        .collect();
    assert_eq!(acted, ids);
    assert!(all.iter().all(|entry| entry.outcome == Outcome::Done));
    assert!(all.windows(2).all(|pair| pair[0].id > pair[1].id));
}

#[tokio::test]
async fn entries_that_are_written_at_the_same_time_are_all_there() {
    let shared = Shared::new();
    let one = shared.slow_process();
    let services = [
        Service::new(one.clone()),
        Service::new(shared.slow_process()),
    ];
    die(&one, 0..40, "no stock").await;
    let ids = open(&one).await;
    let acts = ids.iter().enumerate().map(|(at, id)| {
        let (by, id) = (services[at % 2].by("ann"), *id);
        tokio::spawn(async move { by.discard(&id, "a test").await.map(drop) })
    });
    for act in acts.collect::<Vec<_>>() {
        act.await.unwrap().unwrap();
    }
    let all = log(&services[0]).await;
    assert_eq!(all.len(), 40);
    assert_eq!(all, log(&services[1]).await);
}

#[tokio::test]
async fn entries_that_another_replica_removed_are_gone_here_too() {
    let shared = Shared::new();
    let one = shared.process();
    // It removes nothing itself.
    let (here, there) = (
        Service::new(one.clone()),
        Service::read_only(shared.process()),
    );
    die(&one, 0..10, "no stock").await;
    let ids = open(&one).await;
    let by = here.by("ann");
    for id in &ids[..8] {
        by.discard(id, "a test").await.unwrap();
    }
    assert_eq!(log(&there).await.len(), 8);
    shared.clock.advance(Duration::from_secs(91 * 24 * 60 * 60));
    for id in &ids[8..] {
        by.discard(id, "a test").await.unwrap();
    }
    let step = Duration::from_secs(5);
    let left = shared
        .until(step, async || log(&there).await, |log| log.len() <= 2)
        .await;
    assert_eq!(left.len(), 2);
    // A page has no holes.
    let page = PageQuery {
        limit: Some(2),
        ..PageQuery::default()
    };
    let page = shared
        .until(
            step,
            async || there.audit(&page).await.unwrap(),
            |page| page.next.is_none(),
        )
        .await;
    assert_eq!(page.entries, left);
}
