//! The part of `seaway status` that tells how the Pod network is and what is in its way.

use serde_json::Value;

use super::{list, period, text};
use crate::table::Tone;

type Fact = (&'static str, String, Tone);

/// One line a fact; what is as it should be in few words, what is not in as many as it takes.
pub(super) fn facts(network: &Value) -> Vec<Fact> {
    let mut facts = vec![wiring(network), transport(network), mtu(network)];
    facts.push(way_out(network));
    for path in list(&network["paths"]["lowered"]) {
        let line = format!(
            "node {} ({}) takes {} bytes, for {}: {}",
            text(&path["node"]),
            text(&path["address"]),
            path["size"],
            period(path["seconds"].as_u64().unwrap_or_default()),
            text(&path["found"])
        );
        facts.push(("Path MTU", line, Tone::Warn));
    }
    let drops = pairs(&network["drops"], |reason, count| {
        format!("{count} {reason}")
    });
    if !drops.is_empty() {
        facts.push((
            "Dropped",
            format!("{} packets", drops.join(", ")),
            Tone::Warn,
        ));
    }
    facts.extend(strangers(&network["strangers"]));
    let saved = pairs(&network["saved_settings"], |key, value| {
        format!("{key} (was {})", text(value))
    });
    if !saved.is_empty() {
        facts.push(("Uplink set", saved.join(", "), Tone::Plain));
    }
    facts
}

/// What there is of Services, in one line.
pub(super) fn services(services: &Value) -> Fact {
    if services.is_null() {
        return ("Services", "left to somebody else".to_owned(), Tone::Plain);
    }
    let words = |key: &str| -> Vec<String> { list(&services[key]).iter().map(text).collect() };
    let mut line = format!(
        "{}  {} endpoints, {} frontends, node ports on {}",
        services["services"],
        services["endpoints"],
        services["frontends"],
        match words("node_port_addresses") {
            all if all.is_empty() => "loopback alone".to_owned(),
            all => all.join(" "),
        },
    );
    let cidrs = words("service_cidrs");
    if !cidrs.is_empty() {
        line.push_str(&format!("  (from {})", cidrs.join(" ")));
    }
    if services["dns"] == true {
        line.push_str("  names answered");
    }
    ("Services", line, Tone::Plain)
}

fn pairs(value: &Value, line: impl Fn(&str, &Value) -> String) -> Vec<String> {
    let fields = value.as_object().into_iter().flatten();
    fields.map(|(key, value)| line(key, value)).collect()
}

fn wiring(network: &Value) -> Fact {
    let now = text(&network["wiring"]);
    let waiting = &network["wiring_waiting"];
    if waiting.is_null() {
        return ("Wiring", now, Tone::Plain);
    }
    let wanted = text(&waiting["wiring"]);
    let line = match waiting["pods"].as_u64() {
        Some(1) => format!("{now} ({wanted} as soon as the last Pod is gone)"),
        pods => format!(
            "{now} ({wanted} as soon as the last of {} Pods is gone)",
            pods.unwrap_or_default()
        ),
    };
    ("Wiring", line, Tone::Warn)
}

fn transport(network: &Value) -> Fact {
    let chosen = text(&network["transport"]);
    let ways = pairs(&network["methods"], |way, count| match way {
        "none" => format!("{count} not reachable"),
        way => format!("{count} by {way}"),
    });
    let lost = network["methods"]["none"].as_u64().unwrap_or_default() > 0;
    let tone = if lost { Tone::Bad } else { Tone::Plain };
    let mut line = match ways.is_empty() {
        true => chosen,
        false => format!("{chosen}  {}", ways.join(", ")),
    };
    let vxlan = &network["vxlan"];
    if vxlan.is_null() {
        line.push_str("  (no vxlan)");
    } else {
        line.push_str(&format!(
            "  (vxlan {} port {})",
            vxlan["vni"], vxlan["port"]
        ));
    }
    ("Transport", line, tone)
}

fn mtu(network: &Value) -> Fact {
    let line = format!(
        "{} bytes  ({})",
        network["pod_mtu"],
        text(&network["pod_mtu_reason"])
    );
    ("Pod MTU", line, Tone::Plain)
}

fn way_out(network: &Value) -> Fact {
    let kept: Vec<String> = list(&network["keep_source_to"]).iter().map(text).collect();
    let line = match (network["masquerade"] == true, kept.is_empty()) {
        (false, _) => "with the Pod's own address".to_owned(),
        (true, true) => "masqueraded".to_owned(),
        (true, false) => format!("masqueraded, but not towards {}", kept.join(" ")),
    };
    ("Way out", line, Tone::Plain)
}

fn strangers(strangers: &Value) -> Vec<Fact> {
    let mut facts = Vec::new();
    let lost = strangers["lost_flows"].as_u64().unwrap_or_default();
    if lost > 0 {
        let suspects: Vec<String> = list(&strangers["suspects"]).iter().map(text).collect();
        let who = match suspects.is_empty() {
            true => "no suspect was found".to_owned(),
            false => suspects.join("; "),
        };
        let line = format!(
            "{lost} flows of Pods were dropped by somebody else in hook forward in the last {}; \
             suspects: {who}",
            period(strangers["counted_seconds"].as_u64().unwrap_or_default())
        );
        facts.push(("Blocked", line, Tone::Bad));
    } else {
        let others = list(&strangers["all"]).iter();
        facts.extend(others.map(|one| ("Stranger", text(one), Tone::Plain)));
    }
    if let Some(problem) = strangers["problem"].as_str() {
        facts.push(("Strangers", format!("not all known: {problem}"), Tone::Warn));
    }
    facts
}

/// What happened lately.
pub(super) fn events(events: &Value) -> Vec<Fact> {
    const SHOWN: usize = 5;
    let line = |event: &Value| {
        let ago = period(event["seconds_ago"].as_u64().unwrap_or_default());
        let words = format!(
            "{ago} ago  {}: {}",
            text(&event["reason"]),
            text(&event["message"])
        );
        let warning = event["warning"] == true;
        let tone = if warning { Tone::Warn } else { Tone::Plain };
        ("Event", words, tone)
    };
    list(events).iter().take(SHOWN).map(line).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn network() -> Value {
        json!({
            "wiring": "routed", "wiring_waiting": {"wiring": "bridge", "pods": 3},
            "transport": "auto", "methods": {"direct": 2, "vxlan": 1},
            "vxlan": {"vni": 24225, "port": 4789, "underlay": null},
            "pod_mtu": 1450, "pod_mtu_reason": "uplink 1500 - 50 vxlan", "path_mtus": {},
            "paths": {"paths": 3, "unasked": 0, "silent": 0, "lowered": []},
            "masquerade": true, "keep_source_to": ["192.0.2.0/24"],
            "drops": {"pod-source": 7}, "saved_settings": {"net.ipv6.conf.eth0.accept_ra": "1"},
            "strangers": {"lost_flows": 0, "counted_seconds": 60, "suspects": [],
                "all": [], "problem": null},
        })
    }

    fn lines(network: &Value) -> Vec<String> {
        let all = facts(network).into_iter();
        all.map(|(name, line, _)| format!("{name}: {line}"))
            .collect()
    }

    #[test]
    fn every_part_is_one_line() {
        assert_eq!(
            lines(&network()),
            [
                "Wiring: routed (bridge as soon as the last of 3 Pods is gone)",
                "Transport: auto  2 by direct, 1 by vxlan  (vxlan 24225 port 4789)",
                "Pod MTU: 1450 bytes  (uplink 1500 - 50 vxlan)",
                "Way out: masqueraded, but not towards 192.0.2.0/24",
                "Dropped: 7 pod-source packets",
                "Uplink set: net.ipv6.conf.eth0.accept_ra (was 1)",
            ]
        );
    }

    #[test]
    fn services_are_one_line_of_figures() {
        let report = json!({"services": 3, "endpoints": 9, "frontends": 4, "backends": 9,
            "node_port_addresses": ["192.0.2.1"], "service_cidrs": ["10.96.0.0/16"],
            "health_checks": 0, "dns": true});
        let (_, line, _) = services(&report);
        assert_eq!(
            line,
            "3  9 endpoints, 4 frontends, node ports on 192.0.2.1  (from 10.96.0.0/16)  names answered"
        );
        let (_, line, _) = services(&Value::Null);
        assert_eq!(line, "left to somebody else");
    }

    #[test]
    fn what_is_in_the_way_is_bad_and_named() {
        let mut network = network();
        network["strangers"]["lost_flows"] = json!(9);
        network["strangers"]["suspects"] = json!(["chain FORWARD"]);
        network["methods"] = json!({"none": 1});
        let facts = facts(&network);
        let blocked = facts.iter().find(|(name, ..)| *name == "Blocked");
        let (_, line, tone) = blocked.expect("told");
        assert!(line.contains("9 flows") && line.contains("chain FORWARD"));
        assert!(*tone == Tone::Bad);
        let transport = facts.iter().find(|(name, ..)| *name == "Transport");
        let (_, line, tone) = transport.expect("told");
        assert!(line.contains("1 not reachable") && *tone == Tone::Bad);
    }

    #[test]
    fn the_last_few_events_are_shown() {
        let event = json!({"seconds_ago": 130, "warning": true, "reason": "PathMtuLowered",
            "message": "words"});
        let all = events(&Value::Array(vec![event; 9]));
        assert_eq!(all.len(), 5);
        assert_eq!(all[0].1, "2 min ago  PathMtuLowered: words");
    }
}
