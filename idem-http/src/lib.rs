#![doc = include_str!("../README.md")]

mod answer;
mod attempt;
#[cfg(feature = "axum")]
mod axum;
mod body;
mod disposition;
mod failure;
mod key;
mod layer;
mod order;
mod problem;
mod request;
mod rerun;
mod scope;
mod service;

pub use answer::Answer;
pub use attempt::Streamed;
#[cfg(feature = "axum")]
pub use axum::{OrRelease, Replayed};
pub use body::Body;
pub use disposition::Disposition;
pub use key::IdempotencyKey;
pub use layer::{IdempotencyLayer, IdempotencyLayerBuilder, LayerError};
pub use problem::Problem;
pub use scope::Scope;
pub use service::Idempotency;
