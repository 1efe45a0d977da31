//! More letters than the index holds: every read ends, and leaves none out without a word.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::served::Served;

const LETTERS: usize = 12;
/// As many as the index holds.
const HELD: usize = 3;

fn keys<'a>(letters: impl IntoIterator<Item = &'a Value>) -> Vec<String> {
    letters
        .into_iter()
        .map(|letter| letter["key"].as_str().unwrap().to_owned())
        .collect()
}

fn all() -> Vec<String> {
    (1..=LETTERS)
        .rev()
        .map(|number| format!("A-{number}"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_letter_is_listed_and_exported_though_the_index_is_full() {
    let served = Served::indexing(LETTERS, HELD).await;
    let at = served.at();
    let list = at.json(&["dlq", "list", "--limit", "50"]).await;
    assert_eq!(keys(list["letters"].as_array().unwrap()), all());
    // The ledger keeps the number of the open ones.
    assert_eq!(
        (&list["total"], &list["at_least"], &list["next"]),
        (&LETTERS.into(), &false.into(), &Value::Null)
    );
    // Page by page, across the index's end.
    let (mut seen, mut after) = (Vec::new(), None::<String>);
    loop {
        let mut words = vec!["dlq", "list", "--limit", "2"];
        words.extend(after.iter().flat_map(|after| ["--after", after]));
        let page = at.json(&words).await;
        seen.extend(keys(page["letters"].as_array().unwrap()));
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(seen, all());
    // One that only the ledger knows, by its key.
    let one = at.json(&["dlq", "list", "--key", "A-2"]).await;
    assert_eq!(
        (keys(one["letters"].as_array().unwrap()), &one["at_least"]),
        (vec!["A-2".to_owned()], &true.into())
    );
    let export = at.idem(&["dlq", "export"]).await.well().out;
    let lines: Vec<Value> = export
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(keys(&lines), all());
    let groups = at.idem(&["dlq", "list", "--groups"]).await.well().out;
    assert!(
        groups.contains("older letters than the index holds are not counted"),
        "{groups}"
    );
    let story = at.json(&["explain", "orders.place", "A-2"]).await;
    assert_eq!(
        (
            story["letters"].as_array().unwrap().len(),
            &story["at_least"]
        ),
        (1, &true.into()),
        "{story:#}"
    );
    // It finds open letters, and ends.
    let doctor = at.idem(&["doctor"]).await.ended(1).out;
    assert!(doctor.contains("12 letters are open"), "{doctor}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_job_takes_the_letters_that_the_index_does_not_hold() {
    let served = Served::indexing(LETTERS, HELD).await;
    let at = served.at();
    let one_kind = [
        "dlq",
        "discard",
        "--handler",
        "orders.place",
        "--group",
        "out of stock",
    ];
    let said = at
        .idem(
            &[
                &one_kind[..],
                &["--rate", "900", "--yes", "--why", "a test", "--json"],
            ]
            .concat(),
        )
        .await;
    let bulk = said.ended(0).json();
    assert!(
        said.err
            .contains("letters at 900 a second: less than a second"),
        "{}",
        said.err
    );
    assert_eq!(
        (&bulk["state"], &bulk["done"], &bulk["total"]),
        (&"finished".into(), &6.into(), &6.into()),
        "{bulk:#}"
    );
    let left = at.json(&["dlq", "list"]).await;
    let even: Vec<_> = all().into_iter().step_by(2).collect();
    assert_eq!(keys(left["letters"].as_array().unwrap()), even);
    // What is history is found there too.
    let history = at.json(&["dlq", "list", "--state", "discarded"]).await;
    let history: BTreeSet<_> = keys(history["letters"].as_array().unwrap())
        .into_iter()
        .collect();
    assert_eq!(history.len(), 6, "{history:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_has_room_again_holds_what_is_older() {
    let served = Served::indexing(2, 4).await;
    let at = served.at();
    served.bury(3..=9).await;
    assert_eq!(
        keys(
            at.json(&["dlq", "list"]).await["letters"]
                .as_array()
                .unwrap()
        )
        .len(),
        9
    );
    let groups = at.json(&["dlq", "list", "--groups"]).await;
    assert_eq!(
        (&groups["open"], &groups["at_least"]),
        (&4.into(), &true.into()),
        "{groups:#}"
    );
}
