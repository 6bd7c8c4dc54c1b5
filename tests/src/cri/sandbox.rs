//! Pod sandboxes and the containers in them, made by a runtime as a kubelet has it do.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use seaway_kernel::netns::Netns;
use seaway_model::Family;
use seaway_testkit::eventually;
use serde_json::Value;

use super::api::{
    ContainerConfig, ContainerMetadata, ContainerStatus, ExecSyncResponse, ImageSpec,
    LinuxPodSandboxConfig, PodSandboxConfig, PodSandboxMetadata,
};
use super::image::IMAGE;
use super::{Cri, Host, Refusal};
use crate::agent::LIMIT;
use crate::probe::Traffic;

/// A sandbox that was made.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// Its id.
    pub id: String,
    /// What was asked for.
    pub config: PodSandboxConfig,
    /// What the runtime says its addresses are, in its order.
    pub addresses: Vec<IpAddr>,
    cri: Cri,
}

/// A container that was started.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Those of its sandbox.
    pub addresses: Vec<IpAddr>,
    cri: Cri,
}

impl Sandbox {
    /// What a kubelet asks for, for a Pod of this name.
    pub fn config(host: &Host, name: &str) -> PodSandboxConfig {
        PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.to_owned(),
                uid: format!("uid-{name}"),
                namespace: "default".to_owned(),
                attempt: 0,
            }),
            hostname: name.to_owned(),
            log_directory: host.logs(name).to_string_lossy().into_owned(),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: host.cgroup("pods"),
                security_context: None,
            }),
            ..PodSandboxConfig::default()
        }
    }

    /// Makes a sandbox, or tells what the runtime says why not.
    pub fn try_run(host: &Host, config: PodSandboxConfig) -> Result<Sandbox, Refusal> {
        let cri = host.cri.clone();
        let id = cri.run_sandbox(&config)?;
        let addresses = addresses(&cri, &id)?;
        Ok(Sandbox {
            id,
            config,
            addresses,
            cri,
        })
    }

    /// Makes the sandbox of a Pod of this name.
    ///
    /// # Panics
    ///
    /// If the runtime refuses.
    pub fn run(host: &Host, name: &str) -> Sandbox {
        let made = Sandbox::try_run(host, Sandbox::config(host, name));
        made.unwrap_or_else(|refusal| panic!("{name}: {refusal}"))
    }

    /// Its address of a family.
    pub fn address(&self, family: Family) -> IpAddr {
        of_family(&self.addresses, family)
    }

    /// Starts a container of the tests' image that runs this tool.
    ///
    /// # Panics
    ///
    /// If the runtime refuses.
    pub fn start(&self, tool: &[&str]) -> Container {
        let words = ["/seaway", "tool"].iter().chain(tool);
        let config = ContainerConfig {
            metadata: Some(ContainerMetadata {
                name: tool[0].to_owned(),
                attempt: 0,
            }),
            image: Some(ImageSpec {
                image: IMAGE.to_owned(),
            }),
            command: words.map(|&word| word.to_owned()).collect(),
            log_path: format!("{}.log", tool[0]),
            ..ContainerConfig::default()
        };
        let started = self.try_start(&config);
        started.unwrap_or_else(|refusal| panic!("{tool:?}: {refusal}"))
    }

    /// Starts a container, or tells what the runtime says why not.
    pub fn try_start(&self, config: &ContainerConfig) -> Result<Container, Refusal> {
        let id = self.cri.start_container(&self.id, &self.config, config)?;
        Ok(Container {
            id,
            addresses: self.addresses.clone(),
            cri: self.cri.clone(),
        })
    }

    /// Starts a server, and waits until it serves in both families.
    pub fn serve(&self) -> Container {
        let server = self.start(&["serve"]);
        for address in &self.addresses {
            eventually("it serves itself", LIMIT, || {
                server.fetch((*address, 8080).into())
            });
        }
        server
    }

    /// What the runtime says its addresses are by now.
    ///
    /// # Panics
    ///
    /// If the runtime does not know it.
    pub fn reported_addresses(&self) -> Vec<IpAddr> {
        addresses(&self.cri, &self.id).expect("PodSandboxStatus")
    }

    /// Its process, as the machine has it.
    pub fn pid(&self) -> u32 {
        let pid = self.info()["pid"].as_u64().expect("it runs");
        u32::try_from(pid).expect("a PID")
    }

    /// The name of its network namespace.
    pub fn netns_path(&self) -> PathBuf {
        let spec = &self.info()["runtimeSpec"];
        let namespaces = spec["linux"]["namespaces"].as_array().expect("a list");
        let network = namespaces.iter().find(|n| n["type"] == "network");
        let path = network.and_then(|network| network["path"].as_str());
        PathBuf::from(path.expect("a network of its own"))
    }

    fn info(&self) -> Value {
        let answer = self.cri.sandbox(&self.id).expect("PodSandboxStatus");
        serde_json::from_str(&answer.info["info"]).expect("JSON")
    }

    /// Datagrams and a stream to another sandbox all the time, in each family.
    pub fn traffic_to(&self, other: &Sandbox) -> [Traffic; 2] {
        let [from, to] =
            [self, other].map(|pod| Netns::open(&pod.netns_path()).expect("a namespace"));
        Family::ALL.map(|family| {
            let (own, target) = (self.address(family), other.address(family));
            Traffic::between((&from, own), (&to, target))
        })
    }

    /// StopPodSandbox and RemovePodSandbox.
    ///
    /// # Panics
    ///
    /// If the runtime refuses either.
    pub fn end(&self) {
        self.cri.stop_sandbox(&self.id).expect("StopPodSandbox");
        self.cri.remove_sandbox(&self.id).expect("RemovePodSandbox");
    }
}

impl Container {
    /// Its address of a family.
    pub fn address(&self, family: Family) -> IpAddr {
        of_family(&self.addresses, family)
    }

    /// What became of it.
    pub fn status(&self) -> Result<ContainerStatus, Refusal> {
        self.cri.container(&self.id)
    }

    /// Runs a command in it.
    pub fn exec(&self, command: &[&str]) -> Result<ExecSyncResponse, Refusal> {
        self.cri.exec(&self.id, command)
    }

    /// Asks a server; gives the address that it saw.
    pub fn fetch(&self, server: SocketAddr) -> Result<IpAddr, String> {
        let url = format!("http://{server}/");
        let command = ["/seaway", "tool", "fetch", "--timeout-ms", "2000", &url];
        let answer = self.exec(&command).map_err(|refusal| refusal.to_string())?;
        let text = String::from_utf8_lossy(&answer.stdout);
        if answer.exit_code != 0 {
            let said = String::from_utf8_lossy(&answer.stderr);
            return Err(format!("{url}: {}: {said}{text}", answer.exit_code));
        }
        let page: Value = serde_json::from_str(&text).map_err(|e| format!("{e}: {text}"))?;
        let peer = page["peer"].as_str().unwrap_or_default();
        let peer: SocketAddr = peer.parse().map_err(|e| format!("{e}: {text}"))?;
        Ok(peer.ip().to_canonical())
    }

    /// Asks another container's server in both families; it must see this one's address.
    ///
    /// # Panics
    ///
    /// If they do not talk.
    pub fn assert_reaches(&self, other: &Container) {
        for family in Family::ALL {
            let seen = self.fetch((other.address(family), 8080).into());
            assert_eq!(seen, Ok(self.address(family)), "{other:?}");
        }
    }
}

fn of_family(addresses: &[IpAddr], family: Family) -> IpAddr {
    let found = addresses.iter().find(|a| Family::of(**a) == family);
    *found.unwrap_or_else(|| panic!("no {family:?} in {addresses:?}"))
}

fn addresses(cri: &Cri, id: &str) -> Result<Vec<IpAddr>, Refusal> {
    let status = cri.sandbox(id)?.status.unwrap_or_default();
    let network = status.network.unwrap_or_default();
    let more = network.additional_ips.into_iter().map(|more| more.ip);
    let all = [network.ip].into_iter().chain(more);
    // A sandbox in the node's network has none.
    let all = all.filter(|ip| !ip.is_empty());
    Ok(all.map(|ip| ip.parse().expect("an address")).collect())
}
