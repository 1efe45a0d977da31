//! Counts failed authentications, by address and in total.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::AuthError;

/// The failures of one address within [`WINDOW`] after which further ones have to wait.
pub(super) const OF_ONE: u32 = 10;
/// The failures of all addresses after which further ones have to wait.
pub(super) const OF_ALL: u32 = 100;
const WINDOW: Duration = Duration::from_secs(60);
/// The number of addresses that are remembered; beyond it, new ones share one count.
const ADDRESSES: usize = 10_000;

/// The failures of the last minute.
#[derive(Default)]
pub(super) struct Failures(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    by_address: HashMap<Option<IpAddr>, Window>,
    all: Window,
}

/// The failures since the first one of a window.
#[derive(Default, Clone, Copy)]
struct Window {
    failures: u32,
    since: Option<Instant>,
}

impl Window {
    fn wait(&self, most: u32, now: Instant) -> Option<Duration> {
        let left = WINDOW.checked_sub(now.duration_since(self.since?))?;
        (self.failures >= most && !left.is_zero()).then_some(left)
    }

    fn count(&mut self, now: Instant) {
        if self.is_over(now) {
            (self.failures, self.since) = (0, Some(now));
        }
        self.failures += 1;
    }

    fn is_over(&self, now: Instant) -> bool {
        self.since
            .is_none_or(|since| now.duration_since(since) >= WINDOW)
    }
}

impl Failures {
    /// Returns the error of an address with too many failures.
    pub(super) fn too_many(&self, address: Option<IpAddr>, now: Instant) -> Option<AuthError> {
        let counts = self.0.lock();
        let of_one = counts
            .by_address
            .get(&network(address))
            .and_then(|window| window.wait(OF_ONE, now));
        let wait = of_one.max(counts.all.wait(OF_ALL, now))?;
        Some(AuthError::TooMany { wait })
    }

    /// Counts a failure and returns its error.
    pub(super) fn count(&self, address: Option<IpAddr>, now: Instant) -> AuthError {
        if let Some(error) = self.too_many(address, now) {
            return error;
        }
        let mut counts = self.0.lock();
        let mut address = network(address);
        if counts.by_address.len() >= ADDRESSES && !counts.by_address.contains_key(&address) {
            counts.by_address.retain(|_, window| !window.is_over(now));
            if counts.by_address.len() >= ADDRESSES {
                address = None;
            }
        }
        counts.by_address.entry(address).or_default().count(now);
        counts.all.count(now);
        AuthError::Wrong
    }
}

/// Returns the network whose failures count together: a holder of one IPv6 address has 2^64.
fn network(address: Option<IpAddr>) -> Option<IpAddr> {
    match address.map(|address| address.to_canonical()) {
        Some(IpAddr::V6(address)) => Some(IpAddr::V6(Ipv6Addr::from_bits(
            address.to_bits() & !u128::from(u64::MAX),
        ))),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn a_window_ends() {
        let (failures, start) = (Failures::default(), Instant::now());
        for _ in 0..OF_ONE {
            failures.count(address(1), start);
        }
        assert!(failures.too_many(address(1), start + WINDOW / 2).is_some());
        assert!(failures.too_many(address(1), start + WINDOW).is_none());
    }

    #[test]
    fn the_number_of_remembered_addresses_is_limited() {
        let (failures, start) = (Failures::default(), Instant::now());
        for number in 0..2 * ADDRESSES as u64 {
            // Far apart in time, so that the total stays low.
            let now = start + WINDOW * u32::try_from(number / 50).unwrap();
            failures.count(
                Some(IpAddr::from(Ipv6Addr::from_bits(u128::from(number) << 64))),
                now,
            );
        }
        assert!(failures.0.lock().by_address.len() <= ADDRESSES);
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_together() {
        let of = |text: &str| network(Some(text.parse().unwrap()));
        assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), address(1));
    }
}
