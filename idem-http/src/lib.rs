#![doc = include_str!("../README.md")]

#[cfg(feature = "client")]
pub mod client;
mod headers;
mod key;

#[cfg(feature = "server")]
mod answer;
#[cfg(feature = "server")]
mod attempt;
#[cfg(feature = "axum")]
mod axum;
#[cfg(feature = "server")]
mod body;
#[cfg(feature = "server")]
mod disposition;
#[cfg(feature = "server")]
mod endpoint;
#[cfg(feature = "server")]
mod exchange;
#[cfg(feature = "server")]
mod failure;
#[cfg(feature = "server")]
mod goes_on;
#[cfg(feature = "server")]
mod grpc;
#[cfg(feature = "server")]
mod layer;
#[cfg(feature = "server")]
mod order;
#[cfg(feature = "server")]
mod problem;
#[cfg(feature = "server")]
mod protocol;
#[cfg(feature = "server")]
mod recorded;
#[cfg(feature = "server")]
mod request;
#[cfg(feature = "server")]
mod rerun;
#[cfg(feature = "server")]
mod scope;
#[cfg(feature = "server")]
mod service;

pub use key::IdempotencyKey;

#[cfg(feature = "axum")]
pub use axum::{OrRelease, Replayed};
#[cfg(feature = "server")]
pub use {
    answer::Answer,
    attempt::Streamed,
    body::Body,
    disposition::Disposition,
    endpoint::KeyEndpoint,
    grpc::{Grpc, GrpcCall, GrpcIdempotency, GrpcIdempotencyLayer},
    layer::{IdempotencyLayer, IdempotencyLayerBuilder, LayerError},
    problem::Problem,
    scope::Scope,
    service::Idempotency,
};
