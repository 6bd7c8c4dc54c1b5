//! The container runtime interface, as kubelets call it.

use std::path::{Path, PathBuf};

use super::api::{
    ContainerConfig, ContainerId, ContainerStatus, ContainerStatusRequest, ContainerStatusResponse,
    CreateContainerRequest, Empty, ExecSyncRequest, ExecSyncResponse, ListPodSandboxResponse,
    PodSandbox, PodSandboxConfig, PodSandboxId, PodSandboxStatusRequest, PodSandboxStatusResponse,
    RunPodSandboxRequest, RuntimeCondition, StatusRequest, StatusResponse, StopContainerRequest,
    VersionResponse,
};
use super::grpc::{self, Refusal};

/// A client; each call is a connection of its own.
#[derive(Clone, Debug)]
pub struct Cri {
    socket: PathBuf,
}

impl Cri {
    /// A client of the runtime that listens there.
    pub fn new(socket: &Path) -> Cri {
        Cri {
            socket: socket.to_owned(),
        }
    }

    fn call<A: prost::Message, B: prost::Message + Default>(
        &self,
        method: &str,
        request: &A,
    ) -> Result<B, Refusal> {
        let method = format!("runtime.v1.RuntimeService/{method}");
        grpc::call(&self.socket, &method, request)
    }

    /// Who serves.
    pub fn version(&self) -> Result<VersionResponse, Refusal> {
        self.call("Version", &Empty {})
    }

    /// What the runtime says of its network.
    pub fn network(&self) -> Result<RuntimeCondition, Refusal> {
        let answer: StatusResponse = self.call("Status", &StatusRequest::default())?;
        let conditions = answer.status.unwrap_or_default().conditions;
        let network = conditions.into_iter().find(|c| c.r#type == "NetworkReady");
        Ok(network.expect("every runtime has this condition"))
    }

    /// How the runtime has understood its network's configuration.
    pub fn network_config(&self) -> Result<String, Refusal> {
        let answer: StatusResponse = self.call("Status", &StatusRequest { verbose: true })?;
        Ok(answer.info.get("cniconfig").cloned().unwrap_or_default())
    }

    /// RunPodSandbox; gives the sandbox's id.
    pub fn run_sandbox(&self, config: &PodSandboxConfig) -> Result<String, Refusal> {
        let config = Some(config.clone());
        let answer: PodSandboxId = self.call("RunPodSandbox", &RunPodSandboxRequest { config })?;
        Ok(answer.pod_sandbox_id)
    }

    /// PodSandboxStatus, with what the runtime tells beyond.
    pub fn sandbox(&self, id: &str) -> Result<PodSandboxStatusResponse, Refusal> {
        let request = PodSandboxStatusRequest {
            pod_sandbox_id: id.to_owned(),
            verbose: true,
        };
        self.call("PodSandboxStatus", &request)
    }

    /// ListPodSandbox.
    pub fn sandboxes(&self) -> Result<Vec<PodSandbox>, Refusal> {
        let answer: ListPodSandboxResponse = self.call("ListPodSandbox", &Empty {})?;
        Ok(answer.items)
    }

    /// StopPodSandbox.
    pub fn stop_sandbox(&self, id: &str) -> Result<(), Refusal> {
        let _: Empty = self.call("StopPodSandbox", &sandbox_id(id))?;
        Ok(())
    }

    /// RemovePodSandbox.
    pub fn remove_sandbox(&self, id: &str) -> Result<(), Refusal> {
        let _: Empty = self.call("RemovePodSandbox", &sandbox_id(id))?;
        Ok(())
    }

    /// CreateContainer and StartContainer; gives the container's id.
    pub fn start_container(
        &self,
        sandbox: &str,
        sandbox_config: &PodSandboxConfig,
        config: &ContainerConfig,
    ) -> Result<String, Refusal> {
        let request = CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(config.clone()),
            sandbox_config: Some(sandbox_config.clone()),
        };
        let container: ContainerId = self.call("CreateContainer", &request)?;
        let _: Empty = self.call("StartContainer", &container)?;
        Ok(container.container_id)
    }

    /// ContainerStatus.
    pub fn container(&self, id: &str) -> Result<ContainerStatus, Refusal> {
        let request = ContainerStatusRequest {
            container_id: id.to_owned(),
            verbose: false,
        };
        let answer: ContainerStatusResponse = self.call("ContainerStatus", &request)?;
        Ok(answer.status.unwrap_or_default())
    }

    /// StopContainer: asked to end, and killed after so many seconds.
    pub fn stop_container(&self, id: &str, timeout: i64) -> Result<(), Refusal> {
        let request = StopContainerRequest {
            container_id: id.to_owned(),
            timeout,
        };
        let _: Empty = self.call("StopContainer", &request)?;
        Ok(())
    }

    /// RemoveContainer.
    pub fn remove_container(&self, id: &str) -> Result<(), Refusal> {
        let request = ContainerId {
            container_id: id.to_owned(),
        };
        let _: Empty = self.call("RemoveContainer", &request)?;
        Ok(())
    }

    /// ExecSync.
    pub fn exec(&self, container: &str, command: &[&str]) -> Result<ExecSyncResponse, Refusal> {
        let request = ExecSyncRequest {
            container_id: container.to_owned(),
            cmd: command.iter().map(|&word| word.to_owned()).collect(),
            timeout: 20,
        };
        self.call("ExecSync", &request)
    }
}

fn sandbox_id(id: &str) -> PodSandboxId {
    PodSandboxId {
        pod_sandbox_id: id.to_owned(),
    }
}
