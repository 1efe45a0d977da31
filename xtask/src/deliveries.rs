//! `cargo xtask deliveries`: makes files for the example `orders`, the same for the same seed.

use std::io::{self, Write};

use fastrand::Rng;
use serde::Serialize;

/// Which file to make
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Plan {
    /// How many deliveries, duplicates included
    #[arg(long, default_value_t = 5_000)]
    count: usize,
    /// How many of a hundred deliveries are duplicates of an earlier one
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u8).range(0..100))]
    duplicates: u8,
    /// Another seed makes another file
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// One line of the file.
#[derive(Debug, Clone, Serialize)]
struct Delivery {
    order_no: String,
    sku: String,
    qty: u32,
    unit_price_cents: u64,
    fail_times: u32,
}

/// The `fail_times` of an order that never works.
const NEVER: u32 = 99;
const SKUS: [(&str, u64); 6] = [
    ("TEA-500", 1_250),
    ("TEA-100", 390),
    ("POT-IRON", 8_900),
    ("CUP-BLUE", 1_450),
    ("SIEVE-FINE", 620),
    ("HONEY-250", 780),
];

pub(crate) fn print(plan: &Plan) -> anyhow::Result<()> {
    match io::stdout().write_all(lines(&make(plan))?.as_bytes()) {
        // The reader has closed the pipe.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

fn lines(deliveries: &[Delivery]) -> anyhow::Result<String> {
    let mut text = String::new();
    for delivery in deliveries {
        text += &serde_json::to_string(delivery)?;
        text.push('\n');
    }
    Ok(text)
}

/// Makes each order once, and duplicates after their first delivery: half of them close behind it,
/// half anywhere.
fn make(plan: &Plan) -> Vec<Delivery> {
    let mut random = Rng::with_seed(plan.seed);
    let duplicates = plan.count * usize::from(plan.duplicates) / 100;
    let mut is_duplicate: Vec<bool> = (1..plan.count).map(|place| place <= duplicates).collect();
    random.shuffle(&mut is_duplicate);

    let mut deliveries: Vec<Delivery> = Vec::with_capacity(plan.count);
    let mut next = 0;
    for duplicate in [false].into_iter().chain(is_duplicate).take(plan.count) {
        let delivery = if duplicate {
            let close = if random.bool() { 20 } else { usize::MAX };
            let earlier = deliveries.len();
            deliveries[random.usize(earlier.saturating_sub(close)..earlier)].clone()
        } else {
            next += 1;
            order(next, &mut random)
        };
        deliveries.push(delivery);
    }
    deliveries
}

/// Makes an order. Of a hundred orders two never work, and ten need up to three retries.
fn order(number: usize, random: &mut Rng) -> Delivery {
    let (sku, unit_price_cents) = SKUS[random.usize(..SKUS.len())];
    let fail_times = match random.u32(..100) {
        0..2 => NEVER,
        2..12 => random.u32(1..=3),
        _ => 0,
    };
    Delivery {
        order_no: format!("K-{number:06}"),
        sku: sku.to_owned(),
        qty: random.u32(1..=9),
        unit_price_cents,
        fail_times,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_file_follows_its_plan() {
        let plan = Plan {
            count: 5_000,
            duplicates: 40,
            seed: 7,
        };
        let deliveries = make(&plan);
        assert_eq!(deliveries.len(), 5_000);
        let orders: HashSet<_> = deliveries
            .iter()
            .map(|delivery| &delivery.order_no)
            .collect();
        assert_eq!(orders.len(), 3_000);
        assert_eq!(lines(&deliveries).unwrap(), lines(&make(&plan)).unwrap());
    }

    #[test]
    fn small_files_work_too() {
        for count in 0..5 {
            let plan = Plan {
                count,
                duplicates: 99,
                seed: 1,
            };
            assert_eq!(make(&plan).len(), count);
        }
    }
}
