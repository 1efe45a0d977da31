//! A model check of the protocol's one function: the invariants hold in every state, and bugs that
//! are put into it are found.
//!
//! If a scene has no limits, all its states are visited. Larger scenes: `cargo test -p idem-model --
//! --ignored --nocapture`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says what is wrong by panicking"
)]

mod action;
mod bugs;
mod history;
mod properties;
mod shared;
mod view;
mod world;

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io::Write;

use idem_runtime::dead_letters::AttemptOutcome::{Dropped, Failed, Outage, Permanent};
use idem_runtime::ledger::Leases;
use idem_runtime::protocol::decide;
use stateright::{Checker, HasDiscoveries, Model};
use world::{Limits, Protocol, Scene, State};

/// Two processes on one ledger with leases, one key, one retry: everything may happen, any number
/// of times.
const SHARED: Scene = Scene {
    leases: Leases::PerClaim,
    again: false,
    processes: 2,
    keys: &[&[1]],
    versions: &[(1, false)],
    unread: &[],
    failures: &[Failed, Permanent, Dropped],
    left: Limits {
        crashes: None,
        lost: None,
        ticks: None,
        operator: None,
    },
};

/// The same, where the ledger keeps a lease for each process. Its heartbeat stops, and it may come
/// back after it was marked dead.
const BY_PROCESS: Scene = Scene {
    leases: Leases::PerProcess,
    again: true,
    failures: &[Failed],
    left: Limits {
        operator: Some(0),
        ..SHARED.left
    },
    ..SHARED
};

/// What is taken from a process in one key tells it that it is dead in all.
const BY_PROCESS_TWO_KEYS: Scene = Scene {
    keys: &[&[1], &[1]],
    failures: &[],
    left: Limits {
        crashes: Some(0),
        lost: Some(0),
        ticks: Some(2),
        operator: Some(0),
    },
    ..BY_PROCESS
};

/// One process on a ledger of its own, which dies and opens it again.
const EMBEDDED: Scene = Scene {
    leases: Leases::None,
    processes: 1,
    ..SHARED
};

/// Visits every state, and says how many there were.
fn check(scene: Scene) {
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    let checker = Protocol::new(decide, scene)
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_bfs().join();
    say(&format!(
        "{name}: {} states, reached in {} ways, up to {} steps deep\n",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
    ));
    checker.assert_properties();
}

/// To the real standard output: the figures are to be seen when all is well, too.
fn say(text: &str) {
    std::io::stdout().write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_shared_ledger() {
    check(SHARED);
}

/// What the bodies need is down, for as long as it likes, and they fail by themselves, too.
#[test]
fn a_shared_ledger_in_an_outage() {
    check(Scene {
        failures: &[Failed, Permanent, Outage],
        ..SHARED
    });
}

#[test]
fn an_embedded_ledger_in_an_outage_where_two_messages_have_one_key() {
    check(Scene {
        keys: &[&[1, 2]],
        versions: &[(1, false), (0, true)],
        failures: &[Failed, Permanent, Outage],
        ..EMBEDDED
    });
}

#[test]
fn a_shared_ledger_whose_lost_claims_are_asked_again() {
    check(Scene {
        again: true,
        failures: &[Failed, Permanent],
        ..SHARED
    });
}

#[test]
fn a_shared_ledger_with_two_retries() {
    check(Scene {
        versions: &[(2, false)],
        failures: &[Failed, Permanent],
        ..SHARED
    });
}

#[test]
fn a_shared_ledger_where_a_crash_buries() {
    check(Scene {
        versions: &[(1, true)],
        ..SHARED
    });
}

#[test]
fn a_shared_ledger_in_a_deploy_that_lowers_the_budget() {
    check(Scene {
        versions: &[(1, false), (0, true)],
        ..SHARED
    });
}

#[test]
fn a_shared_ledger_where_two_messages_have_one_key() {
    check(Scene {
        keys: &[&[1, 2]],
        ..SHARED
    });
}

#[test]
fn a_shared_ledger_with_two_keys() {
    let left = Limits {
        crashes: Some(1),
        lost: Some(1),
        ticks: Some(2),
        operator: Some(0),
    };
    check(Scene {
        keys: &[&[1], &[1]],
        failures: &[Failed],
        left,
        ..SHARED
    });
}

#[test]
fn a_shared_ledger_with_leases_by_process() {
    check(BY_PROCESS);
}

#[test]
fn a_shared_ledger_with_leases_by_process_and_two_keys() {
    check(BY_PROCESS_TWO_KEYS);
}

#[test]
fn an_embedded_ledger_in_a_deploy_where_two_messages_have_one_key() {
    check(Scene {
        keys: &[&[1, 2]],
        versions: &[(2, false), (0, true)],
        ..EMBEDDED
    });
}

#[test]
fn an_embedded_ledger_with_two_keys() {
    let left = Limits {
        crashes: Some(1),
        lost: Some(1),
        ticks: Some(3),
        operator: Some(0),
    };
    check(Scene {
        keys: &[&[1], &[1]],
        failures: &[Failed],
        left,
        ..EMBEDDED
    });
}

/// One message has the key of another that no handler can take, and one that a mended consumer can.
#[test]
fn a_shared_ledger_where_messages_cannot_be_read() {
    check(Scene {
        unread: &[1, 2],
        failures: &[Failed, Permanent],
        ..SHARED
    });
}

#[test]
fn an_embedded_ledger_where_messages_cannot_be_read() {
    check(Scene {
        unread: &[1, 2],
        ..EMBEDDED
    });
}

/// Whatever can happen in a state can happen in every other one that was met and looks the same:
/// the view forgets nothing that matters.
#[test]
fn states_that_look_the_same_go_on_the_same() {
    let unread = Scene {
        unread: &[1, 2],
        versions: &[(0, false)],
        failures: &[Failed],
        ..EMBEDDED
    };
    for scene in [
        Scene {
            again: true,
            versions: &[(0, false)],
            failures: &[Failed],
            ..SHARED
        },
        Scene {
            versions: &[(0, false)],
            ..BY_PROCESS
        },
        EMBEDDED,
        unread,
    ] {
        let model = Protocol::new(decide, scene);
        let mut known: HashMap<_, BTreeSet<_>> = HashMap::new();
        let mut to_visit = VecDeque::from([model.start()]);
        while let Some(state) = to_visit.pop_front() {
            let next = model.next_states(&state);
            let views: BTreeSet<_> = next.iter().map(State::view).collect();
            match known.entry(state.view()) {
                Entry::Occupied(same) => assert_eq!(*same.get(), views, "{state:?}"),
                Entry::Vacant(new) => {
                    new.insert(views);
                    to_visit.extend(next);
                }
            }
        }
    }
}

mod large {
    use super::*;

    /// What is on its way from a dead process is what a third one brings.
    #[test]
    #[ignore = "minutes: `cargo test -p idem-model -- --ignored`"]
    fn a_shared_ledger_of_three_processes() {
        check(Scene {
            processes: 3,
            versions: &[(1, false), (0, true)],
            ..SHARED
        });
    }

    #[test]
    #[ignore = "minutes: `cargo test -p idem-model -- --ignored`"]
    fn a_shared_ledger_with_two_keys() {
        let left = Limits {
            crashes: Some(1),
            lost: Some(1),
            ticks: Some(2),
            operator: Some(1),
        };
        check(Scene {
            keys: &[&[1, 2], &[1]],
            failures: &[Failed],
            left,
            ..SHARED
        });
    }

    #[test]
    #[ignore = "minutes: `cargo test -p idem-model -- --ignored`"]
    fn an_embedded_ledger_with_two_keys() {
        check(Scene {
            keys: &[&[1], &[1]],
            ..EMBEDDED
        });
    }
}
