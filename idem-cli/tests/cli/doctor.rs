//! What is wrong with a folder, and what to do.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use idem_ops::alert::{Alert, AlertError, BoxFuture, Notice, Retry};
use idem_ops::monitor::{AlertState, Monitor};
use idem_runtime::Idem;
use serde_json::Value;

use crate::served::Served;
use crate::support::{At, bury, ended, folder, order};
use idem_test_support::within;

/// What it finds about a folder, beside the machine's own disk: that may be nearly full while a
/// test runs.
async fn doctor(path: &Path, code: i32) -> Value {
    let at = At::folder(path);
    let said = at.idem(&["doctor", "--json"]).await;
    let mut checkup = said.json();
    let findings = checkup["findings"].as_array_mut().unwrap();
    let all = findings.len();
    findings.retain(|finding| finding["kind"] != "nearly_full");
    let (nearly_full, nothing_else) = (findings.len() < all, findings.is_empty());
    if nearly_full && nothing_else {
        checkup["healthy"] = true.into();
    }
    let code = if nearly_full { code.max(1) } else { code };
    said.ended(code);
    // For people: nothing of it goes to the error output, and the place is named.
    let people = at.idem(&["doctor"]).await.ended(code);
    assert!(
        people.err.is_empty() && people.out.contains(&path.display().to_string()),
        "{people:?}"
    );
    checkup
}

#[track_caller]
fn finding<'a>(checkup: &'a Value, kind: &str) -> &'a Value {
    let findings = checkup["findings"].as_array().unwrap();
    let found = findings
        .iter()
        .find(|finding| finding["kind"] == kind)
        .unwrap_or_else(|| panic!("{checkup:#}"));
    assert!(
        !found["what"].as_str().unwrap().is_empty() && !found["fix"].as_str().unwrap().is_empty(),
        "{found}"
    );
    found
}

#[tokio::test]
async fn an_empty_ledger_is_healthy() {
    let place = tempfile::tempdir().unwrap();
    Idem::open(place.path()).unwrap().close().await.unwrap();
    let checkup = doctor(place.path(), 0).await;
    assert_eq!(checkup["healthy"], true, "{checkup:#}");
    assert_eq!(checkup["findings"], serde_json::json!([]));
    assert!(
        checkup["well"].as_array().unwrap().len() >= 4,
        "{checkup:#}"
    );
}

#[tokio::test]
async fn open_and_untold_letters_and_redrives_without_a_call_are_found() {
    let (data, ids) = folder(3).await;
    let checkup = doctor(data.path(), 1).await;
    assert!(
        finding(&checkup, "open_letters")["what"]
            .as_str()
            .unwrap()
            .starts_with("3 letters"),
        "{checkup:#}"
    );
    assert!(
        finding(&checkup, "untold_letters")["what"]
            .as_str()
            .unwrap()
            .contains("3 open letters"),
        "{checkup:#}"
    );

    let at = At::folder(data.path());
    at.idem(&[
        "dlq",
        "redrive",
        &ids[0].to_string(),
        "--yes",
        "--why",
        "a fix",
    ])
    .await
    .well();
    let checkup = doctor(data.path(), 1).await;
    let unsettled = finding(&checkup, "unsettled_redrives")["what"]
        .as_str()
        .unwrap();
    assert!(unsettled.contains("`A-1` of `orders.place`"), "{unsettled}");
    assert!(
        finding(&checkup, "untold_letters")["what"]
            .as_str()
            .unwrap()
            .contains("2 open letters"),
        "{checkup:#}"
    );

    // One key is called, and the rest is closed.
    let idem = Idem::open(data.path()).unwrap();
    let fine = crate::support::PlaceOrder {
        qty: 1,
        ..order("A-1", "")
    };
    assert_eq!(
        idem.scope(crate::support::place_order(fine)).await.unwrap(),
        100
    );
    idem.close().await.unwrap();
    let discard = ["dlq", "discard", "--all", "--yes", "--why", "old"];
    let said = at.idem(&discard).await.ended(0);
    let ahead = "2 letters at 1000 a second: less than a second\n";
    assert_eq!(said.err, ahead);
    doctor(data.path(), 0).await;
}

/// A channel that always fails.
struct Flat;

impl Alert for Flat {
    fn name(&self) -> &str {
        "pager"
    }

    fn send<'a>(&'a self, _: &'a Notice) -> BoxFuture<'a, Result<(), AlertError>> {
        Box::pin(async {
            Err(AlertError::new(
                "pager",
                "its battery is flat",
                Retry::Later,
                "charge it",
            ))
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_fails_is_found_in_a_service_and_in_a_folder() {
    let served = Served::start(3).await;
    let service = served.at();
    let checkup = service.idem(&["doctor", "--json"]).await.ended(1).json();
    assert!(
        finding(&checkup, "untold_letters")["what"]
            .as_str()
            .unwrap()
            .contains("3 open letters"),
        "{checkup:#}"
    );
    assert!(
        service
            .idem(&["stats"])
            .await
            .well()
            .out
            .contains("no channel was ever used; open letters in no notice: 3")
    );

    let watch = Monitor::new(&served.idem, "orders")
        .channel(Flat)
        .start()
        .unwrap();
    within(async {
        while AlertState::of(&served.idem)
            .await
            .unwrap()
            .failing()
            .next()
            .is_none()
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    watch.stop().await;
    let failing = |checkup: Value| {
        let found = finding(&checkup, "failing_channel");
        let what = found["what"].as_str().unwrap();
        assert!(
            what.contains("`pager`") && what.contains("its battery is flat; charge it"),
            "{what}"
        );
        assert!(what.contains("1 notice waits"), "{what}");
        let kinds = checkup["findings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|finding| finding["kind"].clone());
        assert_eq!(
            kinds.collect::<Vec<_>>(),
            ["open_letters", "failing_channel"]
        );
    };
    failing(service.idem(&["doctor", "--json"]).await.ended(1).json());
    assert!(
        service
            .idem(&["stats"])
            .await
            .well()
            .out
            .contains("Alerts        `pager` fails;")
    );
    assert_eq!(
        service.json(&["stats"]).await["alerts"]["channels"][0]["waiting"],
        1
    );
    served.idem.close().await.unwrap();
    failing(doctor(served.data.path(), 1).await);
}

#[tokio::test]
async fn a_held_folder_is_for_its_service_to_tell_of() {
    let (data, _) = folder(1).await;
    let idem = Idem::open(data.path()).unwrap();
    let checkup = doctor(data.path(), 3).await;
    let held = finding(&checkup, "held");
    assert!(
        held["what"]
            .as_str()
            .unwrap()
            .contains(&format!("process {}", std::process::id())),
        "{held}"
    );
    assert!(held["fix"].as_str().unwrap().contains("`--url`"), "{held}");
    for words in [
        &["dlq", "list"][..],
        &["stats"],
        &["explain", "orders.place", "A-1"],
        &["dlq", "export"],
    ] {
        let said = At::folder(data.path()).idem(words).await.ended(3);
        let holder = format!("process {}", std::process::id());
        assert!(
            said.err.contains(&holder) && said.err.contains("`--url`"),
            "{said:?}"
        );
        assert_eq!(said.out, "");
    }
    idem.close().await.unwrap();
    At::folder(data.path()).idem(&["dlq", "list"]).await.well();
}

#[tokio::test]
async fn lost_writes_are_found_and_nothing_is_made_worse() {
    let (data, _) = folder(20).await;
    let log = data.path().join("sled/db");
    let whole = fs::read(&log).unwrap();
    fs::remove_dir_all(data.path().join("sled")).unwrap();
    let checkup = doctor(data.path(), 1).await;
    assert!(
        finding(&checkup, "behind")["fix"]
            .as_str()
            .unwrap()
            .contains("from a copy"),
        "{checkup:#}"
    );

    fs::write(&log, &whole).unwrap();
    let mut bad = whole.clone();
    let middle = bad.len() / 2;
    bad[middle..].fill(0xff);
    fs::write(&log, &bad).unwrap();
    let checkup = doctor(data.path(), 1).await;
    let kinds: Vec<_> = checkup["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["kind"].clone())
        .collect();
    assert!(
        kinds.contains(&"damaged".into()) || kinds.contains(&"behind".into()),
        "{checkup:#}"
    );
}

#[tokio::test]
async fn a_ledger_without_its_witness_is_told_of_and_left_alone() {
    let (data, _) = folder(1).await;
    fs::remove_file(data.path().join("witness")).unwrap();
    let log = fs::read(data.path().join("sled/db")).unwrap();
    let checkup = doctor(data.path(), 1).await;
    assert!(
        finding(&checkup, "no_witness")["fix"]
            .as_str()
            .unwrap()
            .contains("on purpose"),
        "{checkup:#}"
    );
    assert!(
        !data.path().join("witness").exists(),
        "it decided for a person"
    );
    assert_eq!(fs::read(data.path().join("sled/db")).unwrap(), log);
}

#[tokio::test]
async fn what_is_no_ledger_is_found() {
    let place = tempfile::tempdir().unwrap();
    finding(&doctor(place.path(), 1).await, "not_a_ledger");
    fs::write(place.path().join("file"), "").unwrap();
    finding(&doctor(&place.path().join("file"), 1).await, "not_a_ledger");
    finding(
        &doctor(&place.path().join("missing"), 1).await,
        "not_a_ledger",
    );
    // The lock cannot be written: a folder has its name.
    fs::create_dir_all(place.path().join("sled")).unwrap();
    fs::create_dir_all(place.path().join("lock")).unwrap();
    let checkup = doctor(place.path(), 1).await;
    assert_eq!(checkup["healthy"], false, "{checkup:#}");
}

/// Somebody else may have prepared the folder: nothing is written through a link of theirs, and
/// nothing waits for their FIFO.
#[tokio::test]
async fn what_stands_in_place_of_a_file_is_named_by_all_commands() {
    for name in ["sled/db", "lock", "witness"] {
        for fifo in [false, true] {
            let (data, ids) = folder(1).await;
            let (place, elsewhere) = (data.path().join(name), data.path().join("elsewhere"));
            fs::rename(&place, &elsewhere).unwrap();
            let before = fs::read(&elsewhere).unwrap();
            if fifo {
                assert!(
                    Command::new("mkfifo")
                        .arg(&place)
                        .status()
                        .unwrap()
                        .success()
                );
            } else {
                std::os::unix::fs::symlink(&elsewhere, &place).unwrap();
            }
            let checkup = doctor(data.path(), 1).await;
            let what = finding(&checkup, "odd_file")["what"]
                .as_str()
                .unwrap()
                .to_owned();
            assert!(what.contains(place.to_str().unwrap()), "{what}");
            assert!(
                what.contains(if fifo { "a FIFO" } else { "a symbolic link" }),
                "{what}"
            );
            for words in [
                &["dlq", "list"][..],
                &["stats"],
                &["dlq", "show", &ids[0].to_string()],
            ] {
                let said = At::folder(data.path()).idem(words).await.ended(1);
                assert!(said.err.contains(place.to_str().unwrap()), "{said:?}");
            }
            let copy = data.path().join("copy");
            At::folder(data.path())
                .idem(&["backup", copy.to_str().unwrap()])
                .await
                .ended(1);
            assert!(!copy.exists());
            assert_eq!(fs::read(&elsewhere).unwrap(), before, "{name}");
        }
    }
}

#[tokio::test]
async fn a_folder_of_another_user_is_not_touched_by_root() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("only root can be asked not to");
        return;
    }
    let (data, _) = folder(1).await;
    std::os::unix::fs::chown(data.path(), Some(12345), None).unwrap();
    let checkup = doctor(data.path(), 1).await;
    assert!(
        finding(&checkup, "not_ours")["fix"]
            .as_str()
            .unwrap()
            .contains("sudo -u '#12345'"),
        "{checkup:#}"
    );
    At::folder(data.path())
        .idem(&["dlq", "list"])
        .await
        .ended(2);
    // Root without capabilities is a user like any other.
    fs::set_permissions(data.path(), PermissionsExt::from_mode(0o700)).unwrap();
    let mut powerless = tokio::process::Command::new("setpriv");
    powerless
        .args(["--bounding-set=-all", env!("CARGO_BIN_EXE_idem")])
        .args(["stats", "--data"])
        .arg(data.path());
    let said = ended(&mut powerless).await.ended(2);
    assert!(
        said.err
            .contains("belongs to user 12345, and cannot be read"),
        "{said:?}"
    );
}

#[tokio::test]
async fn a_disk_that_is_nearly_full_is_found() {
    let place = tempfile::tempdir().unwrap();
    let disk = place.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=32m", "none"])
        .arg(&disk)
        .stderr(Stdio::null())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("no small disk can be made here; the rule is tested beside its code");
        return;
    }
    let _mounted = Mounted(disk.clone());
    let data = disk.join("data");
    let idem = Idem::open(&data).unwrap();
    bury(&idem, [order("A-1", "out of stock")]).await;
    idem.close().await.unwrap();
    // `doctor` above leaves out what is looked for here.
    let checkup = At::folder(&data)
        .idem(&["doctor", "--json"])
        .await
        .ended(1)
        .json();
    assert!(
        finding(&checkup, "nearly_full")["what"]
            .as_str()
            .unwrap()
            .contains("32.00 MiB"),
        "{checkup:#}"
    );
}

struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
