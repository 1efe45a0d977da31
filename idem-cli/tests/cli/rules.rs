//! `idem dlq rule`, on a folder and on a running service.

use serde_json::json;

use crate::served::Served;
use crate::support::{At, folder};

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_is_set_listed_and_removed() {
    let (data, _) = folder(1).await;
    let served = Served::start(1).await;
    for at in [At::folder(data.path()), served.at()] {
        let none = at.idem(&["dlq", "rule", "list"]).await.well();
        assert_eq!(none.out, "no redrive rules\n");
        let set = [
            "dlq",
            "rule",
            "set",
            "bank",
            "--error",
            "connection refused",
            "--every",
            "1h",
            "--times",
            "3",
            "--until",
            "2126-12-04T18:00:00Z",
            "--why",
            "their new server",
        ];
        let said = at.idem(&set).await.well();
        assert!(said.out.starts_with("rule bank is set"), "{said:?}");
        let rules = at.json(&["dlq", "rule", "list"]).await;
        assert_eq!(
            rules[0]["rule"],
            json!({
                "name": "bank", "error": "connection refused", "action": "run", "every": "1h",
                "times": 3, "until": "2126-12-04T18:00:00Z", "at_most": 100,
            })
        );
        assert_eq!(rules[0]["why"], "their new server");
        let shown = at.idem(&["dlq", "rule", "list"]).await.well().out;
        assert!(
            shown.contains("connection refused") && shown.contains("0 of 100"),
            "{shown}"
        );
        let remove = ["dlq", "rule", "remove", "bank", "--why", "mended"];
        at.idem(&remove).await.well();
        let gone = at.idem(&remove).await.ended(1);
        assert!(gone.err.contains("`bank` does not exist"), "{gone:?}");
        for wrong in [
            &[
                "dlq", "rule", "set", "bank", "--every", "1h", "--times", "3", "--why", "x",
            ][..],
            &[
                "dlq", "rule", "set", "a/b", "--error", "x", "--every", "1h", "--times", "3",
            ],
            &[
                "dlq", "rule", "set", "b", "--error", "x", "--every", "often", "--times", "3",
            ],
            &["dlq", "rule", "remove", "../letters", "--why", "x"],
        ] {
            at.idem(wrong).await.ended(2);
        }
    }
}
