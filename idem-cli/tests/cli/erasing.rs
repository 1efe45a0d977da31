//! `idem erase`, on a folder and on a running service.

use crate::served::Served;
use crate::support::{At, folder};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_erased_and_what_is_not_reached_is_said() {
    let (data, ids) = folder(2).await;
    let served = Served::start(2).await;
    for (at, ids) in [
        (At::folder(data.path()), ids),
        (served.at(), served.ids.clone()),
    ] {
        let erase = ["erase", "orders.place", "A-1", "--why", "request 17"];
        let asked = at.idem(&erase).await.ended(2);
        assert!(
            asked.err.contains("--yes") && asked.err.contains("A-1"),
            "{asked:?}"
        );
        let said = at.idem(&[&erase[..], &["--yes"]].concat()).await.well();
        assert!(
            said.out
                .starts_with("erased of orders.place, key A-1: 1 letter\n"),
            "{said:?}"
        );
        for place in ["backups", "broker", "vacuum"] {
            assert!(said.out.contains(place), "{said:?}");
        }
        let shown = at
            .idem(&["dlq", "show", &ids[0].to_string()])
            .await
            .well()
            .out;
        assert!(
            shown.contains("erased") && !shown.contains("out of stock"),
            "{shown}"
        );
        let story = at
            .idem(&["explain", "orders.place", "A-1"])
            .await
            .well()
            .out;
        assert!(story.contains("content erased"), "{story}");
        let again = at
            .json(&["erase", "orders.place", "A-1", "--why", "x", "--yes"])
            .await;
        assert_eq!(
            (&again["letters"], &again["result"]),
            (&serde_json::json!([]), &false.into())
        );
    }
}
