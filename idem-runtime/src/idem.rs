//! Skeleton.
/// Idem.
#[derive(Clone, Debug)]
pub struct Idem;
