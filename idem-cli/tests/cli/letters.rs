//! Every command on a folder and on a running service; both answer alike.

use std::collections::BTreeSet;

use idem_runtime::{DeadLetterId, Filter, Idem, LetterState};
use serde_json::{Value, json};

use crate::served::Served;
use crate::support::{At, folder, order, place_order};

/// Both places, with the same five letters.
async fn both() -> Vec<(At, Vec<DeadLetterId>, Box<dyn std::any::Any>)> {
    let (data, ids) = folder(5).await;
    let served = Served::start(5).await;
    vec![
        (At::folder(data.path()), ids, Box::new(data)),
        (served.at(), served.ids.clone(), Box::new(served)),
    ]
}

fn ids_in(page: &Value) -> Vec<String> {
    page["letters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| letter["id"].as_str().unwrap().to_owned())
        .collect()
}

fn texts(ids: &[DeadLetterId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_listed_newest_first_and_by_page() {
    for (at, ids, _alive) in both().await {
        let newest_first: Vec<_> = texts(&ids).into_iter().rev().collect();
        let page = at.json(&["dlq", "list"]).await;
        assert_eq!(ids_in(&page), newest_first, "{at:?}");
        assert_eq!((&page["total"], &page["next"]), (&json!(5), &Value::Null));
        let first = at.json(&["dlq", "list", "--limit", "2"]).await;
        assert_eq!(ids_in(&first), newest_first[..2]);
        let after = first["next"].as_str().unwrap();
        let second = at
            .json(&["dlq", "list", "--limit", "2", "--after", after])
            .await;
        assert_eq!(ids_in(&second), newest_first[2..4]);
        assert_eq!(
            ids_in(&at.json(&["dlq", "list", "--key", "A-3"]).await),
            [ids[2].to_string()]
        );
        assert_eq!(
            at.json(&["dlq", "list", "--handler", "other"]).await["total"],
            0
        );
        let people = at.idem(&["dlq", "list"]).await.well().out;
        for id in &newest_first {
            assert!(
                people
                    .lines()
                    .any(|row| row.contains(id) && row.contains("orders.place")),
                "{people}"
            );
        }
        assert!(
            people.contains("5 open letters") && !people.contains('\u{1b}'),
            "{people}"
        );
        assert_eq!(
            at.idem(&["dlq", "list", "--state", "discarded"])
                .await
                .well()
                .out,
            "no discarded letters\n"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_count_letters_by_their_kind_of_error() {
    for (at, _, _alive) in both().await {
        let page = at.json(&["dlq", "list", "--groups"]).await;
        let groups: BTreeSet<_> = page["groups"]
            .as_array()
            .unwrap()
            .iter()
            .map(|g| (g["error"].as_str().unwrap(), g["count"].as_u64().unwrap()))
            .collect();
        assert_eq!(
            groups,
            BTreeSet::from([("out of stock", 3), ("no such sku", 2)]),
            "{at:?}"
        );
        let people = at.idem(&["dlq", "list", "--groups"]).await.well().out;
        assert!(
            people.contains("no such sku") && people.contains("5 open letters in 2 groups"),
            "{people}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_letter_is_shown_in_full() {
    for (at, ids, _alive) in both().await {
        let id = ids[0].to_string();
        let letter = at.json(&["dlq", "show", &id]).await["letter"].clone();
        assert_eq!(letter["payload"]["order"]["order_no"], "A-1", "{at:?}");
        assert_eq!(letter["attempts"].as_array().unwrap().len(), 2);
        let people = at.idem(&["dlq", "show", &id]).await.well().out;
        for part in [
            &*id,
            "orders.place",
            "A-1",
            "no attempts left",
            "\"qty\": 12",
            "out of stock",
            "failed",
        ] {
            assert!(people.contains(part), "{part}: {people}");
        }
        let unknown = "0190a0b0-0000-7000-8000-000000000000";
        let said = at.idem(&["dlq", "show", unknown]).await.ended(1);
        assert!(
            said.err.contains(unknown) && said.out.is_empty(),
            "{said:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_a_discard_and_a_restore_stand_in_the_history() {
    for (at, ids, _alive) in both().await {
        let id = ids[0].to_string();
        let payload = json!({ "order": { "order_no": "A-1", "qty": 2, "note": "" } });
        at.told(
            &["dlq", "edit", &id, "--payload", "-", "--why", "a typo"],
            &payload.to_string(),
        )
        .await
        .well();
        at.idem(&["dlq", "discard", &id, "--why", "no use", "--yes"])
            .await
            .well();
        assert_eq!(
            ids_in(&at.json(&["dlq", "list", "--state", "discarded"]).await),
            std::slice::from_ref(&id),
            "{at:?}"
        );
        let again = at
            .idem(&["dlq", "discard", &id, "--why", "no use", "--yes", "--json"])
            .await
            .ended(1);
        assert!(again.err.contains(&id) && again.out.is_empty(), "{again:?}");
        at.idem(&["dlq", "restore", &id, "--why", "a mistake"])
            .await
            .well();
        let letter = at.json(&["dlq", "show", &id]).await["letter"].clone();
        assert_eq!(
            (&letter["payload"], &letter["state"]),
            (&payload, &json!("open"))
        );
        let reasons: Vec<_> = letter["history"]
            .as_array()
            .unwrap()
            .iter()
            .map(|act| act["by"]["why"].clone())
            .collect();
        assert_eq!(reasons, ["a typo", "no use", "a mistake"]);
        if let At::Folder(_) = at {
            assert!(
                letter["history"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|act| act["by"]["who"] == "ann"),
                "{letter:#}"
            );
        }
        let people = at.idem(&["dlq", "show", &id]).await.well().out;
        assert!(
            people.contains("History") && people.contains("\"qty\":12"),
            "what it was before: {people}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selection_is_discarded_and_the_rest_stays() {
    for (at, _, _alive) in both().await {
        let words = [
            "dlq",
            "discard",
            "--handler",
            "orders.place",
            "--group",
            "no such sku",
            "--why",
            "gone",
            "--yes",
        ];
        let changed = at.json(&words).await;
        let end = (&changed["state"], &changed["total"], &changed["done"]);
        assert_eq!(
            end,
            (&json!("finished"), &json!(2), &json!(2)),
            "{at:?}: {changed}"
        );
        let closed = at.json(&["dlq", "list", "--state", "discarded"]).await;
        let letter = at.json(&["dlq", "show", &ids_in(&closed)[0]]).await["letter"].clone();
        assert_eq!(letter["history"][0]["by"]["why"], "gone");
        assert_eq!(at.json(&["dlq", "list"]).await["total"], 3);
        let none = at.idem(&words).await.well();
        assert!(
            none.out
                .contains("0 open letters of `orders.place` with `no such sku`"),
            "{none:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn export_is_one_letter_a_line() {
    for (at, ids, _alive) in both().await {
        let said = at.idem(&["dlq", "export"]).await.well();
        let letters: Vec<Value> = said
            .out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let found: Vec<_> = letters
            .iter()
            .map(|letter| letter["id"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(
            found,
            texts(&ids).into_iter().rev().collect::<Vec<_>>(),
            "{at:?}"
        );
        assert!(
            letters
                .iter()
                .all(|letter| letter["payload"]["order"]["qty"] == 12
                    && letter["attempts"][0]["error"].is_string())
        );
        assert_eq!(
            at.idem(&["dlq", "export", "--handler", "other"])
                .await
                .well()
                .out,
            ""
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_s_story_and_the_figures_are_told() {
    for (at, ids, _alive) in both().await {
        let story = at.json(&["explain", "orders.place", "A-2"]).await;
        assert_eq!(
            (&story["now"]["state"], &story["now"]["letter"]),
            (&json!("dead"), &json!(ids[1].to_string())),
            "{at:?}"
        );
        let people = at
            .idem(&["explain", "orders.place", "A-2"])
            .await
            .well()
            .out;
        assert!(
            people.contains("waits for a person") && people.contains("failed: no such sku"),
            "{people}"
        );
        let nothing = at
            .idem(&["explain", "orders.place", "never"])
            .await
            .well()
            .out;
        assert!(nothing.contains("nothing is known"), "{nothing}");
        let stats = at.json(&["stats"]).await;
        assert_eq!(
            (&stats["open"], &stats["groups"]),
            (&json!(5), &json!(2)),
            "{at:?}"
        );
        let people = at.idem(&["stats"]).await.well().out;
        assert!(people.contains("5 in 2 groups"), "{people}");
    }
}

#[tokio::test]
async fn a_redrive_on_a_folder_rearms_and_the_next_call_runs() {
    let (data, ids) = folder(5).await;
    let at = At::folder(data.path());
    let one = at
        .idem(&[
            "dlq",
            "redrive",
            &ids[0].to_string(),
            "--yes",
            "--why",
            "a fix",
        ])
        .await
        .well();
    assert!(one.out.contains("re-armed"), "{one:?}");
    let shown = at
        .idem(&["dlq", "show", &ids[0].to_string()])
        .await
        .well()
        .out;
    let history = shown.split("History").nth(1).unwrap();
    assert!(
        history.contains("redriven") && history.contains("a fix"),
        "{shown}"
    );
    let rest = at
        .json(&[
            "dlq", "redrive", "--all", "--rate", "1000", "--yes", "--why", "a fix",
        ])
        .await;
    assert_eq!(
        (&rest["state"], &rest["total"], &rest["done"]),
        (&json!("finished"), &json!(4), &json!(4)),
        "{rest:#}"
    );
    assert_eq!(
        at.json(&["dlq", "bulk"]).await["bulks"][0]["id"],
        rest["id"]
    );
    let idem = Idem::open(data.path()).unwrap();
    let redriven = idem
        .dead_letters()
        .list(&Filter::default().state(LetterState::Redriven))
        .await
        .unwrap();
    assert_eq!(redriven.len(), 5);
    let fine = crate::support::PlaceOrder {
        qty: 3,
        ..order("A-1", "")
    };
    assert_eq!(idem.scope(place_order(fine)).await.unwrap(), 300);
    idem.close().await.unwrap();
}
