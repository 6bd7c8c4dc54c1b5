//! Node ports of a Service, and the health check port of local load balancing.
//!
//! Ports of one Service with the same number share a node port over their protocols.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Desk, Item, Refusal, invalid, text};

fn needs_ports(spec: &Value) -> bool {
    match text(spec, "type") {
        "NodePort" => true,
        "LoadBalancer" => spec.get("allocateLoadBalancerNodePorts") != Some(&Value::Bool(false)),
        _ => false,
    }
}

fn needs_health_check(spec: &Value) -> bool {
    text(spec, "type") == "LoadBalancer" && text(spec, "externalTrafficPolicy") == "Local"
}

fn number(value: Option<&Value>) -> u64 {
    value.and_then(Value::as_u64).unwrap_or(0)
}

fn ports(spec: &Value) -> &[Value] {
    spec.get("ports")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn ports_mut(spec: &mut Value) -> impl Iterator<Item = &mut Value> {
    let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
    ports.into_iter().flatten()
}

/// The node ports that a Service holds.
pub(super) fn held(spec: &Value) -> Vec<u16> {
    let mut found: Vec<u16> = ports(spec)
        .iter()
        .map(|port| number(port.get("nodePort")))
        .chain([number(spec.get("healthCheckNodePort"))])
        .filter_map(|port| u16::try_from(port).ok())
        .filter(|port| *port > 0)
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Keeps the ports that an update leaves out, and drops those that its type has no use for.
pub(super) fn carry_over(new: &mut Value, old: &Value) {
    let (needed, health) = (needs_ports(new), needs_health_check(new));
    let is_load_balancer = text(new, "type") == "LoadBalancer";
    let before: Vec<Value> = ports(old).to_vec();
    for port in ports_mut(new) {
        let same = before
            .iter()
            .find(|old| old["port"] == port["port"] && old["protocol"] == port["protocol"]);
        let given = number(port.get("nodePort"));
        let kept = same.map_or(0, |old| number(old.get("nodePort")));
        if needed && given == 0 && kept > 0 {
            port["nodePort"] = kept.into();
        } else if !needed
            && !is_load_balancer
            && given > 0
            && before
                .iter()
                .any(|old| number(old.get("nodePort")) == given)
            && let Some(port) = port.as_object_mut()
        {
            port.remove("nodePort");
        }
    }
    let kept = number(old.get("healthCheckNodePort"));
    let given = number(new.get("healthCheckNodePort"));
    if health && given == 0 && kept > 0 {
        new["healthCheckNodePort"] = kept.into();
    } else if !health
        && given == kept
        && let Some(new) = new.as_object_mut()
    {
        new.remove("healthCheckNodePort");
    }
}

fn take(desk: &mut Desk<'_>, field: &str, port: u64) -> Result<(), Refusal> {
    let range = desk.pool.ports.clone();
    let Some(number) = u16::try_from(port).ok().filter(|port| range.contains(port)) else {
        let why = format!(
            "provided port is not in the valid range. The range of valid ports is {}-{}",
            range.start(),
            range.end()
        );
        return Err(invalid(field, &json!(port), &why).into());
    };
    if desk.take(Item::Port(number)) {
        Ok(())
    } else {
        Err(invalid(field, &json!(port), "provided port is already allocated").into())
    }
}

fn take_free(desk: &mut Desk<'_>) -> Result<u64, Refusal> {
    let port = desk.pool.free_port().ok_or(Refusal::Full("a nodePort"))?;
    desk.take(Item::Port(port));
    Ok(u64::from(port))
}

/// Decides the node ports and writes them.
pub(super) fn assign(desk: &mut Desk<'_>, spec: &mut Value) -> Result<(), Refusal> {
    let needed = needs_ports(spec);
    let health = needs_health_check(spec);
    let mut shared: BTreeMap<u64, u64> = BTreeMap::new();
    // Chosen ports first: a generated one must not take what a later port asks for.
    for (at, port) in ports(spec).iter().enumerate() {
        let given = number(port.get("nodePort"));
        if given > 0 {
            take(desk, &format!("spec.ports[{at}].nodePort"), given)?;
            shared.entry(number(port.get("port"))).or_insert(given);
        }
    }
    for port in ports_mut(spec) {
        if !needed || number(port.get("nodePort")) > 0 {
            continue;
        }
        let service_port = number(port.get("port"));
        let node_port = match shared.get(&service_port) {
            Some(node_port) => *node_port,
            None => take_free(desk)?,
        };
        shared.insert(service_port, node_port);
        port["nodePort"] = node_port.into();
    }
    if health {
        match number(spec.get("healthCheckNodePort")) {
            0 => spec["healthCheckNodePort"] = take_free(desk)?.into(),
            given => take(desk, "spec.healthCheckNodePort", given)?,
        }
    }
    Ok(())
}
