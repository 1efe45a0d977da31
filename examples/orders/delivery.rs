//! The deliveries: a file of JSON Lines that stands for a broker.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use anyhow::Context;
use serde_json::error::Category;

use crate::order::PlaceOrder;

const SHIPPED: &str = include_str!("deliveries.jsonl");

/// One line of the file.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) line: usize,
    pub(crate) text: Vec<u8>,
    pub(crate) order: Result<PlaceOrder, serde_json::Error>,
}

/// Reads all deliveries from the file, from standard input for `-`, or from the file that comes
/// with the example.
pub(crate) fn read(file: Option<&Path>) -> anyhow::Result<Vec<Delivery>> {
    let bytes = match file {
        None => SHIPPED.as_bytes().to_vec(),
        Some(path) if path == Path::new("-") => {
            let mut bytes = Vec::new();
            io::stdin()
                .read_to_end(&mut bytes)
                .context("cannot read the deliveries from standard input")?;
            bytes
        }
        Some(path) => fs::read(path)
            .with_context(|| format!("cannot read the deliveries {}", path.display()))?,
    };
    Ok(parse(&bytes))
}

fn parse(bytes: &[u8]) -> Vec<Delivery> {
    bytes
        .split(|byte| *byte == b'\n')
        .enumerate()
        .filter(|(_, text)| !text.trim_ascii().is_empty())
        .map(|(index, text)| Delivery {
            line: index + 1,
            text: text.to_vec(),
            order: serde_json::from_slice(text),
        })
        .collect()
}

/// Names the reason why a line is not a delivery.
pub(crate) fn refusal(error: &serde_json::Error) -> &'static str {
    match error.classify() {
        Category::Data => "not an order",
        Category::Syntax | Category::Eof | Category::Io => "not JSON",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_line_spoils_no_other() {
        let deliveries = parse(
            b"{\"order_no\":\"A\",\"sku\":\"T\",\"qty\":1,\"unit_price_cents\":5}\r\n\n\
              tea, please\n{\"order_no\":\"B\"}\n\xff\xfe",
        );
        let read: Vec<_> = deliveries
            .iter()
            .map(|delivery| (delivery.line, delivery.order.as_ref().map_err(refusal)))
            .map(|(line, order)| (line, order.map(|order| order.order_no.as_str())))
            .collect();
        assert_eq!(
            read,
            [
                (1, Ok("A")),
                (3, Err("not JSON")),
                (4, Err("not an order")),
                (5, Err("not JSON")),
            ]
        );
    }
}
