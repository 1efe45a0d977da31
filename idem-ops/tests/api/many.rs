//! A hundred thousand letters.

use std::collections::HashSet;

use idem_ops::service::{GroupPage, LetterPage};

use crate::common::until;
use crate::place::Place;

const MANY: usize = 100_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_letters_are_scanned_once_and_paged_through() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open(folder.path()).await;
    place.bad_orders(MANY).await;
    // A new service has to scan. Meanwhile it answers from what it has read, and says that it is
    // not complete.
    let look = async || place.get("/api/v1/groups").await.json::<GroupPage>();
    let groups = until(look, |page| page.complete && page.open == MANY as u64).await;
    assert_eq!((groups.total, groups.groups[0].count), (1, MANY as u64));

    let (mut seen, mut path) = (HashSet::new(), "/api/v1/letters?limit=500".to_owned());
    for _ in 0..5 {
        let page: LetterPage = place.get(&path).await.json();
        assert_eq!(
            (page.letters.len(), page.total, page.complete),
            (500, MANY as u64, true)
        );
        assert!(page.letters.windows(2).all(|pair| pair[0].id > pair[1].id));
        assert!(
            page.letters.iter().all(|line| seen.insert(line.id)),
            "a letter is on two pages"
        );
        path = format!("/api/v1/letters?limit=500&after={}", page.next.unwrap());
    }
    // The oldest letter is found by its key, without reading the others.
    let page: LetterPage = place.get("/api/v1/letters?key=A-000000").await.json();
    assert_eq!((page.letters.len(), page.total, page.next), (1, 1, None));
    let oldest = page.letters[0].id;
    let page: LetterPage = place
        .get(&format!("/api/v1/letters?after={oldest}"))
        .await
        .json();
    assert!(page.next.is_none());
}
