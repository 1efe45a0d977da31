//! Skeleton.
/// Error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error { 
    /// x
    #[error("x")] Closed }
