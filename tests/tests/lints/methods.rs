//! Methods: every receiver, trait impls, `#[async_trait]`, generics, associated functions.
#![deny(warnings, unsafe_code, unused)]
#![allow(missing_docs, unreachable_pub, dead_code)]

use std::fmt::{Debug, Display};
use std::sync::Arc;

use idem_runtime::{Error, Idem, idempotent};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    id: u64,
}

pub struct Shop {
    idem: Option<Idem>,
    shared: Arc<Idem>,
    tenant: String,
    seen: u64,
}

fn serde_json_of<T: serde::de::DeserializeOwned>(
    _: u32,
    recorded: serde_json::Value,
) -> serde_json::Result<T> {
    serde_json::from_value(recorded)
}

impl Shop {
    fn idem(&self) -> &Idem {
        self.idem.as_ref().unwrap_or(&self.shared)
    }

    #[idempotent(key = "self.tenant, id", runtime = self.idem(), existing = Self::find, retry_if = Self::transient)]
    pub async fn shared(&self, order: &Order) -> Result<u64, Error> {
        Ok(self.seen + order.id)
    }

    async fn find(&self, order: &Order) -> Result<Option<u64>, Error> {
        Ok((order.id == self.seen).then_some(1))
    }

    fn transient(error: &Error) -> bool {
        matches!(error, Error::Closed { .. })
    }

    #[idempotent(key = "id", version = 2, upgrade = Self::upgraded, retry_if = Self::transient)]
    pub fn versioned(&self, id: u64) -> Result<Order, Error> {
        Ok(Order { id: id + self.seen })
    }

    fn upgraded(from: u32, recorded: serde_json::Value) -> Result<Order, String> {
        let id = recorded
            .as_u64()
            .ok_or_else(|| format!("version {from} is none"))?;
        Ok(Order { id })
    }

    #[idempotent(key = "id", name = "generic", version = 3, upgrade = serde_json_of::<T>)]
    pub async fn versioned_and_generic<T>(id: u64, made: T) -> Result<T, Error>
    where
        T: Clone + Serialize + serde::de::DeserializeOwned,
    {
        Ok(made)
    }

    #[idempotent(key = "id", runtime = self.shared)]
    pub async fn arc_runtime(&self, id: u64) -> Result<u64, Error> {
        Ok(self.seen + id)
    }

    #[idempotent(key = "id", retries = 0, existing = Self::find_mut)]
    pub async fn mutable(&mut self, id: u64) -> Result<u64, Error> {
        self.seen += id;
        Ok(self.seen)
    }

    async fn find_mut(&mut self, id: &u64) -> Result<Option<u64>, Error> {
        self.seen += id;
        Ok(None)
    }

    #[idempotent(key = "id", retry = "redeliver")]
    pub fn mutable_redelivered(&mut self, id: u64) -> Result<u64, Error> {
        self.seen += id;
        Ok(self.seen)
    }

    #[idempotent(key = "id", retries = 0)]
    pub async fn consumed(mut self, id: u64) -> Result<u64, Error> {
        self.seen += id;
        Ok(self.seen)
    }

    #[idempotent(key = "id", retries = 0)]
    pub async fn in_an_arc(self: Arc<Self>, id: u64) -> Result<u64, Error> {
        Ok(self.seen + id)
    }

    #[idempotent(key = "id")]
    #[allow(clippy::needless_arbitrary_self_type)]
    pub async fn typed(self: &Self, id: u64) -> Result<u64, Error> {
        Ok(self.seen + id)
    }

    #[idempotent(key = "id", name = "methods.associated")]
    pub async fn associated(id: u64, of: &Self) -> Result<u64, Error>
    where
        Self: Serialize,
    {
        Ok(id + of.seen)
    }
}

impl Serialize for Shop {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.tenant)
    }
}

pub trait Handle<M> {
    fn handle(&self, message: M) -> impl Future<Output = Result<u64, Error>> + Send;
    fn blocking(&self, message: M) -> Result<u64, Error>;
}

impl Handle<Order> for Shop {
    #[idempotent(key = "id")]
    async fn handle(&self, message: Order) -> Result<u64, Error> {
        Ok(message.id)
    }

    #[idempotent(key = "message.id")]
    fn blocking(&self, message: Order) -> Result<u64, Error> {
        Ok(message.id)
    }
}

#[async_trait::async_trait]
pub trait Boxed: Send + Sync {
    async fn boxed(
        &self,
        order: Order,
        note: &str,
        mut times: u32,
        (a, b): (u8, u8),
    ) -> Result<u64, Error>;

    #[idempotent(key = "id")]
    async fn provided(&self, id: u64) -> Result<u64, Error> {
        Ok(id)
    }

    #[idempotent(key = "id", retries = 0)]
    async fn provided_mutable(&mut self, id: u64) -> Result<u64, Error> {
        Ok(id)
    }
}

#[async_trait::async_trait]
impl Boxed for Shop {
    #[idempotent(key = "order.id, note", skip(times))]
    async fn boxed(
        &self,
        order: Order,
        note: &str,
        mut times: u32,
        (a, b): (u8, u8),
    ) -> Result<u64, Error> {
        times += u32::from(a) + u32::from(b);
        self.typed(1).await?;
        Ok(order.id + self.seen + note.len() as u64 + u64::from(times))
    }
}

#[idempotent(key = "key")]
pub async fn generic<K, V, const N: usize>(key: K, values: [V; N]) -> Result<Vec<V>, Error>
where
    K: Display + Clone + Serialize,
    V: Debug + Clone + Serialize + for<'de> Deserialize<'de>,
    [V; N]: Serialize,
{
    Ok(values.to_vec())
}

#[idempotent(key = "key")]
pub async fn lifetimes<'a, 'b: 'a>(
    key: &'a str,
    other: &'b mut Vec<&'a str>,
) -> Result<usize, Error> {
    other.push(key);
    Ok(other.len())
}

#[idempotent(key = "key")]
pub async fn impl_trait(
    key: impl Display + Clone + Serialize,
    list: &(impl AsRef<[u8]> + Serialize + ?Sized),
) -> Result<usize, Error> {
    Ok(key.to_string().len() + list.as_ref().len())
}

pub fn spawnable<T: Send>(_: T) {}

pub fn main() {
    let run = |mut shop: Shop| {
        let order = Order { id: 1 };
        spawnable(shop.shared(&order));
        spawnable(shop.arc_runtime(1));
        spawnable(shop.mutable(1));
        let _ = shop.mutable_redelivered(1);
        spawnable(shop.typed(1));
        spawnable(Shop::associated(1, &shop));
        spawnable(shop.handle(order.clone()));
        let _ = shop.blocking(order.clone());
        spawnable(shop.boxed(order.clone(), "", 1, (1, 2)));
        spawnable(shop.provided(1));
        spawnable(shop.provided_mutable(1));
        spawnable(generic("a", [1, 2]));
        spawnable(lifetimes("a", &mut vec![]));
        spawnable(impl_trait(1, "abc"));
        spawnable(shop.consumed(1));
    };
    let in_an_arc = |shop: Arc<Shop>| spawnable(shop.in_an_arc(1));
    let _: fn(Shop) = run;
    let _: fn(Arc<Shop>) = in_an_arc;
}
