//! What is ordered, by whom, and how clients behave, by a seed.

use fastrand::Rng;

use crate::client::{Manner, order};

/// What comes of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It is placed.
    Good,
    /// It has no pieces, and is refused each time with the same answer.
    Empty,
    /// Two orders are sent under its key: one of them is placed, the other one never.
    Contended,
}

/// One request of a client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    pub(crate) order: usize,
    /// Which of a contended order's two contents.
    pub(crate) content: usize,
    pub(crate) manner: Manner,
}

pub(crate) struct Plan {
    pub(crate) orders: usize,
    /// In the order in which they are sent, some at a time.
    pub(crate) requests: Vec<Request>,
}

impl Plan {
    /// Returns a plan of so many requests, of which 40 % are duplicates: half of them right behind
    /// the first, half at any time later.
    pub(crate) fn new(random: &mut Rng, requests: usize) -> Self {
        let orders = requests * 6 / 10;
        let firsts = (0..orders).map(|order| (order as f64, order));
        let mut sent: Vec<_> = firsts.collect();
        for _ in orders..requests {
            let order = random.usize(..orders);
            let behind = match random.bool() {
                true => 0.5,
                false => random.f64() * (orders - order) as f64,
            };
            sent.push((order as f64 + behind, order));
        }
        sent.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let request = |(_, order): (f64, usize)| Request {
            order,
            content: match kind(order) {
                Kind::Contended => random.usize(..2),
                _ => 0,
            },
            manner: manner(random),
        };
        let requests = sent.into_iter().map(request).collect();
        Self { orders, requests }
    }
}

fn manner(random: &mut Rng) -> Manner {
    match random.u32(..10) {
        0 => Manner::CutUpload(random.usize(1..220)),
        1 => Manner::HangUp,
        2 => Manner::CutAnswer(random.usize(1..200)),
        _ => Manner::Whole,
    }
}

pub(crate) fn kind(order: usize) -> Kind {
    match order % 20 {
        3 | 11 => Kind::Empty,
        7 => Kind::Contended,
        _ => Kind::Good,
    }
}

/// The article of an order, by which it is found in the database.
pub(crate) fn sku(order: usize) -> String {
    format!("TEA-{order}")
}

/// How many pieces an order's content has.
pub(crate) fn pieces(order: usize, content: usize) -> usize {
    match kind(order) {
        Kind::Empty => 0,
        _ => 2 + content,
    }
}

/// Returns the bytes of a request. Five principals use the same keys.
pub(crate) fn text(number: usize, content: usize) -> String {
    let (sku, qty) = (sku(number), pieces(number, content));
    let body = format!(r#"{{"sku":"{sku}","qty":{qty}}}"#);
    order(
        &format!("p{}", number % 5),
        &format!("A-{}", number / 5),
        &body,
    )
}
