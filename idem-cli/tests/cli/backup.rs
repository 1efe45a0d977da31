//! Backups of a folder and of a running service, and their restoring.

use std::fs;
use std::process::Stdio;

use idem_ops::Auth;
use idem_ops::service::Service;
use idem_runtime::{Filter, Idem};

use crate::served::Served;
use crate::support::{At, folder, idem, token};

#[tokio::test]
async fn a_backup_of_a_folder_has_its_letters_and_is_restored_where_nothing_is() {
    let (data, ids) = folder(3).await;
    let (at, place) = (At::folder(data.path()), tempfile::tempdir().unwrap());
    let backup = place.path().join("backups/today");
    let to = backup.to_str().unwrap();
    let said = at.idem(&["backup", to]).await.well();
    assert!(
        said.out.contains("whole copy") && said.out.contains(to),
        "{said:?}"
    );
    let again = at.idem(&["backup", to]).await.ended(1);
    assert!(again.err.contains("it is not empty"), "{again:?}");

    let restored = place.path().join("data");
    let new = At::folder(&restored);
    let said = new.idem(&["restore", to]).await.well();
    let from = format!("copied from {} at ", data.path().display());
    for words in [&*from, "may run again", "the file `copied`"] {
        assert!(said.out.contains(words), "{words}: {said:?}");
    }
    let listed = new.json(&["dlq", "list"]).await;
    for id in ids {
        assert!(
            listed.to_string().contains(&id.to_string()),
            "{id}: {listed:#}"
        );
    }
    let checkup = new.idem(&["doctor"]).await;
    assert!(
        checkup.out.contains("it is a copy from"),
        "the findings are letters: {checkup:?}"
    );
    let again = new.idem(&["restore", to]).await.ended(2);
    assert!(again.err.contains("is not empty"), "{again:?}");
}

#[tokio::test]
async fn what_is_no_whole_backup_is_not_restored() {
    let (data, _) = folder(1).await;
    let place = tempfile::tempdir().unwrap();
    let restored = place.path().join("data");
    let new = At::folder(&restored);
    let said = new.idem(&["restore", data.path().to_str().unwrap()]).await;
    assert!(said.ended(2).err.contains("is no backup"));

    let backup = place.path().join("backup");
    let to = backup.to_str().unwrap();
    At::folder(data.path()).idem(&["backup", to]).await.well();
    let inside = backup.join("sled/deeper");
    let said = At::folder(&inside).idem(&["restore", to]).await.ended(2);
    assert!(said.err.contains("inside the backup"), "{said:?}");
    assert!(!inside.exists());

    let (log, witness) = (backup.join("sled/db"), backup.join("witness"));
    let whole = fs::read(&log).unwrap();
    fs::write(&log, "").unwrap();
    let said = new.idem(&["restore", to]).await.ended(1);
    assert!(
        said.err
            .contains(&format!("the backup `{to}` is not whole"))
    );
    assert!(!restored.exists(), "nothing of it is left");

    // A copy of the backup that was cut off. With a part of the log, or none, it would look like a ledger.
    fs::remove_file(witness).unwrap();
    for log_is in [&*whole, &whole[..whole.len() / 2], &[]] {
        fs::write(&log, log_is).unwrap();
        let said = new.idem(&["restore", to]).await.ended(1);
        assert!(
            said.err.contains("the file `witness` is missing"),
            "{said:?}"
        );
        let checkup = At::folder(&backup).idem(&["doctor"]).await.ended(1);
        assert!(checkup.out.contains("`witness` is missing"), "{checkup:?}");
    }
    assert!(!restored.exists(), "nothing of it is left");
}

#[tokio::test]
async fn a_service_refuses_what_a_killed_restore_has_left() {
    let (data, ids) = folder(3).await;
    let place = tempfile::tempdir().unwrap();
    let backup = place.path().join("backup");
    let from = backup.to_str().unwrap();
    At::folder(data.path()).idem(&["backup", from]).await.well();
    for number in 0..20 {
        let to = place.path().join(number.to_string());
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_idem"));
        command.args(["restore", from, "--data"]).arg(&to);
        let mut restore = command.stdout(Stdio::null()).spawn().unwrap();
        while !to.join("sled").exists() && restore.try_wait().unwrap().is_none() {
            std::hint::spin_loop();
        }
        let _ = restore.kill();
        restore.wait().unwrap();
        if let Ok(idem) = Idem::open(&to) {
            let letters = idem.dead_letters().list(&Filter::default()).await.unwrap();
            assert_eq!(letters.len(), ids.len(), "it goes on with a part");
            idem.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_service_makes_its_backup_while_it_works() {
    let (data, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let open = Idem::open(data.path()).unwrap();
    let service = Service::new(open.clone()).backups_in(place.path());
    let router = idem_ops::dashboard(service, Auth::token(token()));
    let router = axum::Router::new().nest("/ops", router);
    let served = Served::at_router(data, open, Vec::new(), router).await;
    served.bury(1..=2).await;
    let made = served.at().json(&["backup"]).await;
    let copy = made["copy"].as_str().unwrap();
    assert!(copy.starts_with(place.path().to_str().unwrap()), "{made}");
    served.bury(3..=3).await;
    let stats = At::folder(copy.as_ref()).json(&["stats"]).await;
    assert_eq!(stats["open"], 2);
    let elsewhere = served.at().idem(&["backup", "/elsewhere"]).await.ended(2);
    assert!(elsewhere.err.contains("leave DIR out"), "{elsewhere:?}");
}

#[tokio::test]
async fn a_place_that_makes_no_backups_says_why() {
    let served = Served::start(1).await;
    let none = served.at().idem(&["backup"]).await.ended(1);
    assert!(none.err.contains("`Service::backups_in`"), "{none:?}");
    let folder = At::folder(served.data.path()).idem(&["backup"]).await;
    assert!(folder.ended(2).err.contains("name the copy's folder"));
    let database = At::Shared("postgres://127.0.0.1:1/none".to_owned());
    let database = database.idem(&["backup"]).await.ended(2);
    assert!(database.err.contains("its own tools"), "{database:?}");
    let service = idem(&["--url", "http://127.0.0.1:1", "restore", "/backup"]).await;
    assert!(service.ended(2).err.contains("`--data`"));
}
