//! A folder that is read-only, and a disk that is full when the ledger opens, or when it is copied.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fail::FailScenario;
use idem_runtime::{Error, Idem, ledger::LedgerError};

/// The user id of `nobody`.
const NOBODY: u32 = 65_534;

/// Runs a victim that modes and limits apply to: root becomes `nobody`.
fn ordinary_victim(bin: &Path, what: &str, folder: &Path) -> Vec<String> {
    let mut command = Command::new(bin);
    command
        .args([what.as_ref(), folder.as_os_str()])
        .stderr(Stdio::null());
    if fs::metadata(bin).unwrap().uid() == 0 {
        command.uid(NOBODY).gid(NOBODY);
    }
    lines(command)
}

/// Makes a folder for the user `nobody` with the victim in it, because its build folder may be
/// closed.
fn for_nobody() -> (tempfile::TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
    let bin = place.path().join("victim");
    fs::copy(env!("CARGO_BIN_EXE_victim"), &bin).unwrap();
    (place, bin)
}

#[test]
fn a_process_that_can_start_no_thread_lists_letters_and_closes() {
    let (place, bin) = for_nobody();
    let folder = place.path().join("data");
    fs::create_dir(&folder).unwrap();
    if fs::metadata(&bin).unwrap().uid() == 0 {
        chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let said = ordinary_victim(&bin, "threadless", &folder);
    assert_eq!(
        said,
        ["open", "a thread: false", "listed Some(0)", "closed true"]
    );
}

fn lines(mut command: Command) -> Vec<String> {
    let output = command.output().unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

fn each(path: &Path, change: &impl Fn(&Path)) {
    if path.is_dir() {
        fs::read_dir(path)
            .unwrap()
            .for_each(|entry| each(&entry.unwrap().path(), change));
    }
    change(path);
}

/// Gives a file to the victim's user.
fn own(path: &Path) {
    if rustix::process::geteuid().is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

#[test]
fn a_new_folder_below_one_that_may_be_written_and_not_read_opens() {
    let (place, bin) = for_nobody();
    let closed = place.path().join("closed");
    fs::create_dir(&closed).unwrap();
    own(&closed);
    fs::set_permissions(&closed, Permissions::from_mode(0o300)).unwrap();
    for folder in ["data", "x/y/data"] {
        for _ in 0..2 {
            assert_eq!(
                ordinary_victim(&bin, "letters", &closed.join(folder)),
                ["open"]
            );
        }
    }
    // So that it can be removed.
    fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_read_only_folder_is_refused_with_what_to_look_at_and_works_again_afterwards() {
    let (place, bin) = for_nobody();
    let folder = place.path().join("data");
    fs::create_dir(&folder).unwrap();
    let modes = |dirs: u32, files: u32| {
        each(&folder, &|path| {
            own(path);
            let mode = if path.is_dir() { dirs } else { files };
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        });
    };
    let refused = || {
        let lines = ordinary_victim(&bin, "letters", &folder);
        let [line] = &lines[..] else {
            panic!("{lines:?}")
        };
        assert!(
            line.starts_with("closed:") && line.contains("Check the path, its owner and its mode"),
            "{line}"
        );
        assert!(line.contains(folder.to_str().unwrap()), "{line}");
    };
    modes(0o555, 0o444);
    refused();
    modes(0o755, 0o644);
    assert_eq!(ordinary_victim(&bin, "letters", &folder), ["open"]);
    // One that was filled, its folders read-only, its files read-only, both, and closed to reading.
    for (dirs, files) in [
        (0o555, 0o644),
        (0o755, 0o444),
        (0o555, 0o444),
        (0o755, 0o000),
    ] {
        modes(dirs, files);
        refused();
        modes(0o755, 0o644);
        assert_eq!(ordinary_victim(&bin, "letters", &folder), ["open"]);
    }
}

/// The kernel refuses to let a file grow past a limit, just as it does on a full disk.
#[test]
fn a_disk_that_is_full_when_the_ledger_opens_is_an_error_and_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let limited = |what: &str, blocks: u32| {
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                "ulimit -S -f $1; exec \"$0\" $2 \"$3\" 300",
                env!("CARGO_BIN_EXE_victim"),
            ])
            .args([&blocks.to_string(), what])
            .arg(folder.path())
            .stderr(Stdio::null());
        lines(command)
    };
    let (mut opened, mut full) = (0, 0);
    let mut openings = |limits: &[u32]| {
        for blocks in limits {
            let lines = limited("letters", *blocks);
            match &lines[..] {
                [line] if line == "open" => opened += 1,
                [line] if line.starts_with("closed: the ledger failed: no room left") => full += 1,
                lines => panic!("with {blocks} blocks: {lines:?}"),
            }
        }
    };
    openings(&[0, 1, 2, 3, 4, 8, 1 << 20]);
    let work = |blocks| {
        limited("work", blocks)
            .into_iter()
            .filter(|line| line.starts_with("answered"))
            .count()
    };
    assert_eq!(work(1 << 20), 300);
    let effects = fs::read_to_string(folder.path().join("effects")).unwrap();
    openings(&[0, 1, 4, 16, 64, 256, 512, 1024, 1 << 20]);
    assert!(
        opened > 0 && full > 0,
        "opened {opened} times, refused {full} times"
    );
    assert_eq!(work(1 << 20), 300);
    assert_eq!(
        fs::read_to_string(folder.path().join("effects")).unwrap(),
        effects,
        "everything was a replay"
    );
}

#[tokio::test]
async fn a_disk_that_is_full_at_the_first_write_of_the_witness_costs_no_more_than_that_opening() {
    let scenario = FailScenario::setup();
    let folder = tempfile::tempdir().unwrap();
    fail::cfg("idem::witness-made", "return").unwrap();
    for _ in 0..2 {
        let Err(Error::Ledger {
            source: problem, ..
        }) = Idem::open(folder.path())
        else {
            panic!("there was no room")
        };
        assert!(matches!(problem, LedgerError::Full { .. }), "{problem:?}");
        assert!(
            problem
                .to_string()
                .contains("No space left on device (os error 28)"),
            "{problem}"
        );
    }
    fail::remove("idem::witness-made");
    Idem::open(folder.path()).unwrap().close().await.unwrap();
    drop(scenario);
}

/// The limit is set after the ledger was filled, so only the copy reaches it.
#[test]
fn a_copy_for_which_there_is_no_room_leaves_nothing_and_costs_the_ledger_nothing() {
    let place = tempfile::tempdir().unwrap();
    let (data, copy) = (
        place.path().join("data"),
        place.path().join("made/for/copy"),
    );
    let mut command = Command::new("sh");
    // Without the trap the kernel kills a process that reaches the limit.
    command
        .args([
            "-c",
            "trap '' XFSZ; exec \"$0\" copy \"$1\" \"$2\"",
            env!("CARGO_BIN_EXE_victim"),
        ])
        .args([&data, &copy]);
    let said: Vec<String> = lines(command)
        .into_iter()
        .filter(|line| !line.starts_with("answered"))
        .collect();
    let [_, _, full, left, copied, again] = &said[..] else {
        panic!("{said:?}")
    };
    assert!(
        full.starts_with("copied: no room left") && full.contains("(os error 27)"),
        "{full}"
    );
    assert!(full.contains(copy.to_str().unwrap()), "{full}");
    assert_eq!(
        [left, copied, again],
        ["left: false", "copied", "finished"],
        "{said:?}"
    );
    // The work is done already, in the copy too.
    let mut command = Command::new(env!("CARGO_BIN_EXE_victim"));
    command.arg("work").arg(&copy).arg("300");
    assert_eq!(lines(command).last().unwrap(), "finished");
    assert!(!copy.join("effects").exists(), "something ran again");
}
