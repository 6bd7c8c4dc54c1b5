//! The flags that say how a node's Pod network is to be. They are checked here against each other;
//! what they mean for a certain node, its agent tells in status.

use anyhow::ensure;
use clap::Args;
use clap::builder::BoolishValueParser;
use ipnet::IpNet;
use seaway_model::{Family, Settings, Transport, VxlanSettings, Wiring};

/// The least MTU that IPv4 is sure to work with (RFC 791), and the largest packet there is.
const MTU: std::ops::RangeInclusive<u32> = 576..=65535;

/// How the node's Pod network is to be.
#[derive(Args)]
#[command(next_help_heading = "Pod network")]
pub(crate) struct NetworkArgs {
    /// How Pods are joined to the node: routed, or by a bridge. A node with Pods changes when the
    /// last of them is gone.
    #[arg(long, env = "SEAWAY_WIRING", default_value_t)]
    wiring: Wiring,
    /// How packets get to other nodes: auto, direct, vxlan or l2.
    #[arg(long, env = "SEAWAY_TRANSPORT", default_value_t)]
    transport: Transport,
    /// The VXLAN network identifier, the same on all nodes.
    #[arg(long, env = "SEAWAY_VXLAN_VNI", value_name = "NUMBER", value_parser = vni,
        default_value_t = VxlanSettings::default().vni)]
    vxlan_vni: u32,
    /// The UDP port of VXLAN, the same on all nodes.
    #[arg(long, env = "SEAWAY_VXLAN_PORT", value_name = "PORT",
        value_parser = clap::value_parser!(u16).range(1..),
        default_value_t = VxlanSettings::default().port)]
    vxlan_port: u16,
    /// The family of the outer packets of VXLAN, the same on all nodes [default: ipv4 where the
    /// node has an IPv4 address].
    #[arg(long, env = "SEAWAY_VXLAN_UNDERLAY", value_name = "ipv4|ipv6", value_parser = family)]
    vxlan_underlay: Option<Family>,
    /// Neither send nor take VXLAN.
    #[arg(long, env = "SEAWAY_NO_VXLAN", value_parser = BoolishValueParser::new())]
    no_vxlan: bool,
    /// The MTU of Pod links in bytes [default: what the uplink's leaves].
    #[arg(long, env = "SEAWAY_MTU", value_name = "BYTES", value_parser = mtu)]
    mtu: Option<u32>,
    /// Pods that leave the cluster keep their own address.
    #[arg(long, env = "SEAWAY_NO_MASQUERADE", value_parser = BoolishValueParser::new())]
    no_masquerade: bool,
    /// Destinations outside the cluster towards which Pods keep their own address. May be given
    /// more than once.
    #[arg(long, env = "SEAWAY_KEEP_SOURCE_TO", value_name = "CIDR", value_delimiter = ',',
        value_parser = network)]
    keep_source_to: Vec<IpNet>,
}

impl NetworkArgs {
    /// The settings, checked against each other; those of Services are the default.
    pub(crate) fn settings(self) -> anyhow::Result<Settings> {
        ensure!(
            !(self.no_vxlan && self.transport == Transport::Vxlan),
            "--transport vxlan and --no-vxlan exclude each other; leave one of them out"
        );
        ensure!(
            !(self.no_vxlan && self.vxlan_underlay.is_some()),
            "--vxlan-underlay and --no-vxlan exclude each other; leave one of them out"
        );
        ensure!(
            !self.no_masquerade || self.keep_source_to.is_empty(),
            "--keep-source-to lists exceptions from masquerading, which --no-masquerade switches \
             off; leave one of them out"
        );
        let vxlan = VxlanSettings {
            vni: self.vxlan_vni,
            port: self.vxlan_port,
            underlay: self.vxlan_underlay,
        };
        Ok(Settings {
            wiring: self.wiring,
            transport: self.transport,
            vxlan: (!self.no_vxlan).then_some(vxlan),
            mtu: self.mtu,
            masquerade: !self.no_masquerade,
            keep_source_to: self.keep_source_to,
            ..Settings::default()
        })
    }
}

fn vni(text: &str) -> Result<u32, String> {
    let number = match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    };
    number
        .filter(|vni| (1..1 << 24).contains(vni))
        .ok_or_else(|| "it has 24 bits and is not 0: give 1 to 16777215".to_owned())
}

fn mtu(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|mtu| MTU.contains(mtu));
    number.ok_or_else(|| {
        format!(
            "give {} to {} bytes, with IPv6 at least 1280",
            MTU.start(),
            MTU.end()
        )
    })
}

fn family(text: &str) -> Result<Family, String> {
    match text.to_ascii_lowercase().as_str() {
        "ipv4" => Ok(Family::V4),
        "ipv6" => Ok(Family::V6),
        _ => Err("give ipv4 or ipv6".to_owned()),
    }
}

pub(crate) fn network(text: &str) -> Result<IpNet, String> {
    let net: IpNet = text
        .parse()
        .map_err(|_| "give a network such as 192.0.2.0/24".to_owned())?;
    match net.trunc() {
        whole if whole == net => Ok(net),
        whole => Err(format!("it has host bits set; the network is {whole}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        network: NetworkArgs,
    }

    fn settings(flags: &[&str]) -> anyhow::Result<Settings> {
        let cli = Cli::try_parse_from(std::iter::once("agent").chain(flags.iter().copied()))?;
        cli.network.settings()
    }

    #[test]
    fn without_flags_it_is_the_default() {
        assert_eq!(settings(&[]).expect("valid"), Settings::default());
    }

    #[test]
    fn every_flag_is_taken() {
        let flags = [
            "--wiring=bridge",
            "--transport=vxlan",
            "--vxlan-vni=0x10",
            "--vxlan-port=8472",
            "--vxlan-underlay=ipv6",
            "--mtu=1400",
            "--keep-source-to=192.0.2.0/24,198.51.100.0/24",
            "--keep-source-to=2001:db8::/32",
        ];
        let all = settings(&flags).expect("valid");
        let vxlan = VxlanSettings {
            vni: 16,
            port: 8472,
            underlay: Some(Family::V6),
        };
        assert_eq!((all.wiring, all.vxlan), (Wiring::Bridge, Some(vxlan)));
        assert_eq!((all.transport, all.mtu), (Transport::Vxlan, Some(1400)));
        assert_eq!((all.masquerade, all.keep_source_to.len()), (true, 3));
        let off = settings(&["--no-vxlan", "--no-masquerade"]).expect("valid");
        assert_eq!((off.vxlan, off.masquerade), (None, false));
    }

    #[test]
    fn refusals_name_the_flag_and_the_way_out() {
        for (flags, words) in [
            (&["--wiring=star"][..], &["--wiring", "routed, bridge"][..]),
            (&["--transport=VXLAN"], &["--transport", "auto, direct"]),
            (&["--vxlan-vni=0"], &["--vxlan-vni", "24 bits"]),
            (&["--vxlan-vni=16777216"], &["--vxlan-vni", "16777215"]),
            (&["--vxlan-port=0"], &["--vxlan-port"]),
            (&["--vxlan-port=65536"], &["--vxlan-port"]),
            (
                &["--vxlan-underlay=v5"],
                &["--vxlan-underlay", "ipv4 or ipv6"],
            ),
            (&["--mtu=575"], &["--mtu", "576 to 65535"]),
            (&["--mtu=65536"], &["--mtu", "1280"]),
            (
                &["--keep-source-to=192.0.2.1/24"],
                &["--keep-source-to", "the network is 192.0.2.0/24"],
            ),
            (
                &["--transport=vxlan", "--no-vxlan"],
                &["--transport vxlan", "--no-vxlan", "leave one"],
            ),
            (
                &["--vxlan-underlay=ipv6", "--no-vxlan"],
                &["--vxlan-underlay", "--no-vxlan"],
            ),
            (
                &["--no-masquerade", "--keep-source-to=192.0.2.0/24"],
                &["--keep-source-to", "--no-masquerade"],
            ),
        ] {
            let error = settings(flags).expect_err("refused").to_string();
            for word in words {
                assert!(error.contains(word), "{flags:?}: {error}");
            }
        }
    }
}
