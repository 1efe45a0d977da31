//! Every check on every file of its corpus, and on thousands of small changes of them, the same
//! ones in each run.
#![expect(
    clippy::unwrap_used,
    reason = "a corpus that cannot be read fails the test"
)]

use std::fmt;
use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngSeed, TestRunner};

#[test]
fn any_envelope_is_a_value_or_an_error() {
    hold("envelope", idem_checks::envelope);
}

#[test]
fn any_record_is_read_as_it_was_written() {
    hold("records", idem_checks::records);
}

#[test]
fn any_key_is_refused_or_stands_for_its_parts_alone() {
    hold("key", idem_checks::key);
}

#[test]
fn any_payload_has_a_fingerprint_of_its_own() {
    hold("fingerprint", idem_checks::fingerprint);
}

#[test]
fn any_handler_stays_a_function_or_gets_errors() {
    // On a stack as large as the compiler's, in which it runs.
    let checked = std::thread::Builder::new()
        .stack_size(8 << 20)
        .spawn(|| hold("handler", idem_checks::handler));
    checked.unwrap().join().unwrap();
}

/// These files were written before anything could be redacted.
#[test]
fn what_an_older_version_wrote_is_read_and_written_the_same() {
    use idem_runtime::protocol::{DeadLetter, Live};
    use idem_runtime::testing::internals::{decode, encode};
    let older = |name: &str| {
        corpus("envelope")
            .into_iter()
            .find(|(file, _)| file.ends_with(name))
            .unwrap()
            .1
    };
    for name in ["running", "waiting"] {
        let live: Live = decode(&older(name)).unwrap();
        assert_eq!(
            (&live.redacted, encode(&live).unwrap()),
            (&None, older(name))
        );
    }
    for name in ["letter", "closed_letter"] {
        let letter: DeadLetter = decode(&older(name)).unwrap();
        assert_eq!(
            (&letter.redacted, encode(&letter).unwrap()),
            (&Vec::new(), older(name))
        );
    }
}

/// What a length field says is not believed: memory follows the bytes that are there.
#[test]
fn any_envelope_takes_memory_in_proportion() {
    hold("envelope", |bytes| {
        use idem_runtime::protocol::{DeadLetter, Live, Settled};
        use idem_runtime::testing::internals::{again, decode};
        let taken = allocation_counter::measure(|| {
            let _ = (
                decode::<Live>(bytes),
                decode::<Settled>(bytes),
                decode::<DeadLetter>(bytes),
                again(bytes),
            );
        });
        // A JSON payload is the worst: two bytes are an element of a list that doubles as it grows.
        let most = 4096 + 256 * bytes.len() as u64;
        assert!(
            taken.bytes_max <= most,
            "{} bytes for {}",
            taken.bytes_max,
            bytes.len()
        );
    });
}

fn hold(name: &str, check: impl Fn(&[u8])) {
    let corpus = corpus(name);
    assert!(!corpus.is_empty(), "there is no corpus for `{name}`");
    for (file, bytes) in &corpus {
        println!("{}", file.display()); // shown when the check fails
        check(bytes);
    }
    let config = Config {
        cases: 2000,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..Config::default()
    };
    let inputs = (any::<Index>(), prop::collection::vec(edit(), 1..5)).prop_map(|(file, edits)| {
        let (_, bytes) = file.get(&corpus);
        Input(
            edits
                .into_iter()
                .fold(bytes.clone(), |bytes, edit| edit.apply(bytes, &corpus)),
        )
    });
    let checked = TestRunner::new(config).run(&inputs, |input| {
        check(&input.0);
        Ok(())
    });
    if let Err(error) = checked {
        panic!("{error}\nadd the input to fuzz/corpus/{name}");
    }
}

/// The files and what is in them, in order.
fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(name);
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|file| (file.clone(), fs::read(file).unwrap()))
        .collect()
}

struct Input(Vec<u8>);

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

/// A small change, as libFuzzer makes them.
#[derive(Debug, Clone)]
enum Edit {
    Flip {
        at: Index,
        bits: u8,
    },
    Insert {
        at: Index,
        bytes: Vec<u8>,
    },
    Remove {
        from: Index,
        length: usize,
    },
    Repeat {
        from: Index,
        length: usize,
        times: usize,
    },
    Splice {
        at: Index,
        other: Index,
        from: Index,
        length: usize,
    },
}

fn edit() -> impl Strategy<Value = Edit> {
    let place = any::<Index>;
    prop_oneof![
        (place(), 1..=u8::MAX).prop_map(|(at, bits)| Edit::Flip { at, bits }),
        (place(), prop::collection::vec(any::<u8>(), 1..4))
            .prop_map(|(at, bytes)| Edit::Insert { at, bytes }),
        (place(), 1..32_usize).prop_map(|(from, length)| Edit::Remove { from, length }),
        (place(), 1..16_usize, 1..64_usize).prop_map(|(from, length, times)| Edit::Repeat {
            from,
            length,
            times
        }),
        (place(), place(), place(), 1..64_usize).prop_map(|(at, other, from, length)| {
            Edit::Splice {
                at,
                other,
                from,
                length,
            }
        }),
    ]
}

impl Edit {
    fn apply(self, mut bytes: Vec<u8>, corpus: &[(PathBuf, Vec<u8>)]) -> Vec<u8> {
        let place = |at: Index, bytes: &[u8]| at.index(bytes.len() + 1);
        let range = |from: Index, length: usize, bytes: &[u8]| {
            let start = place(from, bytes);
            start..bytes.len().min(start + length)
        };
        match self {
            Edit::Flip { at, bits } => {
                let at = place(at, &bytes);
                bytes
                    .iter_mut()
                    .skip(at)
                    .take(1)
                    .for_each(|byte| *byte ^= bits);
            }
            Edit::Insert { at, bytes: new } => {
                let at = place(at, &bytes);
                bytes.splice(at..at, new);
            }
            Edit::Remove { from, length } => drop(bytes.drain(range(from, length, &bytes))),
            Edit::Repeat {
                from,
                length,
                times,
            } => {
                let range = range(from, length, &bytes);
                let repeated = bytes[range.clone()].repeat(times);
                bytes.splice(range, repeated);
            }
            Edit::Splice {
                at,
                other,
                from,
                length,
            } => {
                let (_, other) = other.get(corpus);
                let at = place(at, &bytes);
                bytes.splice(at..at, other[range(from, length, other)].iter().copied());
            }
        }
        bytes
    }
}
