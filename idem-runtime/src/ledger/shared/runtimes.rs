//! The tokio runtimes that connections can be used on.

use std::cell::Cell;
use std::net::{Ipv4Addr, UdpSocket};
use std::panic::catch_unwind;
use std::time::Duration;

use tokio::runtime::{Handle, Id};

thread_local! {
    /// The runtime that was asked about last, and the answer.
    static KNOWN: Cell<Option<(Id, bool)>> = const { Cell::new(None) };
}

/// Returns whether a runtime drives I/O and timers. tokio tells it by a panic only, so the thread's
/// first call in a runtime that does not lets the panic hook say so.
pub fn drives_io(runtime: &Handle) -> bool {
    let id = runtime.id();
    if let Some((known, drives)) = KNOWN.get()
        && known == id
    {
        return drives;
    }
    let _inside = runtime.enter();
    let drives = catch_unwind(|| {
        drop(tokio::time::sleep(Duration::ZERO));
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|socket| {
                socket.set_nonblocking(true)?;
                tokio::net::UdpSocket::from_std(socket)
            })
            .is_ok()
    });
    let drives = drives.unwrap_or(false);
    KNOWN.set(Some((id, drives)));
    drives
}
