//! A ledger that is opened over a connection: from any thread, half-way, in vain, and its end.

use std::future::{Future, pending, ready};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::thread;

use idem_runtime::ledger::{Background, LedgerError};
use idem_runtime::testing::MemoryLedger;
use idem_runtime::{Error, Idem, idempotent};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::common::{Body, Oops, on_a_thread, poll_once, soon};

/// A server on a thread of its own, which answers each byte with the next one.
fn server() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    thread::spawn(move || {
        current_thread().block_on(async {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    while let Ok(byte) = client.read_u8().await {
                        client.write_u8(byte + 1).await.unwrap();
                    }
                });
            }
        });
    });
    address
}

fn current_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Opens an Idem that talks to the server as it opens, and says how to talk to it afterwards.
async fn connected(server: SocketAddr) -> Result<(Idem, Background), Error> {
    let background = OnceLock::new();
    let idem = Idem::builder()
        .open_with(|context| {
            background.get_or_init(|| context.background.clone());
            async move {
                assert_eq!(asked(server, 1).await, 2);
                Ok(MemoryLedger::new(context.clock))
            }
        })
        .await?;
    Ok((idem, background.into_inner().unwrap()))
}

async fn asked(server: SocketAddr, byte: u8) -> u8 {
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_u8(byte).await.unwrap();
    stream.read_u8().await.unwrap()
}

#[idempotent(name = "opening.run", key = "id", skip(body))]
async fn run(id: u32, body: &Body) -> Result<u32, Oops> {
    Ok(body.run().await)
}

#[idempotent(name = "opening.sync", key = "id", skip(body))]
fn run_now(id: u32, body: &Body) -> Result<u32, Oops> {
    Ok(body.run_now())
}

async fn works(server: SocketAddr) {
    let (idem, background) = connected(server).await.unwrap();
    let body = Body::open();
    assert_eq!(idem.scope(run(1, &body)).await.unwrap(), 1);
    assert_eq!(background.run(asked(server, 7)).await.unwrap(), 8);
    idem.close().await.unwrap();
}

#[test]
fn it_opens_on_a_current_thread_runtime_without_io() {
    let server = server();
    on_a_thread(move || {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(works(server));
    });
}

#[test]
fn it_opens_on_a_plain_thread() {
    let server = server();
    on_a_thread(move || pollster::block_on(works(server)));
}

#[test]
fn a_sync_handler_may_wait_where_it_opens() {
    let server = server();
    on_a_thread(move || {
        current_thread().block_on(async {
            let (idem, _) = connected(server).await.unwrap();
            let body = Body::open();
            assert_eq!(idem.sync_scope(|| run_now(1, &body)).unwrap(), 1);
        });
    });
}

/// Says when it is dropped.
struct Dropped(Option<oneshot::Sender<()>>);

impl Dropped {
    fn new() -> (Self, oneshot::Receiver<()>) {
        let (dropped, is_dropped) = oneshot::channel();
        (Self(Some(dropped)), is_dropped)
    }
}

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.take().unwrap().send(());
    }
}

/// An opening that never ends.
fn endless(
    dropped: Dropped,
    connecting: oneshot::Sender<()>,
) -> impl Future<Output = Result<Idem, Error>> {
    Idem::builder().open_with(|context| async move {
        // As a ledger does whose connection has tasks of its own.
        let _held = (context, dropped);
        connecting.send(()).unwrap();
        pending::<Result<MemoryLedger, LedgerError>>().await
    })
}

#[tokio::test]
async fn an_opening_that_is_dropped_half_way_leaves_nothing() {
    let (dropped, is_dropped) = Dropped::new();
    let (connecting, connects) = oneshot::channel();
    let mut opening = Box::pin(endless(dropped, connecting));
    assert!(poll_once(opening.as_mut()).await.is_none());
    soon(connects).await.unwrap();
    drop(opening);
    soon(is_dropped).await.unwrap();
}

#[test]
fn an_opening_that_is_dropped_on_a_plain_thread_leaves_nothing() {
    on_a_thread(|| {
        let (dropped, is_dropped) = Dropped::new();
        let (connecting, connects) = oneshot::channel();
        let mut opening = Box::pin(endless(dropped, connecting));
        assert!(pollster::block_on(poll_once(opening.as_mut())).is_none());
        connects.blocking_recv().unwrap();
        drop(opening);
        is_dropped.blocking_recv().unwrap();
    });
}

#[tokio::test]
async fn an_opening_that_was_never_polled_starts_nothing() {
    let (dropped, is_dropped) = Dropped::new();
    let (connecting, connects) = oneshot::channel();
    drop(endless(dropped, connecting));
    soon(is_dropped).await.unwrap();
    connects.await.unwrap_err();
}

fn why(error: &Error) -> String {
    std::error::Error::source(error).unwrap().to_string()
}

#[tokio::test]
async fn a_ledger_that_cannot_be_opened_says_why() {
    let refused = LedgerError::Refused {
        message: "wrong password".to_owned(),
        source: None,
    };
    let opened = Idem::builder()
        .open_with(|_| ready(Err::<MemoryLedger, _>(refused)))
        .await;
    let error = why(&opened.unwrap_err());
    assert!(error.contains("wrong password"), "{error}");
}

#[tokio::test]
async fn a_connection_that_panics_is_an_error() {
    let (dropped, is_dropped) = Dropped::new();
    let opened = Idem::builder()
        .open_with(|_| async move {
            let _dropped = dropped;
            tokio::task::yield_now().await;
            panic!("no such driver");
            #[expect(unreachable_code, reason = "it gives the future its type")]
            Err::<MemoryLedger, _>(LedgerError::Closed)
        })
        .await;
    let error = why(&opened.unwrap_err());
    assert!(error.contains("no such driver"), "{error}");
    soon(is_dropped).await.unwrap();
}

#[tokio::test]
async fn it_can_be_closed_twice_and_at_once() {
    let (idem, background) = connected(server()).await.unwrap();
    let (one, other) = soon(async { tokio::join!(idem.close(), idem.close()) }).await;
    one.unwrap();
    other.unwrap();
    soon(idem.close()).await.unwrap();
    let error = soon(background.run(ready(()))).await.unwrap_err();
    assert!(matches!(error, LedgerError::Closed), "{error:?}");
}

#[tokio::test]
async fn a_closing_that_is_dropped_ends_all_the_same() {
    let (idem, _) = connected(server()).await.unwrap();
    let body = Body::shut();
    let mut call = Box::pin(idem.scope(run(1, &body)));
    body.holds(&mut call, 1).await;
    let mut closing = Box::pin(idem.close());
    assert!(poll_once(closing.as_mut()).await.is_none());
    drop(closing);
    body.let_go();
    assert_eq!(soon(call).await.unwrap(), 1);
    let error = soon(idem.scope(run(2, &body))).await.unwrap_err();
    assert!(matches!(error.into_idem(), Error::Closed { .. }));
    soon(idem.close()).await.unwrap();
}

/// Drops an Idem that a ledger's task, with a connection, keeps busy.
async fn dropped_without_closing(server: SocketAddr) {
    let (idem, background) = connected(server).await.unwrap();
    let (dropped, is_dropped) = Dropped::new();
    let mut stream = background
        .run(async move { TcpStream::connect(server).await.unwrap() })
        .await
        .unwrap();
    background.spawn(async move {
        let _dropped = dropped;
        let _ = stream.read_u8().await;
    });
    assert_eq!(idem.scope(run(1, &Body::open())).await.unwrap(), 1);
    drop(idem);
    is_dropped.await.unwrap();
}

#[test]
fn it_can_be_dropped_inside_of_a_runtime() {
    let server = server();
    on_a_thread(move || current_thread().block_on(dropped_without_closing(server)));
}

#[test]
fn it_can_be_dropped_outside_of_a_runtime() {
    let server = server();
    on_a_thread(move || pollster::block_on(dropped_without_closing(server)));
}

#[test]
fn it_can_be_dropped_on_its_own_thread() {
    on_a_thread(|| {
        pollster::block_on(async {
            let (idem, background) = connected(server()).await.unwrap();
            let (dropped, is_dropped) = oneshot::channel();
            background.spawn(async move {
                drop(idem);
                dropped.send(()).unwrap();
            });
            is_dropped.await.unwrap();
        });
    });
}

#[test]
fn a_blocking_task_of_the_ledger_does_not_hold_up_the_end() {
    on_a_thread(|| {
        let (goes_on, hangs) = std::sync::mpsc::channel::<()>();
        pollster::block_on(async {
            let (idem, background) = connected(server()).await.unwrap();
            let (started, starts) = oneshot::channel();
            background.spawn(async move {
                let hanging = tokio::task::spawn_blocking(move || {
                    started.send(()).unwrap();
                    let _ = hangs.recv();
                });
                hanging.await.unwrap();
            });
            starts.await.unwrap();
            drop(idem);
        });
        drop(goes_on);
    });
}

#[test]
fn a_sync_handler_that_waits_keeps_its_idem() {
    on_a_thread(|| {
        let (idem, _) = pollster::block_on(connected(server())).unwrap();
        let body = Body::shut();
        let waits = |idem: Idem, body: Arc<Body>| {
            thread::spawn(move || {
                let called = idem.sync_scope(|| {
                    drop(idem.clone());
                    run_now(1, &body)
                });
                drop(idem);
                called.unwrap()
            })
        };
        let first = waits(idem.clone(), body.clone());
        pollster::block_on(async {
            while body.starts() == 0 {
                thread::yield_now();
            }
        });
        let second = waits(idem.clone(), body.clone());
        drop(idem);
        body.let_go();
        assert_eq!(first.join().unwrap(), 1);
        assert_eq!(second.join().unwrap(), 1);
    });
}
