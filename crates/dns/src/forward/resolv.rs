//! The node's own `/etc/resolv.conf`: whom it asks. Pure but for names of links in addresses.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

/// The port of name servers.
const PORT: u16 = 53;
/// More are ignored, as the C library does.
const MOST: usize = 3;

/// The servers that the text names, in order, each once.
pub(crate) fn servers(text: &str) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        let server = words.next().and_then(server);
        found.extend(server.filter(|server| !found.contains(server)));
    }
    found.truncate(MOST);
    found
}

fn server(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, PORT));
    }
    let (address, link) = text.split_once('%')?;
    let number = link.parse().ok();
    let index = number.or_else(|| nix::net::if_::if_nametoindex(link).ok())?;
    let address = address.parse().ok()?;
    Some(SocketAddrV6::new(address, PORT, 0, index).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_as_the_c_library_reads_them() {
        let text = "# made by hand\nsearch example.com\n\
                    nameserver 192.0.2.53 # first\n  nameserver\t2001:db8::53\n\
                    nameserver 192.0.2.53\nnameserver nowhere\nnameservers 192.0.2.9\n\
                    ;nameserver 192.0.2.8\nnameserver fe80::1%7\nnameserver 192.0.2.55\n";
        let expected = ["192.0.2.53:53", "[2001:db8::53]:53", "[fe80::1%7]:53"];
        let found: Vec<_> = servers(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
        assert_eq!(servers(""), []);
    }
}
