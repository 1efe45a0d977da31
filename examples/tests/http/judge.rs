//! What clients were told, and whether the database agrees.

use std::collections::HashMap;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use crate::client::Answer;
use crate::plan::{Kind, Plan, Request, kind, pieces, sku};

/// A row of the order table.
#[derive(Debug, Deserialize)]
pub(crate) struct Row {
    pub(crate) order_no: i64,
    pub(crate) sku: String,
    pub(crate) qty: i32,
}

/// The first answer to each order and content: all others have to be like it.
#[derive(Default)]
pub(crate) struct Judge {
    told: HashMap<(usize, usize), Answer>,
    pub(crate) replays: usize,
    /// How often a client was told to come again.
    pub(crate) again: usize,
}

impl Judge {
    /// Takes an answer, and returns whether it is one that stays.
    pub(crate) fn take(
        &mut self,
        request: Request,
        answer: &Answer,
        replayed: bool,
    ) -> anyhow::Result<bool> {
        let Request { order, content, .. } = request;
        let kind = kind(order);
        let problem = answer.header("content-type") == Some("application/problem+json");
        match answer.status {
            // The second one also of a handler whose database is away.
            409 | 503 => {
                self.again += 1;
                return Ok(false);
            }
            201 if kind != Kind::Empty && answer.header("location").is_some() => {}
            422 if kind == Kind::Empty && !problem => {}
            422 if kind == Kind::Contended && answer.body.contains("key-reused") => {}
            _ => bail!("{kind:?} order {order}: {answer:?}"),
        }
        self.replays += usize::from(replayed);
        let first = self
            .told
            .entry((order, content))
            .or_insert_with(|| answer.clone());
        ensure!(
            *first == *answer,
            "order {order}: {first:?}, then {answer:?}"
        );
        Ok(true)
    }

    pub(crate) fn was_told(&self, order: usize, content: usize) -> bool {
        self.told.contains_key(&(order, content))
    }

    /// Returns whether the key belongs to the other content.
    pub(crate) fn refused(&self, order: usize, content: usize) -> bool {
        let told = self.told.get(&(order, content));
        told.is_some_and(|answer| answer.body.contains("key-reused"))
    }

    /// Checks that each order is in the table once, as its clients were told.
    pub(crate) fn compare(&self, plan: &Plan, rows: Vec<Row>) -> anyhow::Result<()> {
        let mut by_sku = HashMap::<_, Vec<_>>::new();
        for row in rows {
            by_sku.entry(row.sku.clone()).or_default().push(row);
        }
        for order in 0..plan.orders {
            let rows = by_sku.remove(&sku(order)).unwrap_or_default();
            if kind(order) == Kind::Empty {
                ensure!(rows.is_empty(), "order {order} without pieces: {rows:?}");
                continue;
            }
            let [row] = rows.as_slice() else {
                bail!("order {order} is there {} times: {rows:?}", rows.len());
            };
            let told = |content| {
                self.told
                    .get(&(order, content))
                    .map(|answer| (content, answer))
            };
            let placed = (0..2).filter_map(told);
            let placed: Vec<_> = placed.filter(|(_, answer)| answer.status == 201).collect();
            let [(content, answer)] = placed.as_slice() else {
                bail!("order {order} was placed for {placed:?}");
            };
            let answered: Row = serde_json::from_str(&answer.body).context("no order")?;
            let agrees = (answered.order_no, answered.qty) == (row.order_no, row.qty);
            let is_sent = usize::try_from(row.qty) == Ok(pieces(order, *content));
            ensure!(agrees && is_sent, "order {order}: {row:?}, {answer:?}");
        }
        ensure!(by_sku.is_empty(), "nobody ordered {by_sku:?}");
        Ok(())
    }
}
