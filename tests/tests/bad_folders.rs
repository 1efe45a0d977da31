//! Folders that are held, unreadable, damaged or full: each is a distinct error that says what to
//! do.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use idem_runtime::{Error, Idem, idempotent, ledger::LedgerError};

type Damage<'a> = &'a dyn Fn(&File);

#[idempotent(name = "folders.double", key = "number")]
async fn double(number: u32) -> Result<u32, Error> {
    Ok(number * 2)
}

/// Makes a ledger that acknowledged `count` calls and was closed.
async fn filled(folder: &Path, count: u32) {
    let idem = Idem::open(folder).unwrap();
    let calls = (0..count).map(|number| idem.scope(double(number)));
    futures_util::future::try_join_all(calls).await.unwrap();
    idem.close().await.unwrap();
}

fn trouble(folder: &Path) -> LedgerError {
    match Idem::open(folder) {
        Err(Error::Ledger {
            source: problem, ..
        }) => problem,
        other => panic!("expected trouble with the ledger, got {other:?}"),
    }
}

/// Checks that the ledger is either refused or whole.
async fn refused_or_whole(folder: &Path, count: u32) {
    match Idem::open(folder) {
        Err(Error::Ledger {
            source: LedgerError::Behind { .. } | LedgerError::Damaged { .. },
            ..
        }) => {}
        Err(other) => panic!("not an error of damage: {other}"),
        Ok(idem) => {
            for number in 0..count {
                let id =
                    idem_runtime::protocol::RecordId::new("folders.double", number.to_string());
                match idem.record(&id).await {
                    Ok(Some(_)) => {}
                    // Found while reading: refused then.
                    Err(_) => return,
                    Ok(None) => panic!("number {number} was lost without a word"),
                }
            }
        }
    }
}

/// Starts another process that opens the folder.
fn holder(folder: &Path) -> Child {
    let mut holder = Command::new(env!("CARGO_BIN_EXE_victim"))
        .arg("hold")
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "open\n");
    holder
}

/// Returns a folder's files with their bytes.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    all
}

#[tokio::test]
async fn a_folder_whose_lock_file_was_removed_is_still_its_holders() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 20).await;
    let mut holder = holder(folder.path());
    let lock = folder.path().join("lock");
    fs::remove_file(&lock).unwrap();
    // What an opening would remove as left over.
    fs::write(
        folder.path().join("sled/snap.0000000000000001.generating"),
        "not finished",
    )
    .unwrap();
    let before = files(folder.path());
    for _ in 0..3 {
        let error = trouble(folder.path());
        let by_holder = |by| by == Some(holder.id());
        assert!(
            matches!(error, LedgerError::Held { by, lock_removed: true, .. } if by_holder(by)),
            "{error:?}"
        );
        assert!(
            error
                .to_string()
                .contains("though the file `lock` in it was removed"),
            "{error}"
        );
    }
    let mut after = files(folder.path());
    after.remove(&lock);
    assert!(before == after, "something was written");
    holder.kill().unwrap();
    holder.wait().unwrap();
    Idem::open(folder.path()).unwrap();
}

#[tokio::test]
async fn a_folder_that_another_process_holds_is_refused_and_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut holder = holder(folder.path());
    let error = trouble(folder.path());
    assert!(
        matches!(error, LedgerError::Held { by: Some(by), .. } if by == holder.id()),
        "{error}"
    );
    assert!(error.to_string().contains("stop the other one"), "{error}");
    // A holder that was killed holds nothing.
    holder.kill().unwrap();
    holder.wait().unwrap();
    Idem::open(folder.path()).unwrap();
}

#[tokio::test]
async fn the_same_process_cannot_open_a_folder_twice_and_can_after_closing() {
    let folder = tempfile::tempdir().unwrap();
    let idem = Idem::open(folder.path()).unwrap();
    assert!(matches!(trouble(folder.path()), LedgerError::Held { .. }));
    idem.close().await.unwrap();
    let again = Idem::open(folder.path()).unwrap();
    assert!(
        matches!(idem.scope(double(1)).await, Err(Error::Closed { key: Some(key), .. }) if key == "1")
    );
    drop(again);
    Idem::open(folder.path()).unwrap();
}

#[test]
fn a_folder_that_cannot_be_made_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    File::create(folder.path().join("file")).unwrap();
    for path in [
        folder.path().join("file"),
        folder.path().join("file/data"),
        "/proc/idem".into(),
    ] {
        let error = trouble(&path);
        assert!(
            matches!(
                error,
                LedgerError::NotWritable { .. } | LedgerError::Io { .. }
            ),
            "{path:?}: {error:?}"
        );
        assert!(
            error.to_string().contains(&path.display().to_string()),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_log_that_is_gone_cut_or_overwritten_is_never_a_smaller_ledger() {
    let whole = tempfile::tempdir().unwrap();
    filled(whole.path(), 3000).await;
    let size = fs::metadata(whole.path().join("sled/db")).unwrap().len();
    assert!(size > 300_000, "{size} bytes are too few to damage");
    let damage: [(&str, Damage); 6] = [
        ("cut in half", &|db| db.set_len(size / 2).unwrap()),
        ("100 bytes cut off", &|db| db.set_len(size - 100).unwrap()),
        ("emptied", &|db| db.set_len(0).unwrap()),
        ("two bytes flipped near the end", &|db| {
            db.write_all_at(&[0xff, 0xff], size - 5000).unwrap();
        }),
        ("four bytes flipped in the middle", &|db| {
            db.write_all_at(&[0xff; 4], size / 2).unwrap();
        }),
        ("a zeroed page", &|db| {
            db.write_all_at(&[0; 4096], size / 3 / 4096 * 4096).unwrap();
        }),
    ];
    for (what, damage) in damage {
        let folder = tempfile::tempdir().unwrap();
        copy(whole.path(), folder.path());
        damage(
            &File::options()
                .write(true)
                .open(folder.path().join("sled/db"))
                .unwrap(),
        );
        println!("{what}");
        refused_or_whole(folder.path(), 3000).await;
    }
}

#[tokio::test]
async fn a_missing_log_is_refused_until_a_person_removes_the_witness() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 20).await;
    fs::remove_dir_all(folder.path().join("sled")).unwrap();
    let error = trouble(folder.path());
    assert!(
        matches!(error, LedgerError::Behind { found: 0, .. }),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("remove the file `witness`"),
        "{error}"
    );
    fs::remove_file(folder.path().join("witness")).unwrap();
    Idem::open(folder.path()).unwrap();
}

#[tokio::test]
async fn a_witness_that_says_nothing_readable_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 20).await;
    fs::write(folder.path().join("witness"), [0; 27]).unwrap();
    let error = trouble(folder.path());
    assert!(matches!(error, LedgerError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("`witness`"), "{error}");
}

/// As earlier versions left one when their very first opening was cut short, or found a full disk.
#[tokio::test]
async fn a_blank_witness_of_a_ledger_without_groups_is_none() {
    for blank in [&[0; 0][..], &[0; 27]] {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..3 {
            filled(folder.path(), 0).await;
            fs::write(folder.path().join("witness"), blank).unwrap();
        }
        filled(folder.path(), 1).await;
        fs::write(folder.path().join("witness"), blank).unwrap();
        let error = trouble(folder.path());
        assert!(
            error.to_string().contains("its witness cannot be read"),
            "{error}"
        );
    }
}

/// The kernel refuses to let a file grow past a limit, just as it does on a full disk.
#[test]
fn a_full_disk_refuses_calls_and_once_there_is_room_they_work_and_no_body_ran_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new("sh")
        // The unit is 512 bytes or 1 KiB: a few MiB either way.
        .args([
            "-c",
            "ulimit -S -f 3000; exec \"$0\" fill \"$1\"",
            env!("CARGO_BIN_EXE_victim"),
        ])
        .arg(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut answered = 0;
    let mut refused = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["answered", ..] => answered += 1,
            ["full", handler, key] => {
                assert_eq!(
                    (handler, key),
                    ("victim.work", answered_key(answered, refused).as_str())
                );
                refused += 1;
            }
            // Whether what is recorded can still be read depends on where the write was refused.
            ["replayed", "Some(0)" | "None"] | ["open" | "finished"] => {}
            ["waiting"] => child
                .stdin
                .take()
                .unwrap()
                .write_all(b"there is room\n")
                .unwrap(),
            _ => panic!("unexpected: {line}"),
        }
    }
    assert!(child.wait().unwrap().success());
    assert_eq!(refused, 3);
    let effects = fs::read_to_string(folder.path().join("effects")).unwrap();
    let mut numbers: Vec<_> = effects.lines().collect();
    let ran = numbers.len();
    numbers.dedup();
    assert_eq!(
        (ran, numbers.len()),
        (answered, answered),
        "each answered number ran once"
    );
    // What was answered is there after the trouble.
    let lines = Command::new(env!("CARGO_BIN_EXE_victim"))
        .args([
            "work".as_ref(),
            folder.path().as_os_str(),
            answered.to_string().as_ref(),
        ])
        .output()
        .unwrap();
    assert!(
        String::from_utf8(lines.stdout)
            .unwrap()
            .contains("finished")
    );
    let after = fs::read_to_string(folder.path().join("effects")).unwrap();
    assert_eq!(after, effects, "everything was a replay");
}

fn answered_key(answered: usize, refused: usize) -> String {
    (answered + refused).to_string()
}

/// Where a ledger has its files, another may have put something else: what a link leads to is
/// neither read nor written, and a FIFO blocks no opening.
#[tokio::test]
async fn in_place_of_a_ledger_s_files_nothing_but_regular_files_is_opened() {
    let whole = tempfile::tempdir().unwrap();
    // The second opening finds a log, and leaves a snapshot.
    filled(whole.path(), 20).await;
    filled(whole.path(), 20).await;
    let snapshot = fs::read_dir(whole.path().join("sled"))
        .unwrap()
        .find_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.starts_with("snap.").then(|| format!("sled/{name}"))
        });
    let names = [
        "lock",
        "witness",
        "witness.new",
        "probe",
        "sled",
        "sled/db",
        "sled/conf",
        "sled/blobs",
        "sled/blobs/7",
    ];
    for name in names
        .into_iter()
        .map(str::to_owned)
        .chain([snapshot.unwrap(), "sled/snap.FF.generating".to_owned()])
    {
        for found in ["a symbolic link", "a FIFO"] {
            let folder = tempfile::tempdir().unwrap();
            copy(whole.path(), folder.path());
            let (place, elsewhere) = (folder.path().join(&name), folder.path().join("elsewhere"));
            if place.exists() {
                fs::rename(&place, &elsewhere).unwrap();
            } else {
                fs::write(&elsewhere, "somebody else's").unwrap();
            }
            let of_elsewhere = if elsewhere.is_dir() {
                files(&elsewhere)
            } else {
                BTreeMap::new()
            };
            let content = fs::read(&elsewhere).ok();
            match found {
                "a FIFO" => assert!(
                    Command::new("mkfifo")
                        .arg(&place)
                        .status()
                        .unwrap()
                        .success()
                ),
                _ => std::os::unix::fs::symlink(&elsewhere, &place).unwrap(),
            }
            let error = trouble(folder.path());
            assert!(
                matches!(&error, LedgerError::OddFile { file, found: seen } if *file == place && *seen == found),
                "{name}: {error}"
            );
            assert!(
                error.to_string().contains(&place.display().to_string()),
                "{error}"
            );
            assert_eq!(
                fs::read(&elsewhere).ok(),
                content,
                "{name} was written through {found}"
            );
            assert!(
                !elsewhere.is_dir() || files(&elsewhere) == of_elsewhere,
                "{name} was written through {found}"
            );
        }
    }
    // The folder itself may be somewhere else.
    let linked = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(whole.path(), linked.path().join("data")).unwrap();
    filled(&linked.path().join("data"), 21).await;
    refused_or_whole(whole.path(), 21).await;
}

#[tokio::test]
async fn files_without_an_end_are_not_read_to_it() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 20).await;
    let whole = tempfile::tempdir().unwrap();
    copy(folder.path(), whole.path());
    // Sparse files of 3 TiB: reading them whole would not come to its end in this test.
    let huge = |path: PathBuf| {
        File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .unwrap()
            .set_len(3 << 40)
            .unwrap();
    };
    huge(folder.path().join("witness"));
    let error = trouble(folder.path());
    assert!(
        error.to_string().contains("its witness cannot be read"),
        "{error}"
    );
    huge(whole.path().join("sled/snap.FFFFFFFFFFFFFFF0"));
    let error = trouble(whole.path());
    assert!(
        error
            .to_string()
            .contains("its snapshot is larger than its log can need"),
        "{error}"
    );
}

/// What a process with this umask makes: `fill` in a folder that is not there yet, and a copy of
/// it.
#[tokio::test]
async fn what_a_ledger_makes_is_closed_to_other_users_whatever_the_umask() {
    use std::os::unix::fs::PermissionsExt;
    fn modes(folder: &Path, of: &mut Vec<(PathBuf, u32)>) {
        let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777;
        of.push((folder.to_owned(), mode(folder)));
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                modes(&path, of);
            } else {
                of.push((path.clone(), mode(&path)));
            }
        }
    }
    for umask in ["000", "077"] {
        let place = tempfile::tempdir().unwrap();
        let (data, copied) = (
            place.path().join("var/data"),
            place.path().join("copies/of/data"),
        );
        let script = format!("umask {umask}; exec \"$0\" copied \"$1\" \"$2\"");
        let mut child = Command::new("sh");
        child
            .args(["-c", &script, env!("CARGO_BIN_EXE_victim")])
            .arg(&data)
            .arg(&copied);
        assert!(child.stdout(Stdio::null()).status().unwrap().success());
        let mut all = Vec::new();
        modes(&place.path().join("var"), &mut all);
        modes(&place.path().join("copies"), &mut all);
        let made = |name: &str| all.iter().filter(|(path, _)| path.ends_with(name)).count();
        for name in ["lock", "witness", "sled", "sled/db", "sled/conf"] {
            assert_eq!(made(name), 2, "{name} in {all:?}");
        }
        for (path, mode) in all {
            assert_eq!(
                mode,
                if path.is_dir() { 0o700 } else { 0o600 },
                "{} with the umask {umask}",
                path.display()
            );
        }
    }
    // A folder that existed keeps its mode.
    let theirs = tempfile::tempdir().unwrap();
    fs::set_permissions(theirs.path(), fs::Permissions::from_mode(0o750)).unwrap();
    filled(theirs.path(), 1).await;
    let mut all = Vec::new();
    modes(theirs.path(), &mut all);
    assert_eq!(
        all.iter()
            .filter(|(_, mode)| *mode == 0o750)
            .collect::<Vec<_>>(),
        [&(theirs.path().to_owned(), 0o750)]
    );
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
