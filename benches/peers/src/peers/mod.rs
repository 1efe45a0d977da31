//! Each of them, used as its own documentation says for this.

mod cached;
mod durare;
mod idem;
mod idempotent;

pub use self::cached::Cached;
pub use self::durare::{Durability, Durare};
pub use self::idem::Ours;
pub use self::idempotent::Idempotent;
