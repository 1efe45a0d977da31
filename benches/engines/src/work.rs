//! The embedded ledger's work on an engine, without the ledger: a claim with its message, a result in
//! its place, and an entry by which it expires.

use idem_benches::orders::{delivery, placed};

use crate::engine::{Change, Engine, Problem};

/// As the ledger's own.
pub const CACHE: u64 = 128 << 20;

/// The claim of a message: what the record says beside the message takes some 60 bytes.
pub fn claim(number: u64) -> Change {
    let order = delivery(number);
    let mut value = vec![1; 60];
    value.extend(serde_json::to_vec(&order).unwrap_or_default());
    (record_key(&order.order_no), Some(value))
}

/// Its result, and when it expires.
pub fn completion(number: u64) -> [Change; 2] {
    let order = delivery(number);
    let key = record_key(&order.order_no);
    let result = serde_json::to_vec(&placed(order)).unwrap_or_default();
    [(key, Some(result)), (expiry_key(number), Some(Vec::new()))]
}

/// What removes an expired record.
pub fn removal(number: u64) -> [Change; 2] {
    let key = record_key(&delivery(number).order_no);
    [(key, None), (expiry_key(number), None)]
}

fn record_key(order_no: &str) -> Vec<u8> {
    [b"r", order_no.as_bytes()].concat()
}

fn expiry_key(number: u64) -> Vec<u8> {
    [b"e", &number.to_be_bytes()[..]].concat()
}

/// Writes these messages in groups of this size, claims and completions.
pub fn fill(
    engine: &mut impl Engine,
    numbers: std::ops::Range<u64>,
    group: usize,
) -> Result<(), Problem> {
    for first in numbers.clone().step_by(group) {
        let group = first..(first + group as u64).min(numbers.end);
        engine.write(&mut group.clone().map(claim))?;
        engine.write(&mut group.flat_map(completion))?;
    }
    Ok(())
}

/// Whether all of these messages are there, each as it was written, and nothing else.
pub fn is_whole(engine: &impl Engine, messages: u64) -> Result<bool, Problem> {
    let mut expected: Vec<_> = (0..messages).flat_map(completion).collect();
    expected.sort_unstable();
    let (mut at, mut is_right) = (0, true);
    engine.all(&mut |key, value| {
        let right = expected.get(at);
        is_right &= right.is_some_and(|(expected, result)| {
            expected == key && result.as_deref().unwrap_or_default() == value
        });
        at += 1;
    })?;
    Ok(is_right && at == expected.len())
}
