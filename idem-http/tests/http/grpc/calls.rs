//! Which calls have keys, where the keys are, and what is refused.

use bytes::{Bytes, BytesMut};
use idem_http::{Grpc, IdempotencyLayer, LayerError, Scope};
use idem_runtime::testing::temporary;
use prost::Message;
use tonic::Code;

use super::{PLACE, PlaceOrder, Shop, frame, order, placed, problem};

const IMPORT: &str = "/shop.v1.Orders/Import";

#[tokio::test]
async fn what_cannot_run_is_said_in_grpcs_own_words() {
    let shop = Shop::start(
        |layer| layer.largest_request(100),
        Grpc::methods([PLACE]),
        async |run, _| placed(run.into()),
    )
    .await;
    let missing = shop.place("").await.unwrap_err();
    let expected = (Code::InvalidArgument, "key-missing", "-1");
    assert_eq!(problem(&missing), expected);
    let broken = shop.place("\"A-1").await.unwrap_err();
    let expected = (Code::InvalidArgument, "key-invalid", "-1");
    assert_eq!(problem(&broken), expected);
    let mut anonymous = order("A-1", "TEA");
    anonymous.metadata_mut().remove("authorization");
    let anonymous = shop.call(anonymous).await.unwrap_err();
    let expected = (Code::Unauthenticated, "no-principal", "-1");
    assert_eq!(problem(&anonymous), expected);
    let large = shop.call(order("A-1", &"x".repeat(200))).await.unwrap_err();
    let expected = (Code::ResourceExhausted, "body-too-large", "-1");
    assert_eq!(problem(&large), expected);
    assert_eq!(shop.runs.started(), 0);

    shop.place("A-1").await.unwrap();
    let reused = shop.call(order("A-1", "COFFEE")).await.unwrap_err();
    let expected = (Code::FailedPrecondition, "key-reused", "-1");
    assert_eq!((problem(&reused), shop.runs.started()), (expected, 1));

    shop.idem.close().await.unwrap();
    let closed = shop.place("A-2").await.unwrap_err();
    let expected = (Code::Unavailable, "unavailable", "1000");
    assert_eq!((problem(&closed), shop.runs.started()), (expected, 1));
}

#[tokio::test]
async fn streaming_calls_are_refused_and_other_methods_pass_or_are_refused_as_set() {
    let grpc = Grpc::methods([PLACE]).refuse([IMPORT]);
    let shop = Shop::start(|it| it, grpc, async |run, _| placed(run.into())).await;
    let tea = || frame(&PlaceOrder::default());
    let mut two = BytesMut::from(&*tea());
    two.extend_from_slice(&tea());
    let streamed = shop.raw(PLACE, "A-1", two.freeze()).await;
    assert_eq!(streamed.headers["grpc-status"], "12");
    assert_eq!(streamed.headers["idempotency-problem"], "streaming");
    for cut in [Bytes::new(), Bytes::from_static(b"\0\0\0\0\x09tea")] {
        let cut = shop.raw(PLACE, "A-1", cut).await;
        assert_eq!(cut.headers["idempotency-problem"], "body-cut");
    }
    let refused = shop.raw(IMPORT, "A-1", tea()).await;
    assert_eq!(refused.headers["grpc-status"], "12");
    assert_eq!(shop.runs.started(), 0);
    // Without a key, its client relies on nothing.
    let passed = shop.raw(IMPORT, "", tea()).await;
    assert_eq!(passed.trailers.unwrap()["grpc-status"], "0");

    let open = Shop::orders().await;
    for run in 1..=2 {
        open.raw(IMPORT, "A-1", tea()).await;
        assert_eq!(open.runs.started(), run);
    }
}

#[tokio::test]
async fn a_field_is_the_key_and_a_fingerprint_reads_the_message() {
    let grpc = Grpc::methods([PLACE])
        .key(|call| {
            let order = PlaceOrder::decode(call.message).ok()?;
            Some(order.request_id).filter(|id| !id.is_empty())
        })
        .fingerprint(|call| {
            PlaceOrder::decode(call.message)
                .unwrap_or_default()
                .sku
                .into()
        });
    let shop = Shop::start(|it| it, grpc, async |run, _| placed(run.into())).await;
    let with = |field: &str, metadata: &str, sku: &str| {
        let mut request = order(metadata, sku);
        request.get_mut().request_id = field.to_owned();
        request
    };
    let order_no = |answer: super::Answer| answer.unwrap().get_ref().order_no;
    // The client's layer gives each call a key of its own, and the field stays.
    for key in ["B-1", "B-2"] {
        assert_eq!(order_no(shop.call(with("A-1", key, "TEA")).await), 1);
    }
    // The key itself is not in the fingerprint: the metadata names the same one.
    assert_eq!(order_no(shop.call(with("", "A-1", "TEA")).await), 1);
    let reused = shop.call(with("A-1", "", "COFFEE")).await.unwrap_err();
    assert_eq!(reused.code(), Code::FailedPrecondition);
    let missing = shop.call(with("", "", "TEA")).await.unwrap_err();
    assert_eq!(problem(&missing).1, "key-missing");
    let broken = shop
        .call(with("Tee für zwei", "", "TEA"))
        .await
        .unwrap_err();
    assert_eq!(problem(&broken).1, "key-invalid");

    let mut compressed = BytesMut::from(&*frame(&PlaceOrder::default()));
    compressed[0] = 1;
    let compressed = shop.raw(PLACE, "A-3", compressed.freeze()).await;
    assert_eq!(compressed.headers["idempotency-problem"], "compressed");
    assert_eq!(compressed.headers["grpc-status"], "12");
}

#[tokio::test]
async fn what_is_not_of_grpc_passes_and_so_do_calls_without_a_key_where_it_is_optional() {
    let shop = Shop::start(
        idem_http::IdempotencyLayerBuilder::optional,
        Grpc::methods([PLACE]).key(|_| None),
        async |run, _| placed(run.into()),
    )
    .await;
    for run in 1..=2 {
        assert_eq!(shop.place("").await.unwrap().get_ref().order_no, run);
    }
    let client = crate::common::Client::new(shop.at, crate::common::Version::Http2);
    let mut plain = crate::common::post("A-1", "{}");
    *plain.uri_mut() = PLACE.parse().unwrap();
    let passed = client.send(plain).await;
    assert_eq!(passed.header("idempotency-problem"), "");
}

#[test]
fn options_name_methods() {
    let idem = temporary().unwrap();
    for paths in [
        &[][..],
        &["Place"],
        &["/Place"],
        &["/shop.v1.Orders/"],
        &["/a/b/c"],
    ] {
        let builder = IdempotencyLayer::builder(&idem, "grpc.orders", Scope::public());
        let refused = builder.build_grpc(Grpc::methods(paths.iter().copied()));
        assert!(matches!(refused, Err(LayerError::Method(_))), "{refused:?}");
    }
}
