//! Proxies whose `X-Forwarded-For` is trusted.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::Deserialize;

/// A network, written as `10.0.0.0/8`, or one address, written as `192.0.2.7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Network(IpNet);

/// A text that is neither a network nor an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is neither a network nor an address: write `10.0.0.0/8` or `192.0.2.7`", text.escape_debug())]
#[non_exhaustive]
pub struct NotANetwork {
    /// As given.
    pub text: String,
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let network = text
            .parse()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(Self).map_err(|_| NotANetwork {
            text: text.to_owned(),
        })
    }
}

impl TryFrom<String> for Network {
    type Error = NotANetwork;

    fn try_from(text: String) -> Result<Self, NotANetwork> {
        text.parse()
    }
}

/// Returns the address of the client: the connected one, or the last one in `X-Forwarded-For` that
/// is not a trusted proxy. Each proxy appends, so the header is read from its end; a client can
/// have written everything before that address.
#[cfg(feature = "dashboard")]
pub(crate) fn peer(
    connected: Option<IpAddr>,
    headers: &http::HeaderMap,
    trusted: &[Network],
) -> Option<IpAddr> {
    let mut peer = connected?.to_canonical();
    let lines = headers.get_all("x-forwarded-for").iter().rev();
    let mut named = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
    while trusted.iter().any(|network| network.0.contains(&peer)) {
        match named.next().and_then(|name| address(name.trim())) {
            Some(address) => peer = address.to_canonical(),
            None => break,
        }
    }
    Some(peer)
}

/// Parses an address, which some proxies write with a port.
#[cfg(feature = "dashboard")]
fn address(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse().ok().or_else(|| {
        text.parse::<std::net::SocketAddr>()
            .ok()
            .map(|address| address.ip())
    })
}

#[cfg(test)]
#[cfg(feature = "dashboard")]
mod tests {
    use super::*;

    fn seen(connected: &str, lines: &[&'static str], trusted: &[&str]) -> String {
        let trusted: Vec<Network> = trusted
            .iter()
            .map(|network| network.parse().unwrap())
            .collect();
        let mut headers = http::HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        peer(Some(connected.parse().unwrap()), &headers, &trusted)
            .unwrap()
            .to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed_and_the_nearest_first() {
        let ours = ["10.0.0.0/8", "::1"];
        assert_eq!(
            seen("10.0.0.1", &["192.0.2.7"], &[]),
            "10.0.0.1",
            "no proxy is trusted"
        );
        assert_eq!(
            seen("192.0.2.1", &["192.0.2.7"], &ours),
            "192.0.2.1",
            "it is not a trusted proxy"
        );
        assert_eq!(seen("10.0.0.1", &["192.0.2.7"], &ours), "192.0.2.7");
        assert_eq!(
            seen("10.0.0.1", &["1.1.1.1, 192.0.2.7, 10.2.3.4"], &ours),
            "192.0.2.7",
            "the client can have written the rest"
        );
        assert_eq!(
            seen("10.0.0.1", &["1.1.1.1", "192.0.2.7"], &ours),
            "192.0.2.7",
            "the last line is the nearest"
        );
        assert_eq!(
            seen("10.0.0.1", &["10.1.1.1"], &ours),
            "10.1.1.1",
            "a request of the proxy itself"
        );
        assert_eq!(
            seen("10.0.0.1", &["unknown, 10.2.3.4"], &ours),
            "10.2.3.4",
            "text that is not an address ends it"
        );
        assert_eq!(seen("::1", &["192.0.2.7:4711"], &ours), "192.0.2.7");
        assert_eq!(
            seen("::ffff:10.0.0.1", &["[2001:db8::1]:443"], &ours),
            "2001:db8::1"
        );
        assert_eq!(seen("10.0.0.1", &["[2001:db8::1]"], &ours), "2001:db8::1");
    }

    #[test]
    fn an_invalid_network_is_named() {
        let error = "10.0.0.0/99".parse::<Network>().unwrap_err();
        assert!(error.to_string().contains("10.0.0.0/99"), "{error}");
    }
}
