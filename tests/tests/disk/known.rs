//! What is known outside of a ledger, and so must be found in it.

use std::collections::BTreeMap;
use std::sync::Mutex;

use idem_runtime::DeadLetterId;
use serde::{Deserialize, Serialize};

use crate::load::HELD;

/// An order; its number decides its result.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) number: u32,
    /// How many attempts fail, until a person redrives it.
    pub(crate) fails: u32,
    /// The result's length.
    pub(crate) size: u32,
    pub(crate) note: String,
}

impl Order {
    pub(crate) fn result(&self) -> String {
        let mut text = self.number.to_string();
        while text.len() < self.size as usize {
            text.push_str(&(u64::from(self.number) * 0x9e37_79b9 + text.len() as u64).to_string());
        }
        text
    }
}

/// What is known of one order.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) order: Order,
    /// The last attempt that was seen to start, since it was last redriven.
    pub(crate) attempt: u32,
    /// What was answered last.
    pub(crate) said: Said,
    /// What was asked since then and is not answered.
    pub(crate) asked: Option<Asked>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Said {
    Nothing,
    Failed(u32),
    Done,
    Dead(Option<DeadLetterId>),
    Redriven(DeadLetterId),
    Discarded(DeadLetterId),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Asked {
    Call,
    Redrive,
    Discard,
}

/// Everything that is known, by order.
pub(crate) type Knowledge = BTreeMap<u32, Known>;

/// The callers and the bodies.
#[derive(Debug, Default)]
pub(crate) struct World {
    known: Mutex<Knowledge>,
    /// Bodies that started though they must not have.
    wrong: Mutex<Vec<String>>,
    /// In a world of the past nothing is held up.
    past: bool,
}

impl World {
    pub(crate) fn of(known: Knowledge) -> Self {
        Self {
            known: Mutex::new(known),
            wrong: Mutex::default(),
            past: true,
        }
    }

    pub(crate) fn holds(&self) -> bool {
        !self.past
    }

    pub(crate) fn known(&self) -> Knowledge {
        self.known.lock().unwrap().clone()
    }

    pub(crate) fn wrong(&self) -> Vec<String> {
        self.wrong.lock().unwrap().clone()
    }

    /// A body starts. Says whether its plan to fail still holds.
    pub(crate) fn starts(&self, number: u32, attempt: u32) -> bool {
        let mut known = self.known.lock().unwrap();
        let known = known.get_mut(&number).expect("asked for");
        let redriven = matches!(known.said, Said::Redriven(_));
        let may_be_redriven = known.asked == Some(Asked::Redrive);
        let settled = matches!(known.said, Said::Done | Said::Dead(_) | Said::Discarded(_));
        if (settled || attempt <= known.attempt) && !may_be_redriven {
            self.wrong.lock().unwrap().push(format!(
                "attempt {attempt} of order {number} started: {known:?}"
            ));
        }
        known.attempt = attempt;
        !redriven
    }

    /// Waits until `count` bodies are held.
    pub(crate) async fn started(&self, count: usize) {
        let held = || {
            self.known
                .lock()
                .unwrap()
                .values()
                .filter(|known| known.order.fails == HELD && known.attempt > 0)
                .count()
        };
        while held() < count {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn asks(&self, order: &Order, asked: Asked) {
        let mut known = self.known.lock().unwrap();
        let nothing = || Known {
            order: order.clone(),
            attempt: 0,
            said: Said::Nothing,
            asked: None,
        };
        let known = known.entry(order.number).or_insert_with(nothing);
        // A redrive without an answer may have happened anyway.
        if known.asked != Some(Asked::Redrive) {
            known.asked = Some(asked);
        }
    }

    pub(crate) fn asks_about(&self, number: u32, asked: Asked) {
        self.known
            .lock()
            .unwrap()
            .get_mut(&number)
            .expect("known")
            .asked = Some(asked);
    }

    pub(crate) fn hears(&self, number: u32, said: Said) {
        let mut known = self.known.lock().unwrap();
        let known = known.get_mut(&number).expect("known");
        if matches!(said, Said::Redriven(_)) {
            known.attempt = 0;
        }
        // A discarded message is told as a dead one.
        if !matches!((known.said, said), (Said::Discarded(_), Said::Dead(_))) {
            known.said = said;
        }
        known.asked = None;
    }
}
