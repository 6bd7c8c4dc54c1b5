//! A Service as the model has it.
//!
//! What is wrong with a field that stands for itself (one address of several) is passed over and
//! told. What is wrong with one that the rest depends on, or that would let more people in than
//! was meant, makes the object wrong.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1 as core;
use seaway_model::{
    AFFINITY_SECONDS, Family, Protocol, Service, ServiceKind, ServiceName, ServicePort,
    TrafficPolicy,
};

use super::{FieldError, Read};

/// Somebody else balances a Service that has this label, whoever it names (S34).
pub const PROXY_NAME_LABEL: &str = "service.kubernetes.io/service-proxy-name";
/// A Service with this label is headless for those who balance, whatever addresses it has (S34).
pub const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";
/// The longest that a client may keep its endpoint, in seconds (S25).
const LONGEST_AFFINITY: i32 = 86_400;

/// A Service.
///
/// # Errors
///
/// Names the field of an object that cannot be right.
pub fn service(object: &core::Service) -> Result<Read<Service>, FieldError> {
    let meta = &object.metadata;
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let name = ServiceName::new(namespace, meta.name.as_deref().unwrap_or_default());
    let name = name.map_err(|e| FieldError::new("metadata.name", e))?;
    let spec = object.spec.clone().unwrap_or_default();
    let kind = kind(&spec)?;
    let created = meta.creation_timestamp.as_ref();
    let labelled = |label: &str| (meta.labels.as_ref()).is_some_and(|all| all.contains_key(label));
    let mut passed_over = Vec::new();
    let mut service = Service {
        name,
        created: created.map_or(0, |at| at.0.as_second()),
        kind,
        cluster_ips: Vec::new(),
        ports: Vec::new(),
        external_ips: Vec::new(),
        load_balancer_ips: Vec::new(),
        source_ranges: Vec::new(),
        external_policy: TrafficPolicy::Cluster,
        internal_policy: TrafficPolicy::Cluster,
        affinity: None,
        health_port: None,
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or_default(),
        foreign: labelled(PROXY_NAME_LABEL),
    };
    if !matches!(service.kind, ServiceKind::ExternalName(_)) {
        service.cluster_ips = cluster_ips(&spec)?;
        service.foreign |= labelled(HEADLESS_LABEL) && !service.cluster_ips.is_empty();
        service.ports = ports(&spec, &service.kind)?;
        service.external_policy =
            policy("spec.externalTrafficPolicy", &spec.external_traffic_policy)?;
        service.internal_policy =
            policy("spec.internalTrafficPolicy", &spec.internal_traffic_policy)?;
        service.affinity = affinity(&spec, &mut passed_over)?;
        service.external_ips = external_ips(&spec, &mut passed_over);
    }
    if service.kind == ServiceKind::LoadBalancer {
        service.load_balancer_ips = load_balancer_ips(object, &mut passed_over);
        service.source_ranges = source_ranges(&spec)?;
        service.health_port = health_port(&spec, service.external_policy, &mut passed_over);
    }
    Ok(Read {
        value: service,
        passed_over,
    })
}

fn kind(spec: &core::ServiceSpec) -> Result<ServiceKind, FieldError> {
    match spec.type_.as_deref() {
        None | Some("" | "ClusterIP") => Ok(ServiceKind::ClusterIp),
        Some("NodePort") => Ok(ServiceKind::NodePort),
        Some("LoadBalancer") => Ok(ServiceKind::LoadBalancer),
        Some("ExternalName") => {
            let name = spec.external_name.clone().unwrap_or_default();
            Ok(ServiceKind::ExternalName(name))
        }
        Some(other) => Err(FieldError::new(
            "spec.type",
            format!("\"{other}\" is no type of a Service"),
        )),
    }
}

fn cluster_ips(spec: &core::ServiceSpec) -> Result<Vec<IpAddr>, FieldError> {
    let (field, texts) = match (&spec.cluster_ips, &spec.cluster_ip) {
        (Some(all), _) if !all.is_empty() => ("spec.clusterIPs", all.as_slice()),
        (_, Some(one)) => ("spec.clusterIP", std::slice::from_ref(one)),
        _ => return Ok(Vec::new()),
    };
    let given = texts
        .iter()
        .filter(|text| !matches!(text.as_str(), "" | "None"));
    let all: Vec<IpAddr> = given
        .map(|text| address(field, text))
        .collect::<Result<_, _>>()?;
    for family in Family::ALL {
        let count = all.iter().filter(|a| Family::of(**a) == family).count();
        if count > 1 {
            let reason = format!("{count} of them are {family}; there is at most one a family");
            return Err(FieldError::new(field, reason));
        }
    }
    Ok(all)
}

fn ports(spec: &core::ServiceSpec, kind: &ServiceKind) -> Result<Vec<ServicePort>, FieldError> {
    let has_node_ports = matches!(kind, ServiceKind::NodePort | ServiceKind::LoadBalancer);
    let read = |entry: &core::ServicePort| {
        let node_port = entry.node_port.filter(|port| has_node_ports && *port != 0);
        Ok(ServicePort {
            name: entry.name.clone().unwrap_or_default(),
            protocol: protocol("spec.ports.protocol", entry.protocol.as_deref())?,
            port: port("spec.ports.port", entry.port)?,
            node_port: node_port
                .map(|number| port("spec.ports.nodePort", number))
                .transpose()?,
        })
    };
    let all = spec.ports.as_deref().unwrap_or_default();
    all.iter().map(read).collect()
}

fn external_ips(spec: &core::ServiceSpec, passed_over: &mut Vec<FieldError>) -> Vec<IpAddr> {
    let all = spec.external_ips.as_deref().unwrap_or_default().iter();
    good(
        all.map(|text| address("spec.externalIPs", text)),
        passed_over,
    )
}

/// S19: those of mode `Proxy` are reached from outside only, and names are nobody's to translate.
fn load_balancer_ips(object: &core::Service, passed_over: &mut Vec<FieldError>) -> Vec<IpAddr> {
    let status = object.status.as_ref();
    let status = status.and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|status| status.ingress.as_deref());
    let ours = ingress.unwrap_or_default().iter().filter_map(|entry| {
        let ip = entry.ip.as_deref().filter(|ip| !ip.is_empty())?;
        match entry.ip_mode.as_deref() {
            None | Some("" | "VIP") => Some(address("status.loadBalancer.ingress.ip", ip)),
            Some("Proxy") => None,
            Some(other) => Some(Err(FieldError::new(
                "status.loadBalancer.ingress.ipMode",
                format!("\"{other}\" of {ip} is no mode; it is one of VIP, Proxy"),
            ))),
        }
    });
    good(ours, passed_over)
}

/// Without them everybody may come in, so that one that cannot be read makes the Service wrong.
fn source_ranges(spec: &core::ServiceSpec) -> Result<Vec<IpNet>, FieldError> {
    let all = spec.load_balancer_source_ranges.as_deref();
    let read = |text: &String| {
        let net: Result<IpNet, _> = text.trim().parse();
        let wrong = |_| {
            let reason = format!("\"{text}\" is not a network, such as 192.0.2.0/24");
            FieldError::new("spec.loadBalancerSourceRanges", reason)
        };
        net.map(|net| net.trunc()).map_err(wrong)
    };
    all.unwrap_or_default().iter().map(read).collect()
}

fn policy(field: &'static str, text: &Option<String>) -> Result<TrafficPolicy, FieldError> {
    match text.as_deref() {
        None | Some("" | "Cluster") => Ok(TrafficPolicy::Cluster),
        Some("Local") => Ok(TrafficPolicy::Local),
        Some(other) => Err(FieldError::new(
            field,
            format!("\"{other}\" is no policy; it is one of Cluster, Local"),
        )),
    }
}

fn affinity(
    spec: &core::ServiceSpec,
    passed_over: &mut Vec<FieldError>,
) -> Result<Option<u32>, FieldError> {
    match spec.session_affinity.as_deref() {
        None | Some("" | "None") => return Ok(None),
        Some("ClientIP") => {}
        Some(other) => {
            let reason = format!("\"{other}\" is no affinity; it is one of None, ClientIP");
            return Err(FieldError::new("spec.sessionAffinity", reason));
        }
    }
    let config = spec.session_affinity_config.as_ref();
    let client = config.and_then(|config| config.client_ip.as_ref());
    let Some(seconds) = client.and_then(|client| client.timeout_seconds) else {
        return Ok(Some(AFFINITY_SECONDS));
    };
    let within = u32::try_from(seconds).ok();
    let within = within.filter(|_| (1..=LONGEST_AFFINITY).contains(&seconds));
    if within.is_none() {
        passed_over.push(FieldError::new(
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            format!("{seconds} is not within 1 to {LONGEST_AFFINITY}, so it is {AFFINITY_SECONDS}"),
        ));
    }
    Ok(Some(within.unwrap_or(AFFINITY_SECONDS)))
}

fn health_port(
    spec: &core::ServiceSpec,
    external_policy: TrafficPolicy,
    passed_over: &mut Vec<FieldError>,
) -> Option<u16> {
    let number = spec.health_check_node_port.filter(|number| *number != 0)?;
    if external_policy != TrafficPolicy::Local {
        return None;
    }
    let port = std::iter::once(port("spec.healthCheckNodePort", number));
    good(port, passed_over).pop()
}

/// Those that can be right; the others are told.
pub(super) fn good<T>(
    all: impl Iterator<Item = Result<T, FieldError>>,
    passed_over: &mut Vec<FieldError>,
) -> Vec<T> {
    all.filter_map(|one| one.map_err(|error| passed_over.push(error)).ok())
        .collect()
}

/// Any address: whose it can be is judged where all of the cluster is known.
pub(super) fn address(field: &'static str, text: &str) -> Result<IpAddr, FieldError> {
    let wrong = |_| FieldError::new(field, format!("\"{text}\" is not an IP address"));
    text.parse().map_err(wrong)
}

pub(super) fn port(field: &'static str, number: i32) -> Result<u16, FieldError> {
    let port = u16::try_from(number).ok().filter(|port| *port != 0);
    port.ok_or_else(|| FieldError::new(field, format!("{number} is not within 1 to 65535")))
}

pub(super) fn protocol(field: &'static str, text: Option<&str>) -> Result<Protocol, FieldError> {
    match text {
        None | Some("") => Ok(Protocol::Tcp),
        Some(text) => text.parse().map_err(|e| {
            let e: seaway_model::ProtocolError = e;
            FieldError::new(field, e)
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(spec: Value, status: Value) -> Result<Read<Service>, FieldError> {
        let object = json!({"metadata": {"name": "web", "namespace": "default",
            "creationTimestamp": "1970-01-01T00:01:00Z"}, "spec": spec, "status": status});
        service(&serde_json::from_value(object).expect("a Service"))
    }

    fn good_one(spec: Value) -> Service {
        let read = read(spec, json!({})).expect("good");
        assert_eq!(read.passed_over, []);
        read.value
    }

    #[test]
    fn s1_each_kind_has_what_the_one_before_has() {
        let whole = |kind: &str| {
            good_one(
                json!({"type": kind, "externalName": "example.org", "clusterIPs": ["10.96.0.7"],
                "externalTrafficPolicy": "Local", "healthCheckNodePort": 32000,
                "loadBalancerSourceRanges": ["192.0.2.7/24 "],
                "ports": [{"port": 80, "nodePort": 30080}]}),
            )
        };
        let cluster_ip = whole("ClusterIP");
        assert_eq!(
            (cluster_ip.kind, cluster_ip.created),
            (ServiceKind::ClusterIp, 60)
        );
        assert_eq!(cluster_ip.ports[0].node_port, None);
        assert_eq!(whole("NodePort").ports[0].node_port, Some(30080));
        assert_eq!(whole("NodePort").health_port, None);
        let balancer = whole("LoadBalancer");
        assert_eq!(balancer.health_port, Some(32000));
        let range: IpNet = "192.0.2.0/24".parse().expect("valid");
        assert_eq!(balancer.source_ranges, [range]);
        let alias = whole("ExternalName");
        assert_eq!(
            alias.kind,
            ServiceKind::ExternalName("example.org".to_owned())
        );
        assert!(alias.cluster_ips.is_empty() && alias.ports.is_empty());
        assert!(good_one(json!({"clusterIP": "None"})).is_headless());
    }

    #[test]
    fn s2_one_number_may_be_a_port_of_several_protocols() {
        let ports = json!([{"name": "a", "port": 53, "protocol": "TCP"},
            {"name": "b", "port": 53, "protocol": "UDP"}, {"name": "c", "port": 53, "protocol": "SCTP"}]);
        let service = good_one(json!({"clusterIP": "10.96.0.7", "ports": ports}));
        let protocols: Vec<_> = service.ports.iter().map(|port| port.protocol).collect();
        assert_eq!(protocols, Protocol::ALL);
        let bare = good_one(json!({"ports": [{"port": 80}]}));
        assert_eq!(
            (bare.ports[0].protocol, bare.ports[0].name.as_str()),
            (Protocol::Tcp, "")
        );
    }

    #[test]
    fn s4_both_families_have_an_address() {
        let service = good_one(json!({"clusterIP": "10.96.0.7",
            "clusterIPs": ["10.96.0.7", "fd00:96::7"]}));
        assert_eq!(service.cluster_ips.len(), 2);
        let twice = read(json!({"clusterIPs": ["10.96.0.7", "10.96.0.8"]}), json!({}));
        let error = twice.expect_err("two of one family").to_string();
        assert!(
            error.contains("spec.clusterIPs: 2 of them are IPv4"),
            "{error}"
        );
    }

    #[test]
    fn s19_only_virtual_addresses_of_a_load_balancer_count() {
        let status = json!({"loadBalancer": {"ingress": [
            {"ip": "203.0.113.1"}, {"ip": "203.0.113.2", "ipMode": "VIP"},
            {"ip": "203.0.113.3", "ipMode": "Proxy"}, {"hostname": "lb.example.org"},
            {"ip": "203.0.113.4", "ipMode": "Magic"}, {"ip": "203.0.113.05"}]}});
        let read = read(json!({"type": "LoadBalancer"}), status.clone()).expect("good");
        let texts: Vec<String> = read
            .value
            .load_balancer_ips
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(texts, ["203.0.113.1", "203.0.113.2"]);
        assert_eq!(read.passed_over.len(), 2, "{:?}", read.passed_over);
        let other = super::tests::read(json!({"type": "NodePort"}), status).expect("good");
        assert!(other.value.load_balancer_ips.is_empty());
    }

    #[test]
    fn s25_affinity_has_a_time() {
        let with = |seconds: Value| {
            read(
                json!({"sessionAffinity": "ClientIP",
                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": seconds}}}),
                json!({}),
            )
            .expect("good")
        };
        assert_eq!(with(json!(60)).value.affinity, Some(60));
        assert_eq!(with(Value::Null).value.affinity, Some(AFFINITY_SECONDS));
        for seconds in [0, -1, 86_401] {
            let read = with(json!(seconds));
            assert_eq!(read.value.affinity, Some(AFFINITY_SECONDS));
            assert_eq!(read.passed_over.len(), 1);
        }
        assert_eq!(good_one(json!({"sessionAffinity": "None"})).affinity, None);
    }

    #[test]
    fn s34_others_services_are_known_by_name() {
        let labelled = |label: &str, ip: &str| {
            let object = json!({"metadata": {"name": "web", "namespace": "default",
                "labels": {label: "x"}}, "spec": {"clusterIP": ip}});
            service(&serde_json::from_value(object).expect("a Service"))
                .expect("good")
                .value
        };
        assert!(labelled(PROXY_NAME_LABEL, "10.96.0.7").foreign);
        assert!(labelled(HEADLESS_LABEL, "10.96.0.7").foreign);
        assert!(!labelled(HEADLESS_LABEL, "None").foreign);
        assert!(!labelled("app", "10.96.0.7").foreign);
    }

    #[test]
    fn garbage_is_refused_with_the_field() {
        for (spec, words) in [
            (json!({"type": "Magic"}), "spec.type: \"Magic\""),
            (
                json!({"clusterIP": "10.96.00.7"}),
                "spec.clusterIP: \"10.96.00.7\" is not an IP",
            ),
            (
                json!({"ports": [{"port": 0}]}),
                "spec.ports.port: 0 is not within",
            ),
            (
                json!({"ports": [{"port": 65536}]}),
                "spec.ports.port: 65536",
            ),
            (
                json!({"ports": [{"port": 1, "protocol": "ICMP"}]}),
                "spec.ports.protocol: \"ICMP\"",
            ),
            (
                json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": -1}]}),
                "nodePort: -1",
            ),
            (
                json!({"internalTrafficPolicy": "Near"}),
                "spec.internalTrafficPolicy: \"Near\"",
            ),
            (
                json!({"externalTrafficPolicy": "local"}),
                "spec.externalTrafficPolicy",
            ),
            (json!({"sessionAffinity": "Cookie"}), "spec.sessionAffinity"),
            (
                json!({"type": "LoadBalancer", "loadBalancerSourceRanges": ["all"]}),
                "spec.loadBalancerSourceRanges: \"all\" is not a network",
            ),
        ] {
            let error = read(spec.clone(), json!({}))
                .expect_err("garbage")
                .to_string();
            assert!(error.contains(words), "{spec}: {error}");
        }
        let passed = read(json!({"externalIPs": ["203.0.113.1", "x"]}), json!({})).expect("good");
        assert_eq!(passed.value.external_ips.len(), 1);
        assert!(
            passed.passed_over[0]
                .to_string()
                .contains("spec.externalIPs: \"x\"")
        );
    }
}
