//! What each status means for its key.

use idem_http::{Disposition, Grpc};
use tonic::{Code, Status};

use super::{PLACE, Shop, order, placed};

/// Answers with the code that the order names, and the second time with the attempt's number.
async fn shop(grpc: Grpc) -> Shop {
    let handler = async |_, request: tonic::Request<super::PlaceOrder>| {
        let attempt = idem_runtime::attempt().unwrap();
        let code = Code::from(request.get_ref().sku.parse::<i32>().unwrap());
        // A released key leaves no trace, so that its test says by the key which run it is.
        let again = request.metadata().contains_key("x-again");
        match again {
            true => placed(attempt.number.into()),
            false => Err(Status::new(code, "first")),
        }
    };
    Shop::start(|layer| layer, grpc, handler).await
}

/// What became of a key after an answer with this code.
async fn after(shop: &Shop, code: Code) -> Disposition {
    let number = i32::from(code).to_string();
    let first = shop.call(order(&number, &number)).await.unwrap_err();
    assert_eq!((first.code(), first.message()), (code, "first"));
    let mut again = order(&number, &number);
    again.metadata_mut().insert("x-again", "1".parse().unwrap());
    match shop.call(again).await {
        Err(replayed) if replayed.code() == code => Disposition::Record,
        Ok(ran) if ran.get_ref().order_no == 1 => Disposition::Release,
        Ok(ran) if ran.get_ref().order_no == 2 => Disposition::Fail,
        other => panic!("{code:?}: {other:?}"),
    }
}

#[tokio::test]
async fn each_status_is_recorded_releases_the_key_or_is_a_failed_attempt() {
    let shop = shop(Grpc::methods([PLACE])).await;
    for (code, disposition) in [
        (Code::Cancelled, Disposition::Release),
        (Code::Unknown, Disposition::Fail),
        (Code::InvalidArgument, Disposition::Record),
        (Code::DeadlineExceeded, Disposition::Fail),
        (Code::NotFound, Disposition::Record),
        (Code::AlreadyExists, Disposition::Record),
        (Code::PermissionDenied, Disposition::Release),
        (Code::ResourceExhausted, Disposition::Release),
        (Code::FailedPrecondition, Disposition::Record),
        (Code::Aborted, Disposition::Fail),
        (Code::OutOfRange, Disposition::Record),
        (Code::Unimplemented, Disposition::Release),
        (Code::Internal, Disposition::Fail),
        (Code::Unavailable, Disposition::Fail),
        (Code::DataLoss, Disposition::Fail),
        (Code::Unauthenticated, Disposition::Release),
    ] {
        assert_eq!(after(&shop, code).await, disposition, "{code:?}");
    }
}

#[tokio::test]
async fn an_option_overrides_what_a_status_means() {
    let grpc = Grpc::methods([PLACE])
        .on_code(Code::NotFound, Disposition::Release)
        .on_code(Code::Internal, Disposition::Record);
    let shop = shop(grpc).await;
    assert_eq!(after(&shop, Code::NotFound).await, Disposition::Release);
    assert_eq!(after(&shop, Code::Internal).await, Disposition::Record);
}
