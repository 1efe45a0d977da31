//! Issues idempotency keys, such as an order number, before the message is sent.

mod format;
pub(crate) mod record;
mod sequence;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

pub use format::KeyFormat;
use record::issued;
use sequence::ISSUERS;
pub(crate) use sequence::Sequences;

use crate::clock::after;
use crate::error::Error;
use crate::idem::Idem;
use crate::ledger::LedgerError;
use crate::message::key::Key;
use crate::protocol::{Record, Reply, Settled, Settlement, Step};

/// The default time within which an issued key must be used first.
const TTL: Duration = Duration::from_secs(24 * 3600);
/// How many issuers are searched for one key.
const MOST: usize = 100;
/// How many taken keys in a row mean that a format has run out of keys.
const TRIES: usize = 1000;

/// Issues keys. A clone is another handle of the same.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// use idem_runtime::{Error, Idem, idempotent, issuer::KeyFormat};
///
/// #[idempotent(name = "orders.place", key = "order_no", issued = "order_no")]
/// async fn place_order(order_no: String) -> Result<usize, Error> {
///     Ok(order_no.len())
/// }
///
/// let idem = Idem::open(folder.path())?;
/// let issuer = idem.issuer("order_no").format(KeyFormat::new().text("A-").date().text("-").sequence(6).check_digit());
/// let order_no = issuer.issue().await?; // A-20261122-000001 and a check digit
/// idem.scope(async {
///     assert_eq!(place_order(order_no.clone()).await?, 18);
///     let made_up = place_order("A-20261122-999999X".into()).await;
///     assert!(matches!(made_up, Err(Error::NotIssued { .. })));
///     Ok::<(), Error>(())
/// })
/// .await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct KeyIssuer {
    idem: Idem,
    name: Arc<str>,
    /// The parts of the handlers' keys that stand before an issued one.
    parts: Vec<String>,
    format: KeyFormat,
    ttl: Duration,
}

impl Idem {
    /// Returns the issuer of this name, for handlers with `issued = "…"`. By default its keys are
    /// UUIDs that must be used within a day.
    pub fn issuer(&self, name: impl AsRef<str>) -> KeyIssuer {
        KeyIssuer {
            idem: self.clone(),
            name: name.as_ref().into(),
            parts: Vec::new(),
            format: KeyFormat::uuid_v7(),
            ttl: TTL,
        }
    }
}

impl KeyIssuer {
    /// Sets the format of the keys. Use one format for a name: two formats that produce the same
    /// keys take them from each other.
    pub fn format(mut self, format: KeyFormat) -> Self {
        self.format = format;
        self
    }

    /// Sets how long an issued key may wait for its first use (default: a day). A used key is
    /// remembered for as long as its handler's `ttl` says.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Issues keys for calls whose key has this part before them, such as a tenant: the calls of
    /// another tenant do not get them. Each call of this adds a part.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # use idem_runtime::{Error, HandlerDef, Idem};
    /// # let idem = Idem::open(folder.path())?;
    /// let place_order = HandlerDef::builder("orders.place").issued("order_no").build()?;
    /// let order_no = idem.issuer("order_no").within("acme").issue().await?;
    /// let call = |tenant| idem.call(&place_order).key(tenant).key(&order_no).payload(&2);
    ///
    /// let refused = call("other").run(async || Ok::<_, Error>(200)).await;
    /// assert!(matches!(refused, Err(Error::NotIssued { .. })));
    /// assert_eq!(call("acme").run(async || Ok::<_, Error>(200)).await?, 200);
    /// # Ok(()) }
    /// ```
    pub fn within(mut self, part: impl Into<String>) -> Self {
        self.parts.push(part.into());
        self
    }

    /// Issues a key that differs from all others of this name, in every process on this ledger. It
    /// is recorded as issued when this returns.
    ///
    /// # Errors
    /// [`Error::Ledger`] when it cannot be made durable; [`Error::KeysExhausted`].
    pub async fn issue(&self) -> Result<String, Error> {
        let shared = self.idem.shared();
        shared.sequences.name(&*shared.ledger, &self.name).await?;
        for _ in 0..TRIES {
            let now = shared.clock.now();
            let key = match self.format.scope(now) {
                Some(scope) => {
                    let number = shared
                        .sequences
                        .next(&*shared.ledger, &self.name, &scope)
                        .await?;
                    self.format.key(now, number)
                }
                None => self.format.key(now, 0),
            };
            // Encoded as the handlers encode keys, with a backslash before a comma.
            let mut encoded = Key::default();
            self.parts.iter().for_each(|part| encoded.push(part));
            encoded.push(&key);
            let id = encoded.finish().map(|encoded| issued(&self.name, &encoded));
            let id = id.map_err(|reason| Error::InvalidKey {
                handler: format!("issued/{}", self.name),
                why: reason,
            })?;
            match shared.apply(&id, Step::Issue { ttl: self.ttl }).await? {
                Reply::Recorded => return Ok(key),
                // Another replica was faster, or a random part repeated.
                _ => shared.sequences.taken(&self.name),
            }
        }
        Err(Error::KeysExhausted {
            issuer: self.name.to_string(),
        })
    }
}

/// The issue of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct IssuedKey {
    /// The issuer's name.
    pub issuer: String,
    /// When it was issued.
    pub at: Timestamp,
    /// Until when it could be used first.
    pub until: Timestamp,
}

impl Idem {
    /// Returns the issues of a key, as letters show it: empty where the key was not issued, or is
    /// forgotten.
    ///
    /// # Errors
    /// Returns an error when it cannot be read.
    pub async fn issued(&self, key: &str) -> Result<Vec<IssuedKey>, LedgerError> {
        let ledger = &self.shared().ledger;
        let mut found = Vec::new();
        for name in ledger.notes(ISSUERS, None, MOST).await? {
            let issuer = name.key[ISSUERS.len()..].to_owned();
            if let Some(Record::Settled(Settled {
                end: Settlement::Issued,
                at,
                ttl,
                ..
            })) = ledger.record(&issued(&issuer, key)).await?
            {
                found.push(IssuedKey {
                    issuer,
                    at,
                    until: after(at, ttl),
                });
            }
        }
        Ok(found)
    }
}
