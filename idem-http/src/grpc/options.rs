//! The options that only gRPC has.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use http::request::Parts;

use super::status;
use crate::disposition::Disposition;

/// A unary call, as [`Grpc::key`] and [`Grpc::fingerprint`] read it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct GrpcCall<'a> {
    /// The request: its path is the method, its headers are the metadata.
    pub request: &'a Parts,
    /// The message, as Protocol Buffers or whatever the service is of.
    pub message: &'a [u8],
}

type ReadKey = Arc<dyn Fn(GrpcCall<'_>) -> Option<String> + Send + Sync>;
type ReadFingerprint = Arc<dyn Fn(GrpcCall<'_>) -> Vec<u8> + Send + Sync>;

/// Which calls of gRPC have keys, and how they are read: for
/// [`build_grpc`](crate::IdempotencyLayerBuilder::build_grpc).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let idem = idem_runtime::Idem::open(folder.path())?;
/// use idem_http::{Grpc, IdempotencyLayer, Scope};
///
/// let layer = IdempotencyLayer::builder(&idem, "grpc.orders", Scope::bearer())
///     .build_grpc(Grpc::methods(["/shop.v1.Orders/Place", "/shop.v1.Orders/Cancel"]))?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use]
pub struct Grpc {
    methods: Vec<String>,
    refused: Vec<String>,
    key: Option<ReadKey>,
    fingerprint: Option<ReadFingerprint>,
    codes: BTreeMap<i32, Disposition>,
}

impl Grpc {
    /// Returns the options of a layer for these unary methods, by their paths; all other calls pass.
    pub fn methods<P: Into<String>>(paths: impl IntoIterator<Item = P>) -> Self {
        Self {
            methods: paths.into_iter().map(Into::into).collect(),
            refused: Vec::new(),
            key: None,
            fingerprint: None,
            codes: BTreeMap::new(),
        }
    }

    /// Answers calls of these methods that bring a key with `UNIMPLEMENTED`, in place of letting
    /// them pass: streaming ones, whose clients would rely on a key that nothing looks at.
    pub fn refuse<P: Into<String>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.refused.extend(paths.into_iter().map(Into::into));
        self
    }

    /// Reads the key from the message, such as a field `request_id` ([AIP-155]). Where there is
    /// none, the metadata `idempotency-key` counts. Default: the metadata alone.
    ///
    /// [AIP-155]: https://google.aip.dev/155
    ///
    /// ```
    /// use idem_http::Grpc;
    /// use prost::Message;
    ///
    /// #[derive(Message)]
    /// struct PlaceOrder {
    ///     #[prost(string, tag = "1")]
    ///     request_id: String,
    /// }
    ///
    /// let grpc = Grpc::methods(["/shop.v1.Orders/Place"]).key(|call| {
    ///     let order = PlaceOrder::decode(call.message).ok()?;
    ///     Some(order.request_id).filter(|id| !id.is_empty())
    /// });
    /// ```
    pub fn key(
        mut self,
        read: impl Fn(GrpcCall<'_>) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.key = Some(Arc::new(read));
        self
    }

    /// Sets what must match for a key to be used again, beside the method's path. Default: the
    /// message, byte for byte. Protocol Buffers has [no canonical form][form]: a client that encodes
    /// a message with maps anew for each try needs this.
    ///
    /// [form]: https://protobuf.dev/programming-guides/serialization-not-canonical/
    pub fn fingerprint(
        mut self,
        read: impl Fn(GrpcCall<'_>) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        self.fingerprint = Some(Arc::new(read));
        self
    }

    /// Sets what an answer with this `grpc-status` means for its key. Default: `OK`,
    /// `INVALID_ARGUMENT`, `NOT_FOUND`, `ALREADY_EXISTS`, `FAILED_PRECONDITION` and `OUT_OF_RANGE`
    /// are recorded; `CANCELLED`, `PERMISSION_DENIED`, `RESOURCE_EXHAUSTED`, `UNIMPLEMENTED` and
    /// `UNAUTHENTICATED` release the key; all others are failed attempts.
    pub fn on_code(mut self, code: impl Into<i32>, disposition: Disposition) -> Self {
        self.codes.insert(code.into(), disposition);
        self
    }

    pub(crate) fn disposition(&self, code: i32) -> Disposition {
        let set = self.codes.get(&code).copied();
        set.unwrap_or_else(|| status::disposition(code))
    }

    pub(super) fn has_method(&self, path: &str) -> bool {
        self.methods.iter().any(|method| method == path)
    }

    pub(super) fn refuses(&self, path: &str) -> bool {
        self.refused.iter().any(|method| method == path)
    }

    /// Whether something has to read the message, which it cannot if that is compressed.
    pub(super) fn reads_messages(&self) -> bool {
        self.key.is_some() || self.fingerprint.is_some()
    }

    pub(super) fn key_of(&self, call: GrpcCall<'_>) -> Option<String> {
        self.key.as_ref().and_then(|read| read(call))
    }

    pub(super) fn fingerprint_of(&self, call: GrpcCall<'_>) -> Option<Vec<u8>> {
        self.fingerprint.as_ref().map(|read| read(call))
    }

    /// Whether the key can be in the message.
    pub(super) fn has_key_field(&self) -> bool {
        self.key.is_some()
    }
}

/// Checks that the options name methods.
pub(super) fn check(grpc: &Grpc) -> Result<(), String> {
    if grpc.methods.is_empty() {
        return Err("a layer for gRPC names the unary methods that have keys".to_owned());
    }
    let is_path = |path: &str| {
        let service_and_method = path.strip_prefix('/').and_then(|path| path.split_once('/'));
        service_and_method.is_some_and(|(service, method)| {
            !service.is_empty() && !method.is_empty() && !method.contains('/')
        })
    };
    match grpc
        .methods
        .iter()
        .chain(&grpc.refused)
        .find(|path| !is_path(path))
    {
        Some(path) => Err(format!(
            "a method of gRPC is named as `/package.Service/Method`, not `{path}`"
        )),
        None => Ok(()),
    }
}

impl fmt::Debug for Grpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grpc")
            .field("methods", &self.methods)
            .field("refused", &self.refused)
            .field("codes", &self.codes)
            .finish_non_exhaustive()
    }
}
