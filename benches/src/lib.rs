//! What idem is measured against, and how the measurements become ratios.

pub mod bare;
pub mod callgrind;
pub mod report;
