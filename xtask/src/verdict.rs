//! Whether every order is where it has to be: in the order book exactly once, or exactly one open
//! dead letter.

use std::collections::HashMap;
use std::fmt;

use crate::deliveries::Delivery;
use crate::orders::{Letter, Order, Summary};

/// `retries = 5` of the example's handler.
const RETRIES: u32 = 5;
/// An attempt whose process was killed.
const KILLED: &str = "crashed";
/// Faults that are printed; the rest is counted.
const SHOWN: usize = 20;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Orders that can be placed and stand in the book once.
    placed: usize,
    /// Orders that never work and are one open dead letter, with all their attempts.
    dead: usize,
    /// Orders that could have been placed, but whose attempts were killed until none was left: dead
    /// letters that say so. Such an order is in the book at most once.
    used_up_by_kills: Vec<String>,
    /// Everything that is not as it has to be.
    pub(crate) faults: Vec<String>,
}

/// Holds the book and the letters against the deliveries.
pub(crate) fn judge(deliveries: &[Delivery], placed: &[Order], summary: &Summary) -> Verdict {
    let mut verdict = Verdict::default();
    let mut in_book: HashMap<&str, Vec<&Order>> = HashMap::new();
    for order in placed {
        in_book.entry(&order.order_no).or_default().push(order);
    }
    let mut letters: HashMap<&str, Vec<&Letter>> = HashMap::new();
    for letter in &summary.dead_letters {
        letters.entry(&letter.key).or_default().push(letter);
    }
    let wanted: HashMap<&str, &Delivery> = deliveries
        .iter()
        .map(|delivery| (delivery.order_no.as_str(), delivery))
        .collect();

    for delivery in wanted.values() {
        let order_no = delivery.order_no.as_str();
        let lines = in_book.remove(order_no).unwrap_or_default();
        let letters = letters.remove(order_no).unwrap_or_default();
        verdict.judge_one(delivery, &lines, &letters);
    }
    for stranger in in_book.keys().chain(letters.keys()) {
        verdict
            .faults
            .push(format!("{stranger}: nobody ordered it"));
    }
    if summary.delivered != deliveries.len() || summary.unanswered > 0 {
        verdict.faults.push(format!(
            "{} of {} deliveries were read, {} not answered",
            summary.delivered,
            deliveries.len(),
            summary.unanswered
        ));
    }
    verdict.used_up_by_kills.sort_unstable();
    verdict.faults.sort_unstable();
    verdict
}

impl Verdict {
    fn judge_one(&mut self, delivery: &Delivery, lines: &[&Order], letters: &[&Letter]) {
        let order_no = &delivery.order_no;
        let can_be_placed = delivery.fail_times <= RETRIES;
        match (lines, letters) {
            ([line], []) if can_be_placed && fits(delivery, line) => self.placed += 1,
            ([], [letter]) if !can_be_placed && all_attempts(letter) => self.dead += 1,
            ([] | [_], [letter]) if can_be_placed && killed_at_last(delivery, letter) => {
                self.used_up_by_kills.push(order_no.clone());
            }
            _ => self.faults.push(format!(
                "{order_no} (fails {} times): {} times in orders.jsonl, letters {:?}",
                delivery.fail_times,
                lines.len(),
                letters
                    .iter()
                    .map(|letter| &letter.outcomes)
                    .collect::<Vec<_>>()
            )),
        }
    }
}

fn fits(delivery: &Delivery, line: &Order) -> bool {
    line.sku == delivery.sku
        && line.qty == delivery.qty
        && line.total_cents == delivery.unit_price_cents * u64::from(delivery.qty)
}

fn all_attempts(letter: &Letter) -> bool {
    letter.outcomes.len() == RETRIES as usize + 1
}

/// Whether every attempt that would have worked was killed.
fn killed_at_last(delivery: &Delivery, letter: &Letter) -> bool {
    let would_work = letter.outcomes.iter().skip(delivery.fail_times as usize);
    all_attempts(letter) && would_work.into_iter().all(|outcome| outcome == KILLED)
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "   {} orders in orders.jsonl, each exactly once",
            self.placed
        )?;
        write!(
            f,
            "   {} orders that never work, each exactly one open dead letter",
            self.dead
        )?;
        if !self.used_up_by_kills.is_empty() {
            write!(
                f,
                "\n   {} orders whose last attempts were killed, each exactly one open dead letter: {}",
                self.used_up_by_kills.len(),
                self.used_up_by_kills.join(", ")
            )?;
        }
        for fault in self.faults.iter().take(SHOWN) {
            write!(f, "\n   WRONG {fault}")?;
        }
        if self.faults.len() > SHOWN {
            write!(f, "\n   WRONG and {} more", self.faults.len() - SHOWN)?;
        }
        if self.faults.is_empty() {
            write!(f, "\n   Every order is where it has to be.")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(order_no: &str, fail_times: u32) -> Delivery {
        Delivery {
            order_no: order_no.into(),
            sku: "TEA-500".into(),
            qty: 2,
            unit_price_cents: 10,
            fail_times,
        }
    }

    fn order(order_no: &str) -> Order {
        Order {
            order_no: order_no.into(),
            sku: "TEA-500".into(),
            qty: 2,
            total_cents: 20,
        }
    }

    fn letter(key: &str, outcomes: &[&str]) -> Letter {
        Letter {
            key: key.into(),
            outcomes: outcomes.iter().map(ToString::to_string).collect(),
        }
    }

    fn summary(delivered: usize, dead_letters: Vec<Letter>) -> Summary {
        Summary {
            delivered,
            placed: 0,
            found: 0,
            replayed: 0,
            dead_lettered: 0,
            refused: Default::default(),
            unanswered: 0,
            retried: 0,
            dead_letters,
        }
    }

    #[test]
    fn all_in_its_place() {
        let failed = ["failed"; 6];
        let killed = [
            "failed", "failed", "crashed", "crashed", "crashed", "crashed",
        ];
        let verdict = judge(
            &[
                delivery("A", 0),
                delivery("A", 0),
                delivery("B", 99),
                delivery("C", 2),
            ],
            &[order("A"), order("C")],
            &summary(4, vec![letter("B", &failed), letter("C", &killed)]),
        );
        assert_eq!((verdict.placed, verdict.dead), (1, 1));
        assert_eq!(verdict.used_up_by_kills, ["C"]);
        assert!(verdict.faults.is_empty(), "{verdict}");
    }

    #[test]
    fn every_fault_is_seen() {
        let failed = ["failed"; 6];
        let verdict = judge(
            &[
                delivery("twice", 0),
                delivery("lost", 0),
                delivery("both", 0),
                delivery("early", 99),
            ],
            &[
                order("twice"),
                order("twice"),
                order("both"),
                order("stranger"),
            ],
            &summary(
                3,
                vec![letter("both", &failed), letter("early", &failed[..3])],
            ),
        );
        assert_eq!(verdict.faults.len(), 6, "{verdict}");
    }
}
