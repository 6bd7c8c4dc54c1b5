//! The capabilities that Seaway serves (K9): `portMappings` and `bandwidth`, as the reference
//! plugins `portmap` and `bandwidth` read them. What they ask for is checked here; whether a port is
//! free is the agent's to know.

use std::net::IpAddr;

use seaway_model::{Extras, Family, PortMapping, Protocol, Rate};

use super::config::NetworkConfig;
use super::error::CniError;
use super::object::{FieldError, Object};

/// The keys of `runtimeConfig` that Seaway serves.
pub const CAPABILITIES: &[&str] = &["portMappings", "bandwidth"];

/// What the kernel's token bucket can count: bursts of less than 4 GiB.
const MAX_BURST_BITS: u64 = 8 * (u32::MAX as u64);
/// The kernel counts bytes.
const BITS: u64 = 8;

impl NetworkConfig {
    /// What the runtime asks for beyond addresses.
    ///
    /// # Errors
    ///
    /// Names the field by its path, and what is wrong with it.
    pub fn extras(&self) -> Result<Extras, CniError> {
        let asked = Object::of_fields("runtimeConfig", &self.runtime_config);
        let mut extras = Extras {
            ports: read_ports(&asked)?,
            ..Extras::default()
        };
        if let Some(bandwidth) = asked.object("bandwidth")? {
            extras.ingress = read_rate(&bandwidth, "ingressRate", "ingressBurst")?;
            extras.egress = read_rate(&bandwidth, "egressRate", "egressBurst")?;
        }
        Ok(extras)
    }

    /// Refuses ports of the node that lead nowhere: what comes for an address of one family goes to
    /// the Pod's address of that family, and `families` are those that it has.
    ///
    /// # Errors
    ///
    /// Names the field by its path, and the family.
    pub fn refuse_host_ips_outside(&self, families: &[Family]) -> Result<(), CniError> {
        let asked = Object::of_fields("runtimeConfig", &self.runtime_config);
        asked.objects("portMappings", |entry| {
            let host_ip = read_port(entry)?.and_then(|mapping| mapping.host_ip);
            let (ip, family) = match host_ip.map(|ip| (ip, Family::of(ip))) {
                Some((ip, family)) if !families.contains(&family) => (ip, family),
                _ => return Ok(()),
            };
            let why = format!(
                "is {ip}, and the Pod has no {family} address to which this port could lead; leave \
                 hostIP out, or give the node a pod CIDR of {family}"
            );
            Err(entry.error("hostIP", why))
        })?;
        Ok(())
    }
}

fn read_ports(asked: &Object<'_>) -> Result<Vec<PortMapping>, FieldError> {
    let mut ports: Vec<PortMapping> = Vec::new();
    let entries = asked.objects("portMappings", |entry| {
        let mapping = read_port(entry)?;
        Ok(mapping.map(|mapping| {
            let repeated = format!(
                "is {} {} again; a port of the node leads to one port of the Pod",
                mapping.host_port, mapping.protocol
            );
            (mapping, entry.error("hostPort", repeated))
        }))
    })?;
    for (mapping, error) in entries.into_iter().flatten() {
        if ports.contains(&mapping) {
            continue;
        }
        if ports.iter().any(|other| other.overlaps(&mapping)) {
            return Err(error);
        }
        ports.push(mapping);
    }
    Ok(ports)
}

/// An entry without a port of the node maps nothing, and is passed over.
fn read_port(entry: &Object<'_>) -> Result<Option<PortMapping>, FieldError> {
    let container_port = port(entry, "containerPort")?
        .ok_or_else(|| entry.error("containerPort", "must be a port, from 1 to 65535"))?;
    let protocol = entry.parsed("protocol", "tcp, udp or sctp")?;
    let host_ip: Option<IpAddr> = entry.parsed("hostIP", "an IP address")?;
    Ok(port(entry, "hostPort")?.map(|host_port| PortMapping {
        host_port,
        container_port,
        protocol: protocol.unwrap_or(Protocol::Tcp),
        host_ip: host_ip.map(|ip| ip.to_canonical()),
    }))
}

/// A port; 0 is none.
fn port(entry: &Object<'_>, key: &str) -> Result<Option<u16>, FieldError> {
    let number = entry.number_up_to(key, u64::from(u16::MAX))?;
    let port = number.and_then(|n| u16::try_from(n).ok());
    Ok(port.filter(|port| *port != 0))
}

fn read_rate(
    bandwidth: &Object<'_>,
    rate_key: &str,
    burst_key: &str,
) -> Result<Option<Rate>, FieldError> {
    let rate = bandwidth.number_up_to(rate_key, u64::MAX)?.unwrap_or(0);
    let burst = bandwidth
        .number_up_to(burst_key, MAX_BURST_BITS)?
        .unwrap_or(0);
    match (rate, burst) {
        (0, 0) => Ok(None),
        (0, _) => Err(bandwidth.error(
            rate_key,
            format!("must be set, in bits per second, for {burst_key} is"),
        )),
        (_, 0) => Err(bandwidth.error(
            burst_key,
            format!("must be set, in bits, for {rate_key} is"),
        )),
        (..BITS, _) => Err(bandwidth.error(rate_key, "must be at least 8 bits per second")),
        (_, ..BITS) => Err(bandwidth.error(burst_key, "must be at least 8 bits")),
        _ => Ok(Some(Rate {
            rate: rate - rate % BITS,
            burst: burst - burst % BITS,
        })),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn using(runtime_config: Value) -> NetworkConfig {
        let config = json!({"cniVersion": "1.1.0", "name": "pods", "type": "seaway-cni",
            "runtimeConfig": runtime_config});
        NetworkConfig::read(&config).expect("valid")
    }

    fn read(runtime_config: Value) -> Result<Extras, CniError> {
        using(runtime_config).extras()
    }

    /// The message without the words that are in each.
    fn short(error: &CniError) -> String {
        error.msg.replace(" of the network configuration", "")
    }

    fn refusal(runtime_config: Value) -> String {
        let error = read(runtime_config.clone()).expect_err("garbage");
        assert_eq!(error.code, 7, "{runtime_config}: {error}");
        short(&error)
    }

    #[test]
    fn k9_a_host_ip_needs_an_address_of_the_pod_in_its_family() {
        let config = using(json!({"portMappings": [
            {"hostPort": 1, "containerPort": 1},
            {"hostPort": 0, "containerPort": 1, "hostIP": "::"},
            {"hostPort": 2, "containerPort": 1, "hostIP": "192.0.2.1"},
            {"hostPort": 3, "containerPort": 1, "hostIP": "2001:db8::1"},
        ]}));
        let refused = |families: &[Family]| {
            let error = config.refuse_host_ips_outside(families).err()?;
            assert_eq!(error.code, 7, "{error}");
            Some(short(&error))
        };
        assert_eq!(refused(&Family::ALL), None);
        let why = refused(&[Family::V4]).expect("no IPv6");
        let start = "field runtimeConfig.portMappings[3].hostIP is 2001:db8::1, and the Pod has no";
        assert!(why.starts_with(start), "{why}");
        let why = refused(&[Family::V6]).expect("no IPv4");
        assert!(why.contains("portMappings[2].hostIP is 192.0.2.1"), "{why}");
    }

    #[test]
    fn k9_port_mappings_are_read_as_portmap_reads_them() {
        let extras = read(json!({"portMappings": [
            {"hostPort": 8080, "containerPort": 80},
            {"hostPort": 53, "containerPort": 5353, "protocol": "UDP", "hostIP": "192.0.2.1"},
            {"hostPort": 53, "containerPort": 5353, "protocol": "udp", "hostIP": "2001:db8::1"},
            {"hostPort": 9, "containerPort": 9, "protocol": "sctp", "hostIP": "", "name": "x"},
            {"hostPort": 0, "containerPort": 81},
            {"containerPort": 82},
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
        ]}))
        .expect("valid");
        let texts: Vec<String> = extras
            .ports
            .iter()
            .map(|p| {
                format!(
                    "{}/{} {:?} -> {}",
                    p.host_port, p.protocol, p.host_ip, p.container_port
                )
            })
            .collect();
        assert_eq!(
            texts,
            [
                "8080/tcp None -> 80",
                "53/udp Some(192.0.2.1) -> 5353",
                "53/udp Some(2001:db8::1) -> 5353",
                "9/sctp None -> 9",
            ]
        );
    }

    /// Its types have no names for JSON, so Go's own appear.
    #[test]
    fn k9_what_containerd_writes_is_read() {
        let extras = read(json!({
            "portMappings": [
                {"HostPort": 80, "ContainerPort": 8080, "Protocol": "udp", "HostIP": ""},
            ],
            "bandwidth": {"IngressRate": 8000, "IngressBurst": 4294967295u32,
                "EgressRate": 0, "EgressBurst": 0},
        }))
        .expect("valid");
        let port = &extras.ports[0];
        assert_eq!((port.host_port, port.container_port), (80, 8080));
        assert_eq!((port.protocol, port.host_ip), (Protocol::Udp, None));
        assert_eq!(extras.ingress.map(|rate| rate.rate), Some(8000));
        assert_eq!(extras.egress, None);
    }

    #[test]
    fn k9_bad_port_mappings_are_code_7_and_named() {
        for (mapping, words) in [
            (json!({"hostPort": 1}), "[0].containerPort must be a port"),
            (
                json!({"hostPort": 1, "containerPort": 0}),
                "[0].containerPort must be a port",
            ),
            (
                json!({"hostPort": 1, "containerPort": 65536}),
                "[0].containerPort must be a whole number from 0 to 65535, not 65536",
            ),
            (
                json!({"hostPort": -1, "containerPort": 1}),
                "[0].hostPort must be a whole number from 0 to 65535, not -1",
            ),
            (
                json!({"hostPort": "80", "containerPort": 1}),
                "[0].hostPort must be a whole number",
            ),
            (
                json!({"hostPort": 1, "containerPort": 1, "protocol": "icmp"}),
                "[0].protocol is \"icmp\", which is not tcp, udp or sctp",
            ),
            (
                json!({"hostPort": 1, "containerPort": 1, "hostIP": "localhost"}),
                "[0].hostIP is \"localhost\", which is not an IP address",
            ),
            (json!(80), "[0] must be an object"),
        ] {
            let msg = refusal(json!({"portMappings": [mapping]}));
            let start = format!("field runtimeConfig.portMappings{words}");
            assert!(msg.starts_with(&start), "{msg}");
        }
        let msg = refusal(json!({"portMappings": {}}));
        assert!(msg.starts_with("field runtimeConfig.portMappings must be a list"));
    }

    #[test]
    fn k9_a_port_of_the_node_leads_to_one_port_of_the_pod() {
        let both = |second: Value| {
            read(json!({"portMappings": [{"hostPort": 80, "containerPort": 1,
                "hostIP": "192.0.2.1"}, second]}))
        };
        for overlapping in [
            json!({"hostPort": 80, "containerPort": 2}),
            json!({"hostPort": 80, "containerPort": 2, "hostIP": "0.0.0.0"}),
            json!({"hostPort": 80, "containerPort": 2, "hostIP": "192.0.2.1"}),
        ] {
            let msg = short(&both(overlapping).expect_err("overlaps"));
            assert!(
                msg.contains("portMappings[1].hostPort is 80 tcp again"),
                "{msg}"
            );
        }
        for apart in [
            json!({"hostPort": 81, "containerPort": 2}),
            json!({"hostPort": 80, "containerPort": 2, "protocol": "udp"}),
            json!({"hostPort": 80, "containerPort": 2, "hostIP": "192.0.2.2"}),
            json!({"hostPort": 80, "containerPort": 2, "hostIP": "::"}),
        ] {
            assert!(both(apart).is_ok());
        }
    }

    #[test]
    fn k9_bandwidth_is_read_as_the_reference_plugin_reads_it() {
        let extras = read(
            json!({"bandwidth": {"ingressRate": 1_000_001, "ingressBurst": 4294967295u32,
            "egressRate": 0, "egressBurst": 0}}),
        )
        .expect("valid");
        let rate = Rate {
            rate: 1_000_000,
            burst: 4_294_967_288,
        };
        assert_eq!((extras.ingress, extras.egress), (Some(rate), None));
        assert_eq!(read(json!({"bandwidth": null})), Ok(Extras::default()));
        assert_eq!(read(json!({"bandwidth": {}})), Ok(Extras::default()));
    }

    #[test]
    fn k9_bad_bandwidths_are_code_7_and_named() {
        for (bandwidth, words) in [
            (
                json!({"ingressRate": 1000}),
                "ingressBurst must be set, in bits, for ingressRate is",
            ),
            (
                json!({"egressBurst": 1000}),
                "egressRate must be set, in bits per second",
            ),
            (
                json!({"egressRate": 7, "egressBurst": 8}),
                "egressRate must be at least 8",
            ),
            (
                json!({"egressRate": 8, "egressBurst": 7}),
                "egressBurst must be at least 8",
            ),
            (
                json!({"egressRate": 8, "egressBurst": 34_359_738_361u64}),
                "egressBurst must be a whole number from 0 to 34359738360",
            ),
            (
                json!({"ingressRate": -1}),
                "ingressRate must be a whole number",
            ),
            (
                json!({"ingressRate": 1.5}),
                "ingressRate must be a whole number",
            ),
            (
                json!({"ingressRate": "1M"}),
                "ingressRate must be a whole number",
            ),
        ] {
            let msg = refusal(json!({"bandwidth": bandwidth}));
            let start = format!("field runtimeConfig.bandwidth.{words}");
            assert!(msg.starts_with(&start), "{msg}");
        }
    }

    proptest! {
        #[test]
        fn k9_no_value_makes_the_reader_panic(
            key in "hostPort|containerPort|protocol|hostIP",
            text in r#"null|-?[0-9]{1,20}(\.[0-9]+)?(e[0-9]{1,3})?|"[a-z0-9:.]*"|\[\]|\{\}"#,
        ) {
            let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
            let mut mapping = json!({"hostPort": 1, "containerPort": 1});
            mapping[&key] = value.clone();
            let _ = read(json!({"portMappings": [mapping], "bandwidth": value}));
        }
    }
}
