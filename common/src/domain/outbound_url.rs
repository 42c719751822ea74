//! Addresses that tenants have us call: they must not lead into our own network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// The longest that is kept.
const LONGEST: usize = 2_048;

/// Names that mean a private network, by their last part.
const PRIVATE_NAMES: [&str; 8] = [
    "localhost",
    "local",
    "localdomain",
    "internal",
    "intranet",
    "lan",
    "home",
    "corp",
];

/// An `https` address outside our network, by what it says of itself. Where its name leads is known only when it is called:
/// the caller must hold every address it resolves to against [`is_public`] then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundUrl(Url);

impl OutboundUrl {
    /// # Errors
    ///
    /// What is wrong with it, for people.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        if text.len() > LONGEST {
            return Err("at most 2,048 characters");
        }
        let url = Url::parse(text).map_err(|_| "is no URL")?;
        if url.scheme() != "https" {
            return Err("must begin with https://");
        }
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err("has neither a user nor a fragment");
        }
        let public = match url.host() {
            Some(Host::Domain(name)) => is_public_name(name),
            Some(Host::Ipv4(address)) => is_public(address.into()),
            Some(Host::Ipv6(address)) => is_public(address.into()),
            None => false,
        };
        if public {
            Ok(Self(url))
        } else {
            Err("must not lead to a private network")
        }
    }

    /// As it is kept.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

fn is_public_name(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    // A name without a dot is looked up in our own network.
    name.rsplit_once('.')
        .is_some_and(|(_, last)| !PRIVATE_NAMES.contains(&last))
}

/// Whether an address is anybody's on the internet, as opposed to private, local, reserved or a group's.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let reserved = matches!(
        (a, b, c),
        // This network; carrier-grade NAT; IETF assignments; benchmarks; multicast and above.
        (0 | 224.., _, _) | (100, 64..=127, _) | (192, 0, 0) | (192, 88, 99) | (198, 18 | 19, _)
    );
    !(reserved
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    // Global unicast only; without documentation, Teredo, 6to4 and other ways to write an IPv4 address.
    (first & 0xe000) == 0x2000
        && first != 0x2002
        && first != 0x3fff
        && !(first == 0x2001 && (second < 0x0200 || second == 0x0db8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_internet_may_be_called() {
        for url in [
            "https://example.com/hook?a=b",
            "https://example.com:8443",
            "https://93.184.215.14/",
            "https://[2606:2800:21f::1]/",
        ] {
            assert!(OutboundUrl::new(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn our_own_network_may_not_however_it_is_written() {
        for url in [
            "http://example.com/",
            "ftp://example.com/",
            "https://user@example.com/",
            "https://example.com/#a",
            "https://localhost/",
            "https://LOCALHOST./",
            "https://a.internal/",
            "https://redis/",
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://10.1.2.3/",
            "https://169.254.169.254/latest/meta-data",
            "https://100.64.0.1/",
            "https://0.0.0.0/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://[fd00::1]/",
            "https://[fe80::1]/",
            "https://[64:ff9b::7f00:1]/",
            "https://[2002:7f00:1::]/",
            "https://",
            "nonsense",
        ] {
            assert!(OutboundUrl::new(url).is_err(), "{url}");
        }
    }
}
