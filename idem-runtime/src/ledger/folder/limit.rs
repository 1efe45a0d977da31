//! A write past the process's limit on file sizes: an error as on a full disk, and not the
//! process's end.

use std::fs;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Once};

use rustix::process::Signal;

/// Has `SIGXFSZ` do nothing where it would end the process, so that the write that it comes with is
/// refused instead.
pub(in crate::ledger) fn survive() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let signal = Signal::XFSZ.as_raw();
        if !ends_the_process(signal) {
            return;
        }
        // The signal is ignored: the refused write says the same.
        if let Err(error) = signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false))) {
            tracing::warn!(%error, "a write past the limit on file sizes will end the process");
        }
    });
}

/// Whether the signal has its default action. Where the system does not say so, it is left alone.
fn ends_the_process(signal: i32) -> bool {
    let Ok(status) = fs::read_to_string("/proc/self/status") else {
        return false;
    };
    let has = |name: &str| {
        let mask = status
            .lines()
            .find_map(|line| u64::from_str_radix(line.strip_prefix(name)?.trim(), 16).ok());
        mask.is_none_or(|mask| mask & (1 << (signal - 1)) != 0)
    };
    !has("SigIgn:") && !has("SigCgt:")
}
