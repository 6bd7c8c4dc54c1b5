//! Rules for addresses and networks that come from outside, whatever source they come by.

use std::net::IpAddr;

use ipnet::IpNet;

/// Why a text is no address or network that a node or Pod can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is no address at all; leading zeros are no address either.
    #[error("\"{0}\" is not an IP address")]
    NoAddress(String),
    /// It is an address that no node or Pod can have.
    #[error("{0} cannot be anybody's")]
    Nobodys(IpAddr),
    /// It is no network.
    #[error(
        "\"{0}\" is not a network: want an address with a prefix length, such as 10.244.1.0/24"
    )]
    NoNetwork(String),
    /// It is an address within a network.
    #[error("{0} has host bits set; the network is {network}", network = .0.trunc())]
    HostBits(IpNet),
    /// It is larger than anybody means.
    #[error("{0} is too large; want /8 or longer")]
    TooLarge(IpNet),
}

/// The address of a node or Pod.
///
/// # Errors
///
/// The text is no address, or one that is unspecified, multicast or loopback.
pub fn host_address(text: &str) -> Result<IpAddr, AddressError> {
    let no_address = |_| AddressError::NoAddress(text.to_owned());
    let address: IpAddr = text.parse().map_err(no_address)?;
    let unusable = address.is_unspecified() || address.is_multicast() || address.is_loopback();
    match unusable {
        true => Err(AddressError::Nobodys(address)),
        false => Ok(address),
    }
}

/// A network that Pods get their addresses from.
///
/// # Errors
///
/// The text is no network, has host bits set, or is larger than a /8.
pub fn pod_network(text: &str) -> Result<IpNet, AddressError> {
    let no_network = |_| AddressError::NoNetwork(text.to_owned());
    let network: IpNet = text.parse().map_err(no_network)?;
    if network != network.trunc() {
        return Err(AddressError::HostBits(network));
    }
    match network.prefix_len() {
        0..8 => Err(AddressError::TooLarge(network)),
        _ => Ok(network),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_somebodys() {
        for good in ["10.0.0.1", "fd00::1", "fe80::1", "203.0.113.7"] {
            assert!(host_address(good).is_ok(), "{good}");
        }
        for (bad, words) in [
            ("10.0.0", "not an IP address"),
            ("010.0.0.1", "not an IP address"),
            ("", "not an IP address"),
            ("127.0.0.1", "cannot be anybody's"),
            ("::", "cannot be anybody's"),
            ("ff02::1", "cannot be anybody's"),
        ] {
            let error = host_address(bad).expect_err(bad).to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn networks_are_whole() {
        for good in ["10.0.0.0/8", "10.244.1.0/24", "fd00:10::/64"] {
            assert!(pod_network(good).is_ok(), "{good}");
        }
        for (bad, words) in [
            ("10.0.0.1", "is not a network"),
            ("10.0.0.1/24", "the network is 10.0.0.0/24"),
            ("0.0.0.0/0", "too large"),
            ("fd00::1/64", "the network is fd00::/64"),
        ] {
            let error = pod_network(bad).expect_err(bad).to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
