//! The parts that statements have in common.

/// The time of a statement, as its first part.
macro_rules! now {
    () => {
        "WITH now AS MATERIALIZED (
        SELECT idem.server_clock() + ahead AS now FROM idem.clock WHERE one
    )"
    };
}
pub(super) use now;
