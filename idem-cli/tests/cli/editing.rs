//! `idem dlq edit` with an editor: what it is given, and what becomes of what comes back.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::json;

use crate::served::Served;
use crate::support::{At, Said, ended, folder};

/// An editor that does this to the file `$1`.
fn editor(place: &tempfile::TempDir, script: &str) -> PathBuf {
    let path = place.path().join("editor with spaces.sh");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    path
}

pub(crate) async fn edit(at: &At, id: &str, script: &str) -> Said {
    let place = tempfile::tempdir().unwrap();
    let editor = format!(
        "'{}' --wait",
        editor(&place, &format!("shift\n{script}")).display()
    );
    let mut command = at.command(&["dlq", "edit", id, "--why", "a typo"]);
    ended(command.env("EDITOR", editor).env("TMPDIR", place.path())).await
}

#[tokio::test]
async fn what_the_editor_leaves_is_the_payload() {
    let (data, ids) = folder(1).await;
    let (at, id) = (At::folder(data.path()), ids[0].to_string());
    // Only its owner can read what may be personal.
    let said =
        edit(&at, &id, "stat -c %a \"$1\" > \"$TMPDIR/mode\"; grep -q 600 \"$TMPDIR/mode\" && sed -i 's/12/2/' \"$1\"")
            .await;
    assert!(said.well().out.contains("the next call brings its own"));
    assert_eq!(
        at.json(&["dlq", "show", &id]).await["letter"]["payload"]["order"]["qty"],
        2
    );
}

#[tokio::test]
async fn an_editor_that_says_no_changes_nothing() {
    let (data, ids) = folder(1).await;
    let (at, id) = (At::folder(data.path()), ids[0].to_string());
    let before = at.json(&["dlq", "show", &id]).await;
    let said = edit(&at, &id, "sed -i 's/12/2/' \"$1\"; exit 1")
        .await
        .ended(1);
    assert!(said.err.contains("nothing was changed"), "{said:?}");
    let said = edit(&at, &id, "true").await.ended(0);
    assert!(said.err.contains("as it was"), "{said:?}");
    let said = ended(
        at.command(&["dlq", "edit", &id, "--why", "x"])
            .env("EDITOR", "/no/such/editor"),
    )
    .await
    .ended(1);
    assert!(
        said.err.contains("cannot be started") && said.err.contains("EDITOR"),
        "{said:?}"
    );
    assert_eq!(at.json(&["dlq", "show", &id]).await, before);
}

#[tokio::test]
async fn what_is_no_payload_is_refused_and_kept() {
    let (data, ids) = folder(1).await;
    let (at, id) = (At::folder(data.path()), ids[0].to_string());
    for (text, why) in [
        ("{\"order\": ", "EOF"),
        ("[1]", "not an object"),
        ("", "EOF"),
    ] {
        let kept = tempfile::tempdir().unwrap();
        let editor = editor(&kept, &format!("printf '%s' '{text}' > \"$1\""));
        let mut command = at.command(&["dlq", "edit", &id, "--why", "x"]);
        let said = ended(
            command
                .env("VISUAL", format!("'{}'", editor.display()))
                .env("TMPDIR", kept.path()),
        )
        .await
        .ended(1);
        assert!(
            said.err.contains(why) && said.err.contains("nothing was changed"),
            "{said:?}"
        );
        let files: Vec<_> = fs::read_dir(kept.path())
            .unwrap()
            .map(|file| file.unwrap().path())
            .collect();
        let file = files
            .iter()
            .find(|file| file.extension().is_some_and(|e| e == "json"))
            .unwrap();
        assert_eq!(fs::read_to_string(file).unwrap(), text);
        assert!(said.err.contains(&file.display().to_string()), "{said:?}");

        let said = at
            .told(&["dlq", "edit", &id, "--payload", "-", "--why", "x"], text)
            .await
            .ended(2);
        assert!(said.err.contains(why), "{said:?}");
    }
    assert_eq!(
        at.json(&["dlq", "show", &id]).await["letter"]["history"],
        json!([])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_is_edited_and_run() {
    let served = Served::start(1).await;
    let (at, id) = (served.at(), served.ids[0].to_string());
    edit(&at, &id, "sed -i 's/12/2/' \"$1\"").await.well();
    let ran = at
        .idem(&["dlq", "redrive", &id, "--yes", "--why", "it fits now"])
        .await
        .well();
    assert_eq!(ran.out, "it ran, and its result is 200\n");
    let story = at.json(&["explain", "orders.place", "A-1"]).await;
    assert_eq!(
        (&story["now"]["state"], &story["now"]["result"]),
        (&json!("done"), &json!(200))
    );
    assert_eq!(at.json(&["dlq", "list"]).await["total"], 0);
}
