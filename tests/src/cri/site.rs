//! A cluster whose nodes have a real container runtime each.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use seaway_testkit::eventually;
use serde_json::{Value, json};

use super::cgroup::Cgroup;
use super::{Containerd, Cri, Machine, image};
use crate::agent::LIMIT;
use crate::net::{Net, Shape};
use crate::{Agent, binary};

/// What containerd makes each sandbox's loopback with, whatever its network is.
const LOOPBACK: &str = "/usr/lib/cni/loopback";

/// What podman mounts when it likes, and leaves mounted: no Pod's.
const PODMANS: &str = " /var/lib/containers/storage/overlay ";

/// A node's machine and runtime.
#[derive(Debug)]
pub struct Host {
    /// A client of the runtime.
    pub cri: Cri,
    /// The runtime.
    pub containerd: Containerd,
    /// What it runs on.
    pub machine: Machine,
    cgroup: String,
}

/// Nodes with real runtimes; all of it goes with this.
pub struct Site {
    /// The machines; node 1's is the first.
    pub hosts: Vec<Host>,
    _cgroup: Cgroup,
    /// The nodes, their agents, and what is between them.
    pub net: Net,
}

impl Site {
    /// Nodes with agents that are ready, and runtimes whose network is.
    pub fn start(nodes: usize) -> Site {
        let mut site = Site::bare(nodes);
        for agent in &mut site.net.agents {
            agent.spawn_agent(&[]);
        }
        site.net.settle();
        for host in &site.hosts {
            host.install_conflist();
        }
        site
    }

    /// Nodes with runtimes that have the plugin; no agent is started, and no network configured.
    pub fn bare(nodes: usize) -> Site {
        let net = Net::without_agents(&Shape::flat().nodes(nodes));
        let cgroup = Cgroup::new();
        let archive = image::write(Path::new("/run/image"));
        let host = |agent: &Agent| {
            let machine = Machine::boot(&agent.name, agent.folder());
            let containerd = Containerd::of(&machine);
            let mut host = Host {
                cri: Cri::new(&containerd.socket()),
                containerd,
                cgroup: format!("{}/{}", cgroup.path(), agent.name),
                machine,
            };
            host.install_plugin();
            host.start_containerd();
            host.import("k8s.io", &archive);
            host
        };
        let hosts = net.agents.iter().map(host).collect();
        Site {
            hosts,
            _cgroup: cgroup,
            net,
        }
    }

    /// The machine of node `number`.
    pub fn host(&self, number: usize) -> &Host {
        &self.hosts[number - 1]
    }

    /// Everything by which Pods could leave a trace on node `number`.
    pub fn traces(&self, number: usize) -> BTreeSet<String> {
        let (host, agent) = (self.host(number), self.net.agent(number));
        let mut traces = host.traces();
        let rows = agent.rows().into_iter();
        traces.extend(rows.map(|row| format!("row {row}")));
        traces
    }

    /// Waits until node `number` is as it was when it had these traces.
    pub fn wait_for_traces(&self, number: usize, before: &BTreeSet<String>) {
        eventually("the node is as before", LIMIT, || {
            let now = self.traces(number);
            if now == *before {
                return Ok(());
            }
            let more: Vec<String> = now.difference(before).cloned().collect();
            let less: Vec<String> = before.difference(&now).cloned().collect();
            Err(format!("more: {more:#?}, less: {less:#?}"))
        });
    }
}

impl Host {
    /// Puts the plugin where runtimes look for it, and the one for loopback beside it.
    fn install_plugin(&self) {
        let plugin = binary("seaway-cni");
        self.install_program(&plugin.to_string_lossy());
        self.install_program(LOOPBACK);
    }

    /// Takes the plugin away; the others stay.
    pub fn remove_plugin(&self) {
        fs::remove_file(self.machine.folder.join("bin/seaway-cni")).expect("removed");
    }

    /// Puts a program beside the plugin.
    pub fn install_program(&self, path: &str) {
        let path = Path::new(path);
        let name = path.file_name().expect("a name");
        let copy = self.machine.folder.join("bin").join(name);
        fs::copy(path, copy).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    /// Puts Seaway's configuration where runtimes look for it.
    pub fn install_conflist(&self) {
        let plugin = json!({
            "type": "seaway-cni",
            "capabilities": {"portMappings": true, "bandwidth": true},
        });
        self.configure("seaway", &json!([plugin]));
    }

    /// Configures the network, whole at once, and waits until the runtime has noticed. (A draft
    /// elsewhere would not do: containerd does not look at files that appear, only at those that
    /// are written or renamed.)
    pub fn configure(&self, name: &str, plugins: &Value) {
        // containerd 1.6 knows 1.0.0; those that know more choose from the list.
        let conflist = json!({
            "cniVersion": "1.0.0",
            "cniVersions": ["0.4.0", "1.0.0", "1.1.0"],
            "name": name,
            "plugins": plugins,
        });
        let (draft, path) = (self.machine.folder.join("net.d/draft"), self.conflist());
        fs::write(&draft, conflist.to_string()).expect("written");
        fs::rename(draft, path).expect("renamed");
        self.wait_for_network();
        let name = format!("\"Name\":\"{name}\"");
        eventually("the runtime has noticed", LIMIT, || {
            match self.cri.network_config() {
                Ok(config) if config.contains(&name) => Ok(()),
                other => Err(other),
            }
        });
    }

    /// Where the configuration is, on the test's side.
    pub fn conflist(&self) -> PathBuf {
        self.machine.folder.join("net.d/05-seaway.conflist")
    }

    /// Waits until the runtime says that its network is ready.
    pub fn wait_for_network(&self) {
        eventually("the runtime's network is ready", LIMIT, || {
            match self.cri.network() {
                Ok(condition) if condition.status => Ok(()),
                other => Err(other),
            }
        });
    }

    /// Starts the runtime.
    pub fn start_containerd(&mut self) {
        self.containerd.start(&self.machine, &self.cri);
    }

    /// Ends the runtime by a signal and starts it again.
    pub fn restart_containerd(&mut self, signal: Signal) {
        self.containerd.end(signal);
        self.start_containerd();
    }

    /// Runs containerd's own client.
    pub fn ctr(&self, line: &str) -> String {
        let socket = self.containerd.socket();
        self.machine
            .run(&format!("ctr -a {} {line}", socket.display()))
    }

    /// Imports an image into one of containerd's namespaces.
    pub fn import(&self, namespace: &str, archive: &Path) {
        self.ctr(&format!(
            "-n {namespace} images import {}",
            archive.display()
        ));
    }

    /// A control group of this node.
    pub fn cgroup(&self, name: &str) -> String {
        format!("{}/{name}", self.cgroup)
    }

    /// Where the logs of a Pod's containers go.
    pub(super) fn logs(&self, pod: &str) -> PathBuf {
        self.machine.folder.join("logs").join(pod)
    }

    /// What there is in the kernel and in the file system by which Pods could leave a trace.
    fn traces(&self) -> BTreeSet<String> {
        const LOOKS: [&str; 9] = [
            "ip -br link",
            "ip -br address",
            "ip route show table all",
            "ip -6 route show table all",
            "ip rule",
            "ip -6 rule",
            "ip neighbour show nud permanent",
            "ip -6 neighbour show nud permanent",
            "nft --stateless list ruleset",
        ];
        let looked = LOOKS.iter().flat_map(|look| {
            let text = self.machine.run(look);
            let lines: Vec<String> = text.lines().map(|line| format!("{look}: {line}")).collect();
            lines
        });
        let mounts = self.machine.run("cat /proc/self/mounts");
        let mounts = mounts.lines().filter(|line| !line.contains(PODMANS));
        let mounts = mounts.map(|line| format!("mount {line}"));
        let folders = [
            "/run/seaway/attachments",
            "/run/seaway/deleted",
            "/run/netns",
        ];
        let files = folders.iter().flat_map(|folder| {
            let list = self.machine.command("ls").arg("-A").arg(folder).output();
            let text = String::from_utf8_lossy(&list.expect("started").stdout).into_owned();
            let files: Vec<String> = text
                .lines()
                .map(|name| format!("{folder}/{name}"))
                .collect();
            files
        });
        let mut traces: BTreeSet<String> = looked.collect();
        traces.extend(mounts);
        traces.extend(files);
        traces.insert(format!("{} processes", self.machine.processes().len()));
        traces
    }
}
