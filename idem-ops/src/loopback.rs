//! Whether what is said to a host stays on this machine.

use url::Host;

/// Nobody else can hear what is sent there, so that it may go unprotected.
pub fn is_loopback<S: AsRef<str>>(host: &Host<S>) -> bool {
    match host {
        Host::Domain(name) => name.as_ref() == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}
