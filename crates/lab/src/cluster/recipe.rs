//! How the Pods of a lab, and those of a check, are made: as a user could have written them. Pure.

use serde_json::{Value, json};

use super::{CHECK_LABEL, CONTAINERS, Container, HostPort, SERVES};

/// The annotation that holds what a client is to do.
pub(crate) const ORDER: &str = "check.seaway.dev/order";
/// The container that does it.
pub(crate) const CLIENT: &str = "client";
/// What a check makes in a cluster has this label, of this value.
pub(crate) const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "seaway-check");

const ORDERS: &str = "/orders";
const SHARED: &str = "/shared";

/// What Pods are made of.
#[derive(Clone, Debug)]
pub(crate) enum Recipe {
    /// A lab's own image, in a lab that is entered by its supervisor.
    Lab,
    /// An image of Seaway, in a cluster that is reached by its API alone: with clients that follow
    /// orders, and without any right that they can do without.
    Cluster {
        /// The image's name.
        image: String,
        /// The nodes that Pods may run on.
        nodes: Vec<String>,
        /// Whether SCTP is tried, which takes a right.
        sctp: bool,
    },
}

impl Recipe {
    /// A Pod of two servers on a node.
    pub(crate) fn pod(&self, node: &str, name: &str, host_port: Option<HostPort>) -> Value {
        let containers = CONTAINERS.iter().map(|container| {
            let mut made = self.server(container, Vec::new());
            made["ports"] = ports(container, host_port).into();
            made
        });
        let mut pod = json!({
            "metadata": {"name": name, "labels": self.labels()},
            "spec": self.spec(containers.collect(), 1),
        });
        pod["spec"]["nodeName"] = node.into();
        self.add_client(&mut pod);
        pod
    }

    /// A server and a client in a node's own network, which calls itself as the node is called.
    pub(crate) fn on_node(&self, node: &str, name: &str, [http, echo]: [u16; 2]) -> Value {
        let container = Container {
            name: CONTAINERS[0].name,
            http,
            echo,
        };
        let server = self.server(&container, vec!["--name".to_owned(), node.to_owned()]);
        let mut pod = json!({
            "metadata": {"name": name, "labels": self.labels()},
            "spec": self.spec(vec![server], 1),
        });
        pod["spec"]["nodeName"] = node.into();
        pod["spec"]["hostNetwork"] = true.into();
        self.add_client(&mut pod);
        pod
    }

    /// What is in Pods of one server, which may be asked over SCTP, too.
    pub(crate) fn servers(&self, linger_ms: u32) -> Value {
        let mut more = vec!["--linger-ms".to_owned(), linger_ms.to_string()];
        if self.tries_sctp() {
            more.extend(["--sctp".to_owned(), CONTAINERS[0].echo.to_string()]);
        }
        let mut server = self.server(&CONTAINERS[0], more);
        self.allow_sctp(&mut server);
        self.spec(vec![server], linger_ms.div_ceil(1000) + 1)
    }

    /// Lets a Pod be a client, too, if that takes a container.
    pub(crate) fn add_client(&self, pod: &mut Value) {
        let Recipe::Cluster { .. } = self else {
            return;
        };
        let end = format!("{SHARED}/end");
        let args = [
            "follow",
            "--orders",
            &format!("{ORDERS}/order"),
            "--end-file",
            &end,
        ];
        let mut client = self.container(CLIENT, args.map(str::to_owned).to_vec());
        client["volumeMounts"] = json!([
            {"name": "orders", "mountPath": ORDERS, "readOnly": true},
            {"name": "shared", "mountPath": SHARED},
        ]);
        self.allow_sctp(&mut client);
        let spec = &mut pod["spec"];
        let server = &mut spec["containers"][0];
        server["volumeMounts"] = json!([{"name": "shared", "mountPath": SHARED}]);
        if let Some(args) = server["args"].as_array_mut() {
            args.extend(["--end-file".into(), end.into()]);
        }
        if let Some(containers) = spec["containers"].as_array_mut() {
            containers.push(client);
        }
        let order = format!("metadata.annotations['{ORDER}']");
        spec["volumes"] = json!([
            {"name": "orders", "downwardAPI": {"items": [
                {"path": "order", "fieldRef": {"fieldPath": order}},
            ]}},
            {"name": "shared", "emptyDir": {}},
        ]);
    }

    /// Whether SCTP is tried.
    pub(crate) fn tries_sctp(&self) -> bool {
        match self {
            Recipe::Lab => true,
            Recipe::Cluster { sctp, .. } => *sctp,
        }
    }

    fn labels(&self) -> Value {
        match self {
            Recipe::Lab => json!({CHECK_LABEL: SERVES}),
            Recipe::Cluster { .. } => json!({MANAGED_BY.0: MANAGED_BY.1}),
        }
    }

    fn server(&self, container: &Container, more: Vec<String>) -> Value {
        let [http, echo] = [container.http, container.echo].map(|port| port.to_string());
        let args = ["serve", "--http", &http, "--echo", &echo].map(str::to_owned);
        let mut made = self.container(container.name, [args.to_vec(), more].concat());
        made["readinessProbe"] = json!({
            "tcpSocket": {"port": container.echo},
            "periodSeconds": 1,
        });
        made
    }

    fn container(&self, name: &str, args: Vec<String>) -> Value {
        match self {
            Recipe::Lab => json!({"name": name, "image": "seaway", "args": args}),
            Recipe::Cluster { image, .. } => json!({
                "name": name,
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "command": ["seaway", "tool"],
                "args": args,
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                },
            }),
        }
    }

    /// SCTP is asked and answered by raw sockets.
    fn allow_sctp(&self, container: &mut Value) {
        if let Recipe::Cluster { sctp: true, .. } = self {
            container["securityContext"]["capabilities"]["add"] = json!(["NET_RAW"]);
        }
    }

    fn spec(&self, containers: Vec<Value>, grace_s: u32) -> Value {
        let mut spec = json!({
            "terminationGracePeriodSeconds": grace_s,
            "containers": containers,
        });
        if let Recipe::Cluster { nodes, .. } = self {
            spec["automountServiceAccountToken"] = false.into();
            spec["enableServiceLinks"] = false.into();
            spec["securityContext"] = json!({"seccompProfile": {"type": "RuntimeDefault"}});
            spec["tolerations"] = json!([{"operator": "Exists"}]);
            let any = nodes.iter().map(|node| {
                json!({"matchFields": [
                    {"key": "metadata.name", "operator": "In", "values": [node]},
                ]})
            });
            spec["affinity"] = json!({"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution":
                    {"nodeSelectorTerms": any.collect::<Vec<_>>()},
            }});
        }
        spec
    }
}

fn ports(container: &Container, host_port: Option<HostPort>) -> Vec<Value> {
    let mut ports = vec![json!({"containerPort": container.http})];
    if let Some(HostPort { port, to }) = host_port.filter(|open| open.to == container.echo) {
        let over = |protocol| json!({"containerPort": to, "hostPort": port, "protocol": protocol});
        ports.extend(["TCP", "UDP"].map(over));
    }
    ports
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Capabilities, Pod};

    use super::*;

    fn cluster(sctp: bool) -> Recipe {
        Recipe::Cluster {
            image: "seaway:1".to_owned(),
            nodes: vec!["n1".to_owned()],
            sctp,
        }
    }

    fn pod(value: Value) -> Pod {
        serde_json::from_value(value).expect("a Pod")
    }

    fn names(pod: &Pod) -> Vec<String> {
        let spec = pod.spec.as_ref().expect("a specification");
        spec.containers.iter().map(|c| c.name.clone()).collect()
    }

    #[test]
    fn a_lab_needs_no_client_and_a_cluster_does() {
        assert_eq!(
            names(&pod(Recipe::Lab.pod("n", "p", None))),
            ["main", "sidecar"]
        );
        let made = pod(cluster(true).pod("n", "p", None));
        assert_eq!(names(&made), ["main", "sidecar", "client"]);
        let spec = made.spec.expect("a specification");
        let args = spec.containers[0].args.clone().unwrap_or_default();
        assert!(args.contains(&"/shared/end".to_owned()), "{args:?}");
        assert_eq!(spec.volumes.map(|volumes| volumes.len()), Some(2));
    }

    #[test]
    fn rights_are_what_sctp_takes_and_no_more() {
        let rights = |value: Value| -> Vec<Capabilities> {
            let spec = pod(value).spec.expect("a specification");
            let of = |c: k8s_openapi::api::core::v1::Container| c.security_context?.capabilities;
            spec.containers.into_iter().filter_map(of).collect()
        };
        for (sctp, added) in [(true, 1), (false, 0)] {
            let all = rights(cluster(sctp).pod("n", "p", None));
            assert_eq!(all.len(), 3);
            assert!(all.iter().all(|c| c.drop == Some(vec!["ALL".to_owned()])));
            assert_eq!(all.iter().filter(|c| c.add.is_some()).count(), added);
        }
    }
}
