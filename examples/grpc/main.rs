//! A service of gRPC, on tonic: each idempotency key once, whatever comes again.
//!
//! ```text
//! $ cargo run -p idem-examples --example grpc
//! placing 2 TEA
//! A-1, 2 TEA: order 1
//! A-1, 2 TEA: order 1, replayed
//! A-1, 3 TEA: FailedPrecondition
//! A-2, 0 TEA: InvalidArgument
//! A-2, 0 TEA: InvalidArgument, replayed
//! ```

mod orders;

use idem_http::client::Replayed;
use idem_http::{Grpc, IdempotencyLayer, Scope};
use idem_runtime::Idem;
use tokio::net::TcpListener;
use tonic::transport::{Channel, Server, server::TcpIncoming};
use tonic::{Request, Response, Status};

use crate::orders::{PLACE, PlaceOrder, Placed};

/// The handler. It knows nothing of keys.
async fn place(request: Request<PlaceOrder>) -> Result<Response<Placed>, Status> {
    let PlaceOrder { sku, qty } = request.into_inner();
    if qty == 0 {
        // The client's error is a result: duplicates get it, and no dead letter is written.
        return Err(Status::invalid_argument("an order has a piece at least"));
    }
    println!("placing {qty} {sku}");
    Ok(Response::new(Placed { order_no: 1 }))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let idem = Idem::open(folder.path())?;
    let layer = IdempotencyLayer::builder(&idem, "grpc.orders", Scope::bearer())
        .build_grpc(Grpc::methods([PLACE]))?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let at = listener.local_addr()?;
    let server = Server::builder()
        .layer(layer)
        .add_routes(orders::routes(place))
        .serve_with_incoming(TcpIncoming::from(listener));
    tokio::spawn(server);

    let channel = Channel::from_shared(format!("http://{at}"))?
        .connect()
        .await?;
    for (key, qty) in [("A-1", 2), ("A-1", 2), ("A-1", 3), ("A-2", 0), ("A-2", 0)] {
        let sku = "TEA".to_owned();
        let mut request = Request::new(PlaceOrder { sku, qty });
        let metadata = request.metadata_mut();
        metadata.insert("authorization", "Bearer ann".parse()?);
        metadata.insert("idempotency-key", key.parse()?);
        let (answer, metadata) = match orders::call(channel.clone(), request).await {
            Ok(placed) => {
                let answer = format!("order {}", placed.get_ref().order_no);
                (answer, placed.metadata().clone())
            }
            Err(status) => (format!("{:?}", status.code()), status.metadata().clone()),
        };
        let replayed = Replayed::from_headers(metadata.as_ref()).map_or("", |_| ", replayed");
        println!("{key}, {qty} TEA: {answer}{replayed}");
    }
    Ok(idem.close().await?)
}
