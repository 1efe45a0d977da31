//! Nothing of the user's is captured, and nothing of ours can be named.
#![deny(warnings, unsafe_code, unused)]
#![allow(missing_docs, unreachable_pub, dead_code)]

use idem_runtime::{Error, idempotent};

/// Names that an expansion could stumble over.
pub mod shadows {
    pub struct Call;
    pub struct Message;
    pub struct Handler;
    pub struct Begin;
    pub trait Clone {}
    pub trait Future {}
    pub trait Unhandled {}
    pub fn again() {}
    pub fn next() {}
    pub fn run() {}
    pub fn pin() {}
    pub mod core {}
    pub mod std {}
    pub mod idem_runtime {}
}

/// The same for what is always in scope.
#[allow(non_snake_case)]
pub mod prelude {
    pub fn Ok<T>(value: T) -> Option<T> {
        Option::Some(value)
    }
    pub fn Err() {}
    pub struct None;
    pub struct Some;
}

#[idempotent(key = "id")]
pub async fn glob_in_the_body(id: u64) -> Result<u64, Error> {
    #[allow(unused_imports)]
    use prelude::*;
    #[allow(unused_imports)]
    use shadows::*;
    match Ok(id) {
        Option::Some(id) => Result::Ok(id),
        Option::None => Result::Ok(1),
    }
}

/// The same around the whole handler.
pub mod surrounded {
    #![allow(unused_imports)]
    use super::prelude::*;
    use super::shadows::*;

    #[::idem_runtime::idempotent(key = "id")]
    pub async fn handle(id: u64) -> Result<u64, ::idem_runtime::Error> {
        Result::Ok(id)
    }
}

#[idempotent(key = "__call, __message, __result", retries = 1)]
pub async fn our_names(
    __call: u64,
    __message: u64,
    __result: &str,
    __again: u64,
) -> Result<u64, Error> {
    Ok(__call + __message + __result.len() as u64 + __again)
}

#[idempotent(key = "id")]
#[rustfmt::skip]
pub async fn on_one_line(id: u64) -> Result<u64, Error> { Ok(id) }

#[idempotent(key = "id")]
#[rustfmt::skip]
pub fn blocking_on_one_line(id: u64) -> Result<u64, Error> { Ok(id) }

#[idempotent(key = "arg0, order")]
pub async fn payload_names((_, _): (u64, u64), arg0: u64, (order,): (u64,)) -> Result<u64, Error> {
    Ok(arg0 + order)
}

const __IDEM: u64 = 7;

#[idempotent(key = "id")]
pub async fn a_constant_of_our_name(id: u64) -> Result<u64, Error> {
    Ok(id + __IDEM)
}

macro_rules! handlers {
    ($($name:ident($arg:ident: $ty:ty, $key:literal, $expr:expr, $retries:expr) $body:block)*) => {$(
        #[idempotent(key($key, $expr), retries = $retries)]
        pub async fn $name($arg: $ty, id: u64) -> Result<u64, Error> $body
    )*};
    (method $key:literal) => {
        #[idempotent(key = $key, runtime = self.0)]
        pub async fn method(&self, id: u64) -> Result<u64, Error> {
            Ok(id)
        }
    };
    (own $name:ident) => {
        #[idempotent(key = "id", existing = find)]
        pub async fn $name(id: u64, &other: &u64) -> Result<u64, Error> {
            let id = id;
            Ok(id + other)
        }
    };
}

async fn find(_: &u64, _: &u64) -> Result<Option<u64>, Error> {
    Ok(None)
}

handlers! {
    by_path(_order: (u64, String), "_order.0", 1 + 1, 2) { Ok(1) }
    by_reference(_order: &str, "_order, id", "order".len(), 0) { Ok(2) }
}
handlers!(own in_a_macro);

pub struct Shop(idem_runtime::Idem);

impl Shop {
    handlers!(method "self.method_key, id");
    #[idempotent(key = self.method_key)]
    pub async fn expression(&self, (a, _b): (u64, u64)) -> Result<u64, Error> {
        Ok(a)
    }
}

impl std::ops::Deref for Shop {
    type Target = Key;
    fn deref(&self) -> &Key {
        &Key { method_key: 1 }
    }
}

pub struct Key {
    method_key: u64,
}

pub mod pay {
    use idem_runtime::{Error, idempotent};

    #[idempotent(key = "id")]
    pub async fn pay(id: u64) -> Result<u64, Error> {
        Ok(id)
    }
}
pub use pay::pay;

pub mod renamed {
    pub mod inner {
        pub use idem_runtime as idem;
    }

    #[inner::idem::idempotent(key = "id", crate = inner::idem)]
    pub async fn handle(id: u64) -> Result<u64, inner::idem::Error> {
        Ok(id)
    }

    use inner::idem as ours;

    #[ours::idempotent(key = "id", crate = ours, existing = find)]
    pub fn handle_blocking(id: u64) -> Result<u64, ours::Error> {
        Ok(id)
    }

    fn find(_: &u64) -> Result<Option<u64>, ours::Error> {
        Ok(None)
    }
}

pub fn main() {
    fn spawnable<T: Send>(_: T) {}
    spawnable(glob_in_the_body(1));
    spawnable(surrounded::handle(1));
    spawnable(on_one_line(1));
    let _ = blocking_on_one_line(1);
    spawnable(our_names(1, 2, "3", 4));
    spawnable(payload_names((1, 2), 3, (4,)));
    spawnable(a_constant_of_our_name(1));
    spawnable(by_path((1, String::new()), 2));
    spawnable(by_reference("1", 2));
    spawnable(in_a_macro(1, &2));
    spawnable(pay(1));
    spawnable(renamed::handle(1));
    let _ = renamed::handle_blocking(1);
    let _ = |shop: &Shop| {
        spawnable(shop.method(1));
        spawnable(shop.expression((1, 2)));
    };
}
