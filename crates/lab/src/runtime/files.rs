//! The files that every container finds in `/etc`: `hosts`, `hostname` and `resolv.conf`. Pure.

use std::fmt::Write;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::PodSpec;

/// The domain of a cluster.
pub(crate) const CLUSTER_DOMAIN: &str = "cluster.local";
/// Longer host names are refused by Linux.
const MAX_HOST_NAME: usize = 63;
/// More are ignored by the C library.
const MAX_NAME_SERVERS: usize = 3;

/// The host name of a Pod: given or its own, cut as kubelet cuts it.
pub(crate) fn host_name(pod: &str, spec: &PodSpec) -> String {
    let given = spec.hostname.as_deref().filter(|name| !name.is_empty());
    let name = given.unwrap_or(pod);
    let cut = &name[..name.len().min(MAX_HOST_NAME)];
    cut.trim_end_matches(['-', '.']).to_owned()
}

/// The Pod's whole name, if it is in a subdomain.
fn whole_name(host: &str, namespace: &str, spec: &PodSpec) -> Option<String> {
    let subdomain = spec.subdomain.as_deref().filter(|name| !name.is_empty())?;
    Some(format!(
        "{host}.{subdomain}.{namespace}.svc.{CLUSTER_DOMAIN}"
    ))
}

/// `/etc/hosts`.
pub(crate) fn hosts(host: &str, namespace: &str, spec: &PodSpec, addresses: &[IpAddr]) -> String {
    let mut text = "# Kubernetes-managed hosts file.\n\
                    127.0.0.1\tlocalhost\n\
                    ::1\tlocalhost ip6-localhost ip6-loopback\n\
                    fe00::0\tip6-localnet\n\
                    fe00::0\tip6-mcastprefix\n\
                    fe00::1\tip6-allnodes\n\
                    fe00::2\tip6-allrouters\n"
        .to_owned();
    let whole = whole_name(host, namespace, spec).map(|name| format!("{name}\t"));
    let whole = whole.unwrap_or_default();
    for address in addresses {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(text, "{address}\t{whole}{host}");
    }
    let aliases = spec.host_aliases.as_deref().unwrap_or_default();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in aliases {
        let names = alias.hostnames.as_deref().unwrap_or_default();
        let _ = writeln!(text, "{}\t{}", alias.ip, names.join("\t"));
    }
    text
}

/// `/etc/resolv.conf`.
///
/// 1. `ClusterFirst` asks the cluster's servers; a Pod on the host's network gets it by
///    `ClusterFirstWithHostNet` only.
/// 2. `Default` is the node's own; the nodes of a lab know no name server.
/// 3. `None` begins with nothing.
/// 4. What `dnsConfig` says comes on top.
pub(crate) fn resolv_conf(namespace: &str, spec: &PodSpec, cluster_dns: &[IpAddr]) -> String {
    let on_host = spec.host_network.unwrap_or(false);
    let in_cluster = match spec.dns_policy.as_deref() {
        Some("Default" | "None") => false,
        Some("ClusterFirstWithHostNet") => true,
        _ => !on_host,
    };
    let (mut servers, mut searches, mut options) = (Vec::new(), Vec::new(), Vec::new());
    if in_cluster {
        servers.extend(cluster_dns.iter().map(ToString::to_string));
        searches.push(format!("{namespace}.svc.{CLUSTER_DOMAIN}"));
        searches.push(format!("svc.{CLUSTER_DOMAIN}"));
        searches.push(CLUSTER_DOMAIN.to_owned());
        options.push(("ndots".to_owned(), Some("5".to_owned())));
    }
    if let Some(own) = &spec.dns_config {
        add_new(&mut servers, own.nameservers.iter().flatten());
        add_new(&mut searches, own.searches.iter().flatten());
        for option in own.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            options.retain(|(known, _)| *known != name);
            options.push((name, option.value.clone()));
        }
    }
    servers.truncate(MAX_NAME_SERVERS);
    let mut text = String::new();
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !searches.is_empty() {
        let _ = writeln!(text, "search {}", searches.join(" "));
    }
    let word = |(name, value): &(String, Option<String>)| match value {
        Some(value) if !value.is_empty() => format!("{name}:{value}"),
        _ => name.clone(),
    };
    let options: Vec<_> = options.iter().map(word).collect();
    if !options.is_empty() {
        let _ = writeln!(text, "options {}", options.join(" "));
    }
    text
}

fn add_new<'a>(list: &mut Vec<String>, more: impl Iterator<Item = &'a String>) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(mut json: Value) -> PodSpec {
        json["containers"] = json!([]);
        serde_json::from_value(json).expect("a spec")
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts
            .iter()
            .map(|text| text.parse().expect("an address"))
            .collect()
    }

    #[test]
    fn hosts_has_both_families_and_aliases() {
        let spec = spec(json!({"subdomain": "sub", "hostAliases":
            [{"ip": "192.0.2.1", "hostnames": ["a", "b"]}]}));
        let text = hosts("web", "shop", &spec, &ips(&["10.244.1.2", "fd00::2"]));
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\t"));
        let end = "10.244.1.2\tweb.sub.shop.svc.cluster.local\tweb\n\
                   fd00::2\tweb.sub.shop.svc.cluster.local\tweb\n\
                   \n# Entries added by HostAliases.\n192.0.2.1\ta\tb\n";
        assert!(text.ends_with(end), "{text}");
    }

    #[test]
    fn host_names_are_given_or_cut() {
        assert_eq!(host_name("pod", &spec(json!({"hostname": "db"}))), "db");
        let long = format!("{}-{}", "a".repeat(62), "b".repeat(20));
        assert_eq!(host_name(&long, &spec(json!({}))), "a".repeat(62));
    }

    #[test]
    fn dns_policies_differ() {
        let dns = ips(&["10.96.0.10", "fd00:96::a"]);
        let cluster = "nameserver 10.96.0.10\nnameserver fd00:96::a\n\
                       search n.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n";
        for (json, expected) in [
            (json!({}), cluster),
            (
                json!({"dnsPolicy": "ClusterFirst", "hostNetwork": true}),
                "",
            ),
            (
                json!({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true}),
                cluster,
            ),
            (json!({"dnsPolicy": "Default"}), ""),
            (
                json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.53"], "searches": ["x"],
                "options": [{"name": "edns0"}, {"name": "ndots", "value": "2"}]}}),
                "nameserver 192.0.2.53\nsearch x\noptions edns0 ndots:2\n",
            ),
        ] {
            assert_eq!(
                resolv_conf("n", &spec(json.clone()), &dns),
                expected,
                "{json}"
            );
        }
        let own = spec(json!({"dnsConfig": {"searches": ["x", "cluster.local"],
            "options": [{"name": "ndots", "value": "1"}]}}));
        assert_eq!(
            resolv_conf("n", &own, &[]),
            "search n.svc.cluster.local svc.cluster.local cluster.local x\noptions ndots:1\n"
        );
    }
}
