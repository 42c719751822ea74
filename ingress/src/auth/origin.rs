//! Where a request comes from.

use std::net::IpAddr;

use common::database::audit;
use common::telemetry;
use ipnet::IpNet;
use poem::http::HeaderMap;
use poem::{FromRequest, Request, RequestBody, Result};

use super::context;

/// The longest user agent that is kept.
const LONGEST_USER_AGENT: usize = 256;

/// Where a request comes from, for sessions and the audit log.
#[derive(Clone, Debug, Default)]
pub struct Origin(pub audit::Origin);

impl<'a> FromRequest<'a> for Origin {
    async fn from_request(request: &'a Request, _body: &mut RequestBody) -> Result<Self> {
        Ok(Self::of(request))
    }
}

impl Origin {
    pub(super) fn of(request: &Request) -> Self {
        let trusted = &context(request).config.identity.trusted_proxies;
        Self(audit::Origin {
            address: client_address(request, trusted).map(|address| address.to_string()),
            user_agent: request
                .header("user-agent")
                .map(|agent| agent.chars().take(LONGEST_USER_AGENT).collect()),
            request_id: telemetry::current_request_id(),
        })
    }
}

/// The caller's address: the peer's, unless that is a trusted proxy; then the last in `X-Forwarded-For` that is not one.
/// What stands before it in the header, anybody could have written there.
pub fn client_address(request: &Request, trusted: &[IpNet]) -> Option<IpAddr> {
    let peer = request.remote_addr().as_socket_addr()?.ip();
    Some(forwarded_address(peer, request.headers(), trusted))
}

fn forwarded_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let peer = peer.to_canonical();
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    if !is_trusted(&peer) {
        return peer;
    }
    let forwarded = headers.get_all("x-forwarded-for");
    let lines: Vec<&str> = forwarded
        .iter()
        .filter_map(|line| line.to_str().ok())
        .collect();
    let mut client = peer;
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let Ok(address) = hop.trim().parse::<IpAddr>() else {
            break;
        };
        client = address.to_canonical();
        if !is_trusted(&client) {
            break;
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        forwarded_address(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn a_forwarded_address_is_believed_from_a_trusted_proxy_only() {
        assert_eq!(address("203.0.113.9", &["198.51.100.1"]), "203.0.113.9");
        assert_eq!(address("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(address("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn what_the_caller_wrote_before_the_proxy_did_is_not_believed() {
        assert_eq!(
            address("10.0.0.1", &["1.1.1.1, 198.51.100.1, 10.0.0.2"]),
            "198.51.100.1"
        );
        assert_eq!(
            address("10.0.0.1", &["1.1.1.1", "198.51.100.1"]),
            "198.51.100.1"
        );
        assert_eq!(address("10.0.0.1", &["1.1.1.1, nonsense"]), "10.0.0.1");
    }
}
