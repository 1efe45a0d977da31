//! A model check of the shared core's rules, over a store that loses answers, takes writes late and
//! is written by several processes.

mod action;
mod answers;
mod attempts;
mod bugs;
mod jobs;
mod properties;
mod rules;
mod store;
mod view;
mod world;

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, VecDeque};

use idem_runtime::dead_letters::AttemptOutcome::Failed;
use stateright::{Checker, HasDiscoveries, Model};
use world::{Core, Limits, Mode, Scene, State};

use crate::say;
use crate::world::Ending;

/// Two processes, one key, one retry.
const SCENE: Scene = Scene {
    keys: 1,
    retries: 1,
    clocks: &[0, 0],
    mode: Mode::Plain,
    rounds: 1,
    endings: &[Ending::Done, Ending::GivenBack, Ending::Failed(Failed)],
    left: Limits {
        calls: 2,
        crashes: 0,
        lost: 0,
        ticks: 0,
        sweeps: 0,
        beats: 0,
    },
};

const fn with(lost: u8, ticks: u8, sweeps: u8, beats: u8) -> Limits {
    Limits {
        lost,
        ticks,
        sweeps,
        beats,
        ..SCENE.left
    }
}

fn check(scene: Scene) {
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    let checker = Core::new(scene)
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

#[test]
fn answers_that_are_lost() {
    check(Scene {
        left: Limits {
            lost: 2,
            ..with(1, 0, 0, 0)
        },
        ..SCENE
    });
}

#[test]
fn processes_that_are_late() {
    check(Scene {
        left: with(0, 2, 0, 2),
        ..SCENE
    });
}

#[test]
fn processes_that_die() {
    check(Scene {
        endings: &[Ending::Done],
        left: Limits {
            crashes: 1,
            ..with(0, 2, 1, 0)
        },
        ..SCENE
    });
}

#[test]
fn answers_that_are_lost_and_processes_that_are_late() {
    check(Scene {
        endings: &[Ending::Done],
        left: with(1, 1, 0, 1),
        ..SCENE
    });
}

#[test]
fn clocks_that_are_apart() {
    check(Scene {
        clocks: &[0, 1],
        left: with(0, 2, 0, 1),
        ..SCENE
    });
}

/// Late writes find what a removal left behind.
#[test]
fn records_that_are_given_back() {
    check(Scene {
        endings: &[Ending::GivenBack],
        left: with(1, 1, 1, 0),
        ..SCENE
    });
}

/// Long enough for a removal to leave nothing.
#[test]
fn records_that_are_removed() {
    check(Scene {
        endings: &[Ending::GivenBack],
        left: with(0, 4, 1, 0),
        ..SCENE
    });
}

#[test]
fn two_keys_in_a_batch() {
    check(Scene {
        keys: 2,
        endings: &[Ending::Done],
        left: Limits {
            calls: 3,
            ..with(0, 1, 0, 0)
        },
        ..SCENE
    });
}

/// The committer and callers who are alone make rounds beside each other.
#[test]
fn rounds_beside_each_other() {
    check(Scene {
        keys: 2,
        rounds: 2,
        endings: &[Ending::Done],
        left: Limits {
            calls: 3,
            ..with(0, 1, 0, 0)
        },
        ..SCENE
    });
}

#[test]
fn transactions() {
    check(Scene {
        mode: Mode::Counted,
        endings: &[Ending::Done],
        left: with(1, 1, 0, 1),
        ..SCENE
    });
}

/// Two bodies of one message run at once.
#[test]
fn attempts_that_claim_with_their_end() {
    check(Scene {
        mode: Mode::Single,
        left: Limits {
            crashes: 1,
            ..with(1, 1, 0, 0)
        },
        ..SCENE
    });
}

/// Each failure counts once, whatever becomes of the answers.
#[test]
fn attempts_that_claim_with_their_end_and_fail() {
    check(Scene {
        mode: Mode::Single,
        retries: 2,
        endings: &[Ending::Done, Ending::Failed(Failed)],
        left: Limits {
            calls: 3,
            ..with(1, 0, 0, 0)
        },
        ..SCENE
    });
}

#[test]
fn attempts_that_claim_with_their_end_beside_others() {
    check(Scene {
        mode: Mode::Fresh,
        endings: &[Ending::Done, Ending::Failed(Failed)],
        left: with(0, 2, 0, 1),
        ..SCENE
    });
}

/// What a process has not committed when another key's claim is taken from it is not committed.
#[test]
fn attempts_that_claim_with_their_end_and_processes_that_are_late() {
    check(Scene {
        keys: 2,
        retries: 0,
        mode: Mode::Fresh,
        endings: &[Ending::Done],
        left: with(0, 1, 1, 0),
        ..SCENE
    });
}

/// Whatever can happen in a state can happen in every other one that was met and looks the same.
#[test]
fn states_that_look_the_same_go_on_the_same() {
    let plain = Scene {
        left: Limits {
            calls: 1,
            ..with(1, 1, 0, 1)
        },
        ..SCENE
    };
    let fresh = Scene {
        mode: Mode::Fresh,
        endings: &[Ending::Failed(Failed)],
        left: with(1, 1, 0, 0),
        ..SCENE
    };
    for scene in [plain, fresh] {
        let model = Core::new(scene);
        let left = |state: &State| format!("{:?}", state.left);
        let mut known: HashMap<_, BTreeSet<_>> = HashMap::new();
        let mut to_visit = VecDeque::from([model.start()]);
        while let Some(state) = to_visit.pop_front() {
            let next = model.next_states(&state);
            let views: BTreeSet<_> = next
                .iter()
                .map(|state| (left(state), state.view()))
                .collect();
            match known.entry((left(&state), state.view())) {
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

    #[test]
    #[ignore = "minutes: `cargo test -p idem-model -- --ignored`"]
    fn all_of_it() {
        check(Scene {
            left: with(1, 2, 1, 1),
            ..SCENE
        });
    }

    #[test]
    #[ignore = "minutes: `cargo test -p idem-model -- --ignored`"]
    fn records_that_are_removed_while_answers_are_lost() {
        check(Scene {
            endings: &[Ending::Done],
            left: with(1, 6, 1, 0),
            ..SCENE
        });
    }

    #[test]
    #[ignore = "minutes: `cargo test -p idem-model -- --ignored`"]
    fn records_that_are_removed() {
        check(Scene {
            left: with(0, 6, 2, 0),
            ..SCENE
        });
    }

    #[test]
    #[ignore = "minutes: `cargo test -p idem-model -- --ignored`"]
    fn attempts_that_claim_with_their_end() {
        check(Scene {
            mode: Mode::Fresh,
            retries: 2,
            endings: &[Ending::Done, Ending::Failed(Failed)],
            left: Limits {
                calls: 3,
                ..with(1, 1, 0, 0)
            },
            ..SCENE
        });
    }

    #[test]
    #[ignore = "minutes: `cargo test -p idem-model -- --ignored`"]
    fn rounds_beside_each_other() {
        check(Scene {
            keys: 2,
            rounds: 2,
            left: with(1, 1, 0, 1),
            ..SCENE
        });
    }

    #[test]
    #[ignore = "minutes: `cargo test -p idem-model -- --ignored`"]
    fn two_keys_in_a_batch() {
        check(Scene {
            keys: 2,
            endings: &[Ending::Done],
            left: with(1, 1, 0, 1),
            ..SCENE
        });
    }
}
