//! Guessing whose a filter or device is, by the names that well-known programs give.

/// Beginnings of chain names, with who makes such chains. The more particular come first.
const CHAINS: &[(&str, &str)] = &[
    ("DOCKER", "Docker"),
    ("KUBE-ROUTER", "kube-router"),
    ("KUBE-", "kube-proxy or kubelet"),
    ("cali-", "Calico"),
    ("CILIUM_", "Cilium"),
    ("FLANNEL-", "flannel"),
    ("CNI-", "CNI's portmap or bridge plugin"),
    ("NETAVARK", "Podman"),
    ("LIBVIRT_", "libvirt"),
    ("ufw", "ufw"),
    ("f2b-", "fail2ban"),
    ("ts-", "Tailscale"),
    ("WEAVE-", "Weave"),
];

/// Names of tables, with whose they are.
const TABLES: &[(&str, &str)] = &[
    ("firewalld", "firewalld"),
    ("kube-proxy", "kube-proxy"),
    ("docker-bridges", "Docker"),
    ("calico", "Calico"),
    ("libvirt_network", "libvirt"),
    ("netavark", "Podman"),
    ("flannel-ipv4", "flannel"),
    ("flannel-ipv6", "flannel"),
    ("f2b-table", "fail2ban"),
    ("nordvpn", "NordVPN"),
    ("mullvad", "Mullvad VPN"),
];

/// Beginnings of names of VXLAN devices.
const DEVICES: &[(&str, &str)] = &[
    ("flannel", "flannel"),
    ("vxlan.calico", "Calico"),
    ("vxlan-v6.calico", "Calico"),
    ("cilium_vxlan", "Cilium"),
    ("vx-", "Docker's overlay"),
    ("weave", "Weave"),
    ("antrea", "Antrea"),
    ("ovn", "OVN"),
];

/// Whose a table looks like, by its name and the names of its chains; several may share one.
pub(super) fn of_table<'a>(
    table: &str,
    chains: impl Iterator<Item = &'a str> + Clone,
) -> Option<String> {
    if let Some((_, owner)) = TABLES.iter().find(|(name, _)| *name == table) {
        return Some((*owner).to_owned());
    }
    let mut owners: Vec<&str> = Vec::new();
    for (prefix, owner) in CHAINS {
        // `KUBE-ROUTER` is also a `KUBE-`: the first beginning that fits a chain counts.
        let mut fitting = chains.clone().filter(|c| first_fit(c) == Some(prefix));
        if fitting.next().is_some() {
            owners.push(owner);
        }
    }
    (!owners.is_empty()).then(|| owners.join(" and "))
}

fn first_fit(chain: &str) -> Option<&'static &'static str> {
    let fits = |entry: &&(&str, &str)| chain.starts_with(entry.0);
    CHAINS.iter().find(fits).map(|(prefix, _)| prefix)
}

/// Whose a VXLAN device looks like.
pub(super) fn of_device(name: &str) -> Option<String> {
    let known = DEVICES.iter().find(|(prefix, _)| name.starts_with(prefix));
    known.map(|(_, owner)| (*owner).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_known_by_table_and_chains() {
        let of = |table: &str, chains: &[&str]| of_table(table, chains.iter().copied());
        assert_eq!(of("firewalld", &[]).as_deref(), Some("firewalld"));
        let docker = of("filter", &["FORWARD", "DOCKER-USER", "DOCKER"]);
        assert_eq!(docker.as_deref(), Some("Docker"));
        let both = of("filter", &["KUBE-FORWARD", "DOCKER-USER"]);
        assert_eq!(both.as_deref(), Some("Docker and kube-proxy or kubelet"));
        let router = of("filter", &["KUBE-ROUTER-FORWARD"]);
        assert_eq!(router.as_deref(), Some("kube-router"));
        assert_eq!(of("filter", &["FORWARD"]), None);
        assert_eq!(of_device("flannel.1").as_deref(), Some("flannel"));
    }
}
