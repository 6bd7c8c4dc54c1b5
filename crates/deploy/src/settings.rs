//! Everything that people may choose: one line each, with what it is called, what it may be, what it
//! is when nobody chooses, and the variable by which agent or controller is told.

use serde_json::Value;

use crate::checks::Check;

/// What a value may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A text.
    Text(Check),
    /// One of these.
    OneOf(&'static [&'static str]),
    /// Yes or no.
    Switch,
    /// A number between two; null where it may be left to the program.
    Number {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
        /// Whether it may be left out.
        optional: bool,
    },
    /// A number, or a part of all in percent.
    Share,
    /// Texts.
    Texts(Check),
    /// A map as Kubernetes has it.
    Map,
    /// A list of maps as Kubernetes has them.
    Maps,
}

/// Who reads the variable of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// The agent.
    Agent,
    /// The controller.
    Controller,
    /// Both.
    Both,
}

/// How a value becomes a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variable {
    /// As it is.
    Same(&'static str, Reader),
    /// A switch that the program knows by its opposite.
    Opposite(&'static str, Reader),
}

/// Something that people may choose.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Where it is in `values.yaml`, with dots.
    pub path: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// What it is when nobody chooses, as JSON.
    default: &'static str,
    /// The variable by which a program is told, if it is.
    pub variable: Option<Variable>,
    /// What people are told about it.
    pub about: &'static str,
}

impl Setting {
    /// What it is when nobody chooses.
    pub fn default(&self) -> Value {
        serde_json::from_str(self.default).expect("the table holds JSON, which a test reads")
    }

    const fn new(
        path: &'static str,
        kind: Kind,
        default: &'static str,
        about: &'static str,
    ) -> Self {
        Setting {
            path,
            kind,
            default,
            variable: None,
            about,
        }
    }

    const fn told(self, name: &'static str, reader: Reader) -> Self {
        Setting {
            variable: Some(Variable::Same(name, reader)),
            ..self
        }
    }

    const fn told_the_opposite(self, name: &'static str, reader: Reader) -> Self {
        Setting {
            variable: Some(Variable::Opposite(name, reader)),
            ..self
        }
    }
}

/// The setting of that name.
pub fn find(path: &str) -> Option<&'static Setting> {
    ALL.iter().find(|setting| setting.path == path)
}

/// What groups of settings are about: the first part of their paths.
pub(crate) const GROUPS: [(&str, &str); 7] = [
    ("image", "The image of all that runs in the cluster."),
    (
        "vxlan",
        "How packets are wrapped where nodes do not share a link.",
    ),
    (
        "uplink",
        "The device of a node towards the others; by default the one with the node's address in the cluster.",
    ),
    (
        "dns",
        "Names of the cluster, answered on each node at 169.254.83.53 and fd5e:a83::53.",
    ),
    ("metrics", "What Prometheus may ask each agent for."),
    ("agent", "The DaemonSet of the agents."),
    ("controller", "The Deployment of the controller."),
];

const FLAG: Kind = Kind::Switch;
const NET: Kind = Kind::Texts(Check::Network);
const PATH: Kind = Kind::Text(Check::Path);

const fn number(min: i64, max: i64) -> Kind {
    Kind::Number {
        min,
        max,
        optional: false,
    }
}

/// All settings, in the order in which people read them.
pub const ALL: &[Setting] = &[
    Setting::new("image.repository", Kind::Text(Check::Repository), "\"seaway\"",
        "Where the image is, without its tag."),
    Setting::new("image.tag", Kind::Text(Check::Tag), "\"\"",
        "The image's tag; empty: the version of this chart."),
    Setting::new("image.pullPolicy", Kind::OneOf(&["IfNotPresent", "Always", "Never"]),
        "\"IfNotPresent\"", "When nodes fetch the image."),
    Setting::new("imagePullSecrets", Kind::Maps, "[]",
        "Secrets to fetch the image with, such as [{name: registry}]."),
    Setting::new("logLevel", Kind::Text(Check::Log), "\"info\"",
        "What is logged: error, warn, info, debug or trace; may name modules.")
        .told("SEAWAY_LOG", Reader::Both),
    Setting::new("apiServers", Kind::Texts(Check::Url), "[]",
        "Addresses of the API servers, such as https://192.0.2.10:6443; several are failed over. Needed\n\
         where nothing else makes the Service `kubernetes` reachable before Seaway runs, that is without\n\
         kube-proxy. Empty: what the Pods' environment says.")
        .told("SEAWAY_API_SERVERS", Reader::Both),
    Setting::new("clusterCidrs", Kind::Texts(Check::ClusterNetwork), "[]",
        "Networks of all Pods with the prefix length of a node's part, such as 10.244.0.0/16=24 and\n\
         fd00:10:244::/48=64; the controller gives each node its part. Empty: the cluster does that\n\
         itself (spec.podCIDRs of Nodes; kubeadm's podSubnet).")
        .told("SEAWAY_CLUSTER_CIDR", Reader::Controller),
    Setting::new("wiring", Kind::OneOf(&["routed", "bridge"]), "\"routed\"",
        "How Pods are joined to their node. A node with Pods changes when the last of them is gone.")
        .told("SEAWAY_WIRING", Reader::Agent),
    Setting::new("transport", Kind::OneOf(&["auto", "direct", "vxlan", "l2"]), "\"auto\"",
        "How packets get to other nodes: `auto` is direct on one link and VXLAN elsewhere.")
        .told("SEAWAY_TRANSPORT", Reader::Agent),
    Setting::new("vxlan.enabled", FLAG, "true", "Whether VXLAN is sent and taken at all.")
        .told_the_opposite("SEAWAY_NO_VXLAN", Reader::Agent),
    Setting::new("vxlan.vni", number(1, 0xff_ffff), "24225", "The network identifier.")
        .told("SEAWAY_VXLAN_VNI", Reader::Agent),
    Setting::new("vxlan.port", number(1, 65535), "4789", "The UDP port.")
        .told("SEAWAY_VXLAN_PORT", Reader::Agent),
    Setting::new("vxlan.underlay", Kind::OneOf(&["", "ipv4", "ipv6"]), "\"\"",
        "The family of the outer packets; empty: ipv4 where the node has it.")
        .told("SEAWAY_VXLAN_UNDERLAY", Reader::Agent),
    Setting::new("uplink.name", Kind::Text(Check::Link), "\"\"", "Its name, the same on all nodes.")
        .told("SEAWAY_UPLINK", Reader::Agent),
    Setting::new("uplink.match", Kind::Text(Check::NetworkOrNone), "\"\"",
        "The device with an address in this network.")
        .told("SEAWAY_UPLINK_MATCH", Reader::Agent),
    Setting::new("mtu", Kind::Number { min: 576, max: 65535, optional: true }, "null",
        "The MTU of Pods; null: what the uplink's leaves.")
        .told("SEAWAY_MTU", Reader::Agent),
    Setting::new("masquerade", FLAG, "true",
        "Whether Pods leave the cluster with their node's address.")
        .told_the_opposite("SEAWAY_NO_MASQUERADE", Reader::Agent),
    Setting::new("keepSourceTo", NET, "[]",
        "Networks outside the cluster towards which Pods keep their own address.")
        .told("SEAWAY_KEEP_SOURCE_TO", Reader::Agent),
    Setting::new("kubeProxyReplacement", FLAG, "true",
        "Whether Seaway balances Services. With false, kube-proxy or somebody else has to; what is said\n\
         below about Services is then to be left as it is.")
        .told_the_opposite("SEAWAY_NO_SERVICES", Reader::Agent),
    Setting::new("serviceBackend", Kind::OneOf(&["nftables"]), "\"nftables\"",
        "What balances Services: nftables."),
    Setting::new("serviceCidrs", NET, "[]",
        "Networks of cluster addresses, so that processes of nodes find a way to them where a node has\n\
         no default route.")
        .told("SEAWAY_SERVICE_CIDR", Reader::Agent),
    Setting::new("nodePortAddresses", Kind::Texts(Check::NodePortAddress), "[\"primary\"]",
        "Where node ports are open: [primary], or networks.")
        .told("SEAWAY_NODE_PORT_ADDRESSES", Reader::Agent),
    Setting::new("externalIPs", FLAG, "false",
        "Honour spec.externalIPs: whoever may write Services may take any address (KEP-5707).")
        .told("SEAWAY_EXTERNAL_IPS", Reader::Agent),
    Setting::new("masqueradeAll", FLAG, "false", "Pods do not keep their address towards Services.")
        .told("SEAWAY_MASQUERADE_ALL", Reader::Agent),
    Setting::new("nodeEndpoints", FLAG, "false",
        "Hand-written EndpointSlices may name addresses of nodes.")
        .told("SEAWAY_NODE_ENDPOINTS", Reader::Agent),
    Setting::new("dns.enabled", FLAG, "false",
        "Whether they are. Pods ask there when kubelets' clusterDNS says so.")
        .told("SEAWAY_DNS", Reader::Agent),
    Setting::new("dns.upstream", Kind::Texts(Check::NameServer), "[]",
        "Whom to ask for other names: addresses, or [none]; empty: the servers of the node.")
        .told("SEAWAY_DNS_UPSTREAM", Reader::Agent),
    Setting::new("metrics.bind", Kind::Text(Check::Bind), "\"\"",
        "Where, or off; empty: 127.0.0.1:10249, and off without kubeProxyReplacement.")
        .told("SEAWAY_METRICS_BIND", Reader::Agent),
    Setting::new("cniBinDir", PATH, "\"/opt/cni/bin\"",
        "Where the container runtime of nodes looks for CNI plugins."),
    Setting::new("cniConfDir", PATH, "\"/etc/cni/net.d\"",
        "Where the container runtime of nodes looks for CNI configurations.")
        .told("SEAWAY_CNI_CONF_DIR", Reader::Agent),
    Setting::new("replaceOthers", FLAG, "false",
        "Put the CNI configurations of other networks aside on each node, once Seaway's is there;\n\
         `seaway uninstall` gives them back.")
        .told("SEAWAY_REPLACE_OTHERS", Reader::Agent),
    Setting::new("runDir", PATH, "\"/run/seaway\"",
        "The agent's caches, lock and socket on nodes; on tmpfs, so that a reboot clears them.")
        .told("SEAWAY_STATE_DIR", Reader::Agent),
    Setting::new("netnsDir", PATH, "\"/run/netns\"",
        "Where the container runtime of nodes keeps the network namespaces of Pods."),
    Setting::new("agent.maxUnavailable", Kind::Share, "1",
        "How many agents are replaced at once; forwarding goes on without them."),
    Setting::new("agent.resources", Kind::Map,
        "{\"requests\":{\"cpu\":\"50m\",\"memory\":\"50Mi\"}}",
        "What an agent asks for. A limit of processors makes the start of Pods slower. Entries come to these;\n\
         null takes one away."),
    Setting::new("agent.nodeSelector", Kind::Map, "{\"kubernetes.io/os\":\"linux\"}",
        "Which nodes have an agent. Entries come to these; null takes one away."),
    Setting::new("agent.tolerations", Kind::Maps, "[{\"operator\":\"Exists\"}]",
        "Taints that keep no agent away: by default all, since a node is not ready before it."),
    Setting::new("controller.replicas", number(1, 9), "2",
        "How many there are; one of them works, the others wait to take over."),
    Setting::new("controller.healthzBind", Kind::Text(Check::Bind), "\"127.0.0.1:10267\"",
        "Where /livez, /readyz and /metrics are on its node, or off; the first of several has it.\n\
         Probes of Kubernetes do not need it.")
        .told("SEAWAY_CONTROLLER_HEALTHZ_BIND", Reader::Controller),
    Setting::new("controller.resources", Kind::Map,
        "{\"requests\":{\"cpu\":\"10m\",\"memory\":\"30Mi\"}}", "What a controller asks for."),
    Setting::new("controller.nodeSelector", Kind::Map, "{\"kubernetes.io/os\":\"linux\"}",
        "Which nodes may have a controller."),
    Setting::new("controller.tolerations", Kind::Maps,
        "[{\"key\":\"node-role.kubernetes.io/control-plane\",\"operator\":\"Exists\",\"effect\":\"NoSchedule\"},\
          {\"key\":\"node.kubernetes.io/not-ready\",\"operator\":\"Exists\"},\
          {\"key\":\"node.kubernetes.io/network-unavailable\",\"operator\":\"Exists\"},\
          {\"key\":\"node.cloudprovider.kubernetes.io/uninitialized\",\"operator\":\"Exists\"},\
          {\"key\":\"network.seaway.dev/agent-not-ready\",\"operator\":\"Exists\"}]",
        "Taints that keep no controller away: those of nodes that wait for it."),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::checks;

    #[test]
    fn every_default_is_valid_and_every_name_is_there_once() {
        let mut paths = BTreeSet::new();
        let mut variables = BTreeSet::new();
        for setting in ALL {
            checks::check(setting, &setting.default()).expect(setting.path);
            assert!(paths.insert(setting.path), "{}", setting.path);
            if let Some(Variable::Same(name, _) | Variable::Opposite(name, _)) = setting.variable {
                assert!(variables.insert(name), "{name}");
            }
            if let Some((group, _)) = setting.path.split_once('.') {
                assert!(GROUPS.iter().any(|(name, _)| *name == group), "{group}");
            }
        }
    }

    #[test]
    fn choices_are_those_of_the_model() {
        use seaway_model::{Transport, VxlanSettings, Wiring};
        let choices = |path| match find(path).map(|setting| setting.kind) {
            Some(Kind::OneOf(choices)) => choices.to_vec(),
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!(choices("wiring"), Wiring::ALL.map(|w| w.to_string()));
        assert_eq!(choices("transport"), Transport::ALL.map(|t| t.to_string()));
        let number = |path| find(path).expect(path).default();
        let vxlan = VxlanSettings::default();
        assert_eq!(number("vxlan.vni"), vxlan.vni);
        assert_eq!(number("vxlan.port"), vxlan.port);
    }
}
