//! Who may connect, by address.

use std::net::{IpAddr, SocketAddr};

use connector_api::SettingsProblem;
use ipnet::IpNet;

/// Networks whose addresses may connect; every address where none is named.
#[derive(Clone, Debug, Default)]
pub struct Peers(Vec<IpNet>);

impl Peers {
    /// Reads the setting `allowed_peers`, and reports what of it is no network.
    pub fn check(allowed: &[String], problems: &mut Vec<SettingsProblem>) -> Peers {
        let mut nets = Vec::with_capacity(allowed.len());
        for (at, text) in allowed.iter().enumerate() {
            match text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
                Ok(net) => nets.push(net),
                Err(_) => problems.push(
                    SettingsProblem::new(
                        format!("settings.allowed_peers[{at}]"),
                        "is neither an address nor a network",
                    )
                    .hint("write `10.2.3.4` or `10.2.0.0/16`"),
                ),
            }
        }
        Peers(nets)
    }

    /// Whether an address may connect.
    pub fn allow(&self, peer: SocketAddr) -> bool {
        // A socket for both families shows IPv4 addresses inside IPv6 ones.
        let peer = peer.ip().to_canonical();
        self.0.is_empty() || self.0.iter().any(|net| net.contains(&peer))
    }
}
