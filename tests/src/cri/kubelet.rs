//! What a kubelet makes of a Pod template: the words of the container runtime interface for the fields
//! that Seaway's workloads have. What is not known here is refused, so that nothing is left out.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::api::{
    Capability, ContainerConfig, ContainerMetadata, ImageSpec, Int64Value, KeyValue,
    LinuxContainerConfig, LinuxContainerSecurityContext, LinuxSandboxSecurityContext, Mount,
    NamespaceOption, PodSandboxConfig, SecurityProfile,
};
use super::{Host, Sandbox};

/// `NODE` and `CONTAINER`, of a namespace.
const NODE: i32 = 2;
const CONTAINER: i32 = 1;
/// `PROPAGATION_HOST_TO_CONTAINER`.
const HOST_TO_CONTAINER: i32 = 1;
/// What a container never sees of the kernel, and what it may not change, unless it is privileged.
const MASKED: [&str; 9] = [
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A Pod template, and what its containers are given from elsewhere.
#[derive(Clone, Debug)]
pub struct Template {
    /// The Pod's `spec`.
    pub spec: Value,
    /// The `data` of the ConfigMap that its `envFrom` names.
    pub config: Value,
    /// The Pod's name.
    pub name: String,
    /// The Pod's namespace.
    pub namespace: String,
    /// The node's name.
    pub node: String,
}

impl Template {
    /// The sandbox that a kubelet asks for.
    pub fn sandbox(&self, host: &Host) -> PodSandboxConfig {
        assert_eq!(self.spec["hostNetwork"], true, "the only kind known here");
        let mut config = Sandbox::config(host, &self.name);
        config.hostname.clear();
        if let Some(metadata) = &mut config.metadata {
            self.namespace.clone_into(&mut metadata.namespace);
        }
        if let Some(linux) = &mut config.linux {
            linux.security_context = Some(LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces()),
                seccomp: Some(self.seccomp()),
                ..LinuxSandboxSecurityContext::default()
            });
        }
        config
    }

    /// The container that a kubelet asks for, of `initContainers` or `containers`; folders that are
    /// to be made on the node are made below `machine`'s root by their paths.
    pub fn container(&self, host: &Host, list: &str, account: &Path) -> ContainerConfig {
        let [container] = &self.spec[list].as_array().expect("a list")[..] else {
            panic!("one of {list}");
        };
        let word = |value: &Value| value.as_str().expect("text").to_owned();
        let words = |value: &Value| match value {
            Value::Null => Vec::new(),
            list => list.as_array().expect("a list").iter().map(word).collect(),
        };
        let mounts = container["volumeMounts"].as_array().expect("a list");
        let mut mounts: Vec<Mount> = mounts.iter().map(|m| self.mount(host, m)).collect();
        if self.spec["automountServiceAccountToken"] == true {
            mounts.push(Mount {
                container_path: ACCOUNT.to_owned(),
                host_path: account.to_string_lossy().into_owned(),
                readonly: true,
                propagation: 0,
            });
        }
        let name = word(&container["name"]);
        ContainerConfig {
            log_path: format!("{name}.log"),
            metadata: Some(ContainerMetadata { name, attempt: 0 }),
            image: Some(ImageSpec {
                image: word(&container["image"]),
            }),
            command: words(&container["command"]),
            args: words(&container["args"]),
            envs: self.variables(container),
            mounts,
            linux: Some(LinuxContainerConfig {
                security_context: Some(self.security(&container["securityContext"])),
            }),
            ..ContainerConfig::default()
        }
    }

    fn mount(&self, host: &Host, mount: &Value) -> Mount {
        let volumes = self.spec["volumes"].as_array().expect("a list");
        let volume = volumes.iter().find(|v| v["name"] == mount["name"]);
        let volume = volume.expect("a volume of this name");
        let source = &volume["hostPath"];
        let own = format!("/run/volumes/{}/{}", self.name, volume["name"]);
        let path = match volume["emptyDir"].is_object() {
            true => own.replace('"', ""),
            false => source["path"].as_str().expect("a hostPath").to_owned(),
        };
        if volume["emptyDir"].is_object() {
            // Whoever a container runs as may write there.
            host.machine.run(&format!("mkdir -p -m 0777 {path}"));
        }
        if source["type"] == "DirectoryOrCreate" {
            host.machine.run(&format!("mkdir -p {path}"));
        }
        host.machine.run(&format!("test -d {path}"));
        let propagation = match mount["mountPropagation"].as_str() {
            None => 0,
            Some("HostToContainer") => HOST_TO_CONTAINER,
            Some(other) => panic!("{other} is not known here"),
        };
        Mount {
            container_path: mount["mountPath"].as_str().expect("a path").to_owned(),
            host_path: path,
            readonly: mount["readOnly"] == true,
            propagation,
        }
    }

    fn variables(&self, container: &Value) -> Vec<KeyValue> {
        let pair = |key: &str, value: &str| KeyValue {
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let mut variables = Vec::new();
        if container["envFrom"].is_array() {
            let data = self.config.as_object().expect("data").iter();
            variables.extend(data.map(|(key, value)| pair(key, value.as_str().expect("text"))));
        }
        for variable in container["env"].as_array().into_iter().flatten() {
            let field = &variable["valueFrom"]["fieldRef"]["fieldPath"];
            let value = match field.as_str() {
                None => variable["value"].as_str().expect("a value"),
                Some("spec.nodeName") => &self.node,
                Some("metadata.name") => &self.name,
                Some("metadata.namespace") => &self.namespace,
                Some(other) => panic!("{other} is not known here"),
            };
            variables.push(pair(variable["name"].as_str().expect("a name"), value));
        }
        variables
    }

    fn security(&self, context: &Value) -> LinuxContainerSecurityContext {
        let list = |value: &Value| -> Vec<String> {
            let items = value.as_array().into_iter().flatten();
            items
                .map(|item| item.as_str().expect("text").to_owned())
                .collect()
        };
        let own_or_pods = |field: &str| {
            let of_pod = &self.spec["securityContext"][field];
            let value = context[field].as_i64().or(of_pod.as_i64());
            value.map(|value| Int64Value { value })
        };
        assert_ne!(context["privileged"], true);
        LinuxContainerSecurityContext {
            capabilities: Some(Capability {
                add_capabilities: list(&context["capabilities"]["add"]),
                drop_capabilities: list(&context["capabilities"]["drop"]),
            }),
            privileged: false,
            namespace_options: Some(namespaces()),
            run_as_user: own_or_pods("runAsUser"),
            run_as_group: own_or_pods("runAsGroup"),
            readonly_rootfs: context["readOnlyRootFilesystem"] == true,
            no_new_privs: context["allowPrivilegeEscalation"] == false,
            masked_paths: MASKED.map(str::to_owned).to_vec(),
            readonly_paths: READ_ONLY.map(str::to_owned).to_vec(),
            seccomp: Some(self.seccomp()),
        }
    }

    fn seccomp(&self) -> SecurityProfile {
        let profile = &self.spec["securityContext"]["seccompProfile"]["type"];
        assert_eq!(profile, "RuntimeDefault", "the only profile known here");
        SecurityProfile::default()
    }
}

impl Host {
    /// What a container of a Pod printed, to both of its streams.
    pub fn container_log(&self, pod: &str, container: &str) -> String {
        let path = self.logs(pod).join(format!("{container}.log"));
        fs::read_to_string(path).unwrap_or_default()
    }
}

/// As every Pod in the node's network has them.
fn namespaces() -> NamespaceOption {
    NamespaceOption {
        network: NODE,
        pid: CONTAINER,
        ..NamespaceOption::default()
    }
}
