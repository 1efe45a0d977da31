//! Twenty bugs that layers for idempotency had, each with the names of where it was seen.

mod asked;
mod recorded;
mod running;

const ORDER: &str = r#"{"sku":"TEA","qty":2}"#;
