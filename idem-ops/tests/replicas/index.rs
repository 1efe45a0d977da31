//! Lists and counts of replicas agree.

use std::time::Duration;

use idem_ops::service::{GroupPage, GroupQuery, LetterPage, LetterQuery, Service, StateFilter};
use serde_json::json;

use crate::{Shared, Stock, die, open};

const STATES: [StateFilter; 4] = [
    StateFilter::Open,
    StateFilter::Redriven,
    StateFilter::Discarded,
    StateFilter::Any,
];

/// All lists and counts of a service.
async fn shown(service: &Service) -> (Vec<LetterPage>, GroupPage) {
    let mut pages = Vec::new();
    for state in STATES {
        for key in [None, Some("A-001".to_owned())] {
            let query = LetterQuery {
                state,
                key,
                ..LetterQuery::default()
            };
            pages.push(service.letters(&query).await.unwrap());
        }
    }
    let groups = service.groups(&GroupQuery::default()).await.unwrap();
    (pages, groups)
}

#[tokio::test]
async fn changes_of_one_are_shown_by_the_other() {
    let shared = Shared::new();
    let (one, other) = (shared.process(), shared.process());
    let stock = Stock::new(100);
    stock.runs_on(&one);
    stock.runs_on(&other);
    let (here, there) = (Service::new(one.clone()), Service::new(other.clone()));
    die(&one, 0..6, "no stock").await;
    let before = shown(&there).await;
    assert_eq!(before, shown(&here).await);
    assert_eq!((before.1.open, before.1.complete), (6, true));
    let (ids, by) = (open(&one).await, here.by("ann"));

    // New letters, of both.
    die(&one, 6..8, "no stock").await;
    die(&other, 8..9, "another").await;
    assert_eq!(shown(&there).await, shown(&here).await);
    assert_eq!(shown(&there).await.1.total, 2);

    by.discard(&ids[0], "a test").await.unwrap();
    let now = shown(&there).await;
    assert_eq!(now, shown(&here).await);
    assert_eq!(now.1.open, 8);

    // The number of open letters is the same afterwards.
    by.discard(&ids[1], "a test").await.unwrap();
    by.restore(&ids[0], "a test").await.unwrap();
    let now = shown(&there).await;
    assert_eq!(now, shown(&here).await);
    let open_lines = &now.0[0].letters;
    assert!(open_lines.iter().any(|line| line.id == ids[0]));
    assert!(open_lines.iter().all(|line| line.id != ids[1]));

    by.run(&ids[2], "a test").await.unwrap();
    let payload = json!({ "order_no": "A-001" });
    by.edit(&ids[4], payload.into(), "a test").await.unwrap();
    there.by("bob").redrive(&ids[5], "a test").await.unwrap();
    let now = shown(&there).await;
    assert_eq!(now, shown(&here).await);
    assert_eq!((now.0[2].total, now.1.open), (2, 6));
}

#[tokio::test]
async fn changes_that_no_service_made_are_shown_too() {
    let shared = Shared::new();
    let (one, other) = (shared.process(), shared.process());
    let (here, there) = (Service::new(one.clone()), Service::new(other));
    die(&one, 0..6, "no stock").await;
    assert_eq!(shown(&there).await, shown(&here).await);
    let ids = open(&one).await;
    let letters = one.dead_letters();
    letters.discard(&ids[3], "a test").await.unwrap();
    let of_both = async || (shown(&there).await, shown(&here).await);
    let agree = |(there, here): &(_, (_, GroupPage))| there == here && here.1.open == 5;
    shared.until(Duration::ZERO, of_both, agree).await;

    // The count of open letters does not show these.
    letters.discard(&ids[4], "a test").await.unwrap();
    letters.restore(&ids[3], "a test").await.unwrap();
    let fits = |((pages, _), _): &((Vec<LetterPage>, _), _)| {
        let open = &pages[0].letters;
        open.iter().any(|line| line.id == ids[3]) && open.iter().all(|line| line.id != ids[4])
    };
    let seen = shared
        .until(Duration::from_secs(60), of_both, |seen| {
            fits(seen) && agree(seen)
        })
        .await;
    assert_eq!(seen.0.1.open, 5);
}
