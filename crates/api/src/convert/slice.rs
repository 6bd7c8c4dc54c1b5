//! An EndpointSlice as the model has it.
//!
//! An endpoint or a port that cannot be right is passed over and told: the others of its slice go
//! on getting traffic. Whose an address can be is judged where all of the cluster is known.

use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::jiff::Timestamp;
use seaway_model::{
    Endpoint, EndpointSlice, Family, NodeName, PodName, ServiceName, SliceName, SlicePort,
};

use super::service::{address, good, port, protocol};
use super::{FieldError, Read};

/// The label of a slice that says whose endpoints it has.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// The annotation of a slice that says when what it tells happened.
pub const TRIGGER_TIME_ANNOTATION: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// A slice of endpoints; `None` when its endpoints are names (type FQDN) or nobody's.
///
/// # Errors
///
/// Names the field of an object that cannot be right.
pub fn slice(object: &discovery::EndpointSlice) -> Result<Option<Read<EndpointSlice>>, FieldError> {
    let meta = &object.metadata;
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let name = SliceName::new(namespace, meta.name.as_deref().unwrap_or_default());
    let name = name.map_err(|e| FieldError::new("metadata.name", e))?;
    let family = match object.address_type.as_str() {
        "IPv4" => Family::V4,
        "IPv6" => Family::V6,
        "FQDN" => return Ok(None),
        other => {
            let reason = format!("\"{other}\" is no type; it is one of IPv4, IPv6, FQDN");
            return Err(FieldError::new("addressType", reason));
        }
    };
    let labels = meta.labels.as_ref();
    let service = labels.and_then(|all| all.get(SERVICE_NAME_LABEL));
    let Some(service) = service.filter(|service| !service.is_empty()) else {
        return Ok(None);
    };
    let service = ServiceName::new(namespace, service);
    let service =
        service.map_err(|e| FieldError::new("metadata.labels[kubernetes.io/service-name]", e))?;
    let mut passed_over = Vec::new();
    let ports = object.ports.as_deref().unwrap_or_default().iter();
    let ports = good(ports.map(slice_port), &mut passed_over);
    let endpoints = object.endpoints.as_deref().unwrap_or_default().iter();
    let read = |(index, entry)| endpoint(index, entry, family);
    let endpoints = good(endpoints.enumerate().map(read), &mut passed_over);
    Ok(Some(Read {
        value: EndpointSlice {
            name,
            service,
            family,
            ports,
            endpoints,
        },
        passed_over,
    }))
}

/// When what a slice tells happened, if it says so in a way that can be read.
pub fn trigger_time(object: &discovery::EndpointSlice) -> Option<std::time::SystemTime> {
    let annotations = object.metadata.annotations.as_ref()?;
    let time: Timestamp = annotations.get(TRIGGER_TIME_ANNOTATION)?.parse().ok()?;
    Some(time.into())
}

fn slice_port(entry: &discovery::EndpointPort) -> Result<SlicePort, FieldError> {
    let number = |number| port("ports.port", number);
    Ok(SlicePort {
        name: entry.name.clone().unwrap_or_default(),
        protocol: protocol("ports.protocol", entry.protocol.as_deref())?,
        port: entry.port.map(number).transpose()?,
    })
}

fn endpoint(
    index: usize,
    entry: &discovery::Endpoint,
    family: Family,
) -> Result<Endpoint, FieldError> {
    const FIELD: &str = "endpoints.addresses";
    let wrong = |reason: String| {
        FieldError::new(FIELD, format!("{reason} (endpoint {index} of the slice)"))
    };
    let text = entry.addresses.first();
    let text = text.ok_or_else(|| wrong("there is none".to_owned()))?;
    let address = address(FIELD, text).map_err(|error| wrong(error.reason))?;
    if Family::of(address) != family {
        return Err(wrong(format!("{address} in a slice of type {family}")));
    }
    let conditions = entry.conditions.clone().unwrap_or_default();
    let hints = entry.hints.clone().unwrap_or_default();
    let node = |name: &str| NodeName::new(name).ok();
    let zones = hints.for_zones.unwrap_or_default().into_iter();
    let nodes = hints.for_nodes.unwrap_or_default().into_iter();
    Ok(Endpoint {
        address,
        ready: conditions.ready.unwrap_or(true),
        serving: conditions.serving.unwrap_or(true),
        terminating: conditions.terminating.unwrap_or(false),
        node: entry.node_name.as_deref().and_then(node),
        pod: pod(entry),
        hostname: entry.hostname.clone().filter(|name| !name.is_empty()),
        for_zones: zones.map(|zone| zone.name).collect(),
        for_nodes: nodes.filter_map(|one| node(&one.name)).collect(),
    })
}

fn pod(entry: &discovery::Endpoint) -> Option<PodName> {
    let target = entry.target_ref.as_ref()?;
    let is_pod = target.kind.as_deref() == Some("Pod");
    let (namespace, name) = (target.namespace.as_deref()?, target.name.as_deref()?);
    PodName::new(namespace, name).ok().filter(|_| is_pod)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(mut value: Value) -> discovery::EndpointSlice {
        let empty = value["metadata"].is_null();
        if empty {
            value["metadata"] = json!({"name": "web-x", "namespace": "default",
                "labels": {SERVICE_NAME_LABEL: "web"}});
        }
        serde_json::from_value(value).expect("an EndpointSlice")
    }

    fn read(value: Value) -> Read<EndpointSlice> {
        slice(&object(value)).expect("good").expect("of addresses")
    }

    #[test]
    fn s5_what_is_not_said_is_filled_in_and_the_first_address_counts() {
        let read = read(
            json!({"addressType": "IPv4", "ports": [{"port": 8080}], "endpoints": [
            {"addresses": ["10.244.1.2", "10.244.1.3"]},
            {"addresses": ["10.244.1.4"], "conditions": {"ready": false, "serving": true,
                "terminating": true}, "nodeName": "n1", "hostname": "db-0",
                "targetRef": {"kind": "Pod", "namespace": "default", "name": "db-0"},
                "hints": {"forZones": [{"name": "z"}], "forNodes": [{"name": "n1"}]}},
            {"addresses": ["10.244.1.5"], "conditions": {"ready": false}}]}),
        );
        assert_eq!(read.passed_over, []);
        let slice = read.value;
        assert_eq!(slice.service.to_string(), "default/web");
        let [first, second, third] = &slice.endpoints[..] else {
            panic!("three endpoints: {slice:?}");
        };
        assert_eq!(first.address.to_string(), "10.244.1.2");
        assert!(first.ready && first.serving && !first.terminating);
        assert!(!second.ready && second.serving && second.terminating);
        assert_eq!(
            second.pod.as_ref().map(ToString::to_string).as_deref(),
            Some("default/db-0")
        );
        assert_eq!(second.for_zones, ["z"]);
        assert_eq!(second.for_nodes, [NodeName::new("n1").expect("valid")]);
        assert!(!third.ready && third.serving && !third.terminating);
    }

    #[test]
    fn s5_names_are_not_endpoints_and_a_slice_without_service_is_nobodys() {
        let names =
            object(json!({"addressType": "FQDN", "endpoints": [{"addresses": ["a.example"]}]}));
        assert_eq!(slice(&names).map(|read| read.is_none()), Ok(true));
        let nobodys = object(json!({"metadata": {"name": "x", "namespace": "default"},
            "addressType": "IPv4", "endpoints": []}));
        assert_eq!(slice(&nobodys).map(|read| read.is_none()), Ok(true));
    }

    #[test]
    fn bad_input_is_passed_over_one_by_one() {
        let read = read(json!({"addressType": "IPv4",
            "ports": [{"port": 0}, {"port": 65536}, {"port": -1}, {"port": 80, "protocol": "X"},
                {"name": "good", "port": 80}],
            "endpoints": [{"addresses": ["010.244.1.2"]}, {"addresses": ["fd00::1"]},
                {"addresses": []}, {"addresses": ["garbage"]}, {"addresses": ["10.244.1.2"]}]}));
        assert_eq!(read.value.ports.len(), 1);
        assert_eq!(read.value.endpoints.len(), 1);
        assert_eq!(read.passed_over.len(), 8);
        let texts: Vec<String> = read.passed_over.iter().map(ToString::to_string).collect();
        let all = texts.join("\n");
        for words in [
            "ports.port: 65536 is not within",
            "endpoints.addresses: \"010.244.1.2\" is not an IP address (endpoint 0 of the slice)",
            "fd00::1 in a slice of type IPv4",
            "there is none (endpoint 2",
        ] {
            assert!(all.contains(words), "{words}: {all}");
        }
        let garbage = object(json!({"addressType": "IPX", "endpoints": []}));
        assert!(
            slice(&garbage)
                .expect_err("no type")
                .to_string()
                .contains("addressType")
        );
    }

    #[test]
    fn s44_a_slice_says_when_it_happened() {
        let at = |text: &str| {
            trigger_time(&object(
                json!({"addressType": "IPv4", "endpoints": [], "metadata": {
                "name": "x", "namespace": "y", "annotations": {TRIGGER_TIME_ANNOTATION: text}}}),
            ))
        };
        let time = at("1970-01-01T00:00:07.5Z").expect("a time");
        let since = time.duration_since(std::time::UNIX_EPOCH).expect("later");
        assert_eq!(since.as_millis(), 7500);
        assert_eq!(at("soon"), None);
    }
}
