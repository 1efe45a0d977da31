//! The laws, on the example's ledger; and its file after a crash.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../own_ledger/file.rs"]
mod file;
#[path = "../own_ledger/ledger.rs"]
mod ledger;

use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use file::Map;
use idem_runtime::testing::{ManualClock, laws::Subject};
use ledger::FileLedger;

fn subject() -> Subject {
    let folder = tempfile::tempdir().unwrap();
    opened(&folder.path().join("ledger"), ManualClock::default()).keeping(folder)
}

fn opened(path: &Path, clock: ManualClock) -> Subject {
    let ledger = FileLedger::open(path, Arc::new(clock.clone()), "laws".into()).unwrap();
    Subject::new(Arc::new(ledger), clock)
}

mod laws {
    idem_runtime::ledger_laws!(super::subject);
}

#[test]
fn a_write_that_a_crash_cut_is_as_if_it_had_not_been() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger");
    let value = |text: &str| Some(text.as_bytes().to_vec());
    let mut map = Map::open(&path).unwrap();
    map.write(vec![
        (b"a".to_vec(), value("1")),
        (b"b".to_vec(), value("1")),
    ])
    .unwrap();
    let before = (map.values.clone(), fs::metadata(&path).unwrap().len());
    map.write(vec![(b"a".to_vec(), None), (b"b".to_vec(), value("2"))])
        .unwrap();
    drop(map);
    let whole = fs::read(&path).unwrap();
    for cut in before.1..whole.len() as u64 {
        // What a crash leaves is short, or has zeros in place of what was written.
        for rest in [0, 7] {
            let mut bytes = whole[..cut as usize].to_vec();
            bytes.extend(vec![0; rest]);
            fs::write(&path, bytes).unwrap();
            let mut map = Map::open(&path).unwrap();
            assert_eq!(map.values, before.0, "cut at {cut}, with {rest} zeros");
            map.write(vec![(b"c".to_vec(), value("3"))]).unwrap();
            drop(map);
            assert_eq!(Map::open(&path).unwrap().values.len(), 3);
        }
    }
}

#[test]
fn damage_is_not_taken_for_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger");
    let mut map = Map::open(&path).unwrap();
    for key in [b"a", b"b"] {
        map.write(vec![(key.to_vec(), None)]).unwrap();
    }
    drop(map);
    let mut bytes = fs::read(&path).unwrap();
    bytes[12] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(Map::open(&path).is_err_and(|error| error.kind() == io::ErrorKind::InvalidData));
}

#[test]
fn the_file_belongs_to_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger");
    let map = Map::open(&path).unwrap();
    assert!(Map::open(&path).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock));
    drop(map);
    Map::open(&path).unwrap();
}
