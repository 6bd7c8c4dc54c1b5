//! The embedded API server beside the nodes, with what a Pod's service account is given.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use seaway_kernel::netns::Netns;
use seaway_model::Family;
use seaway_testkit::eventually;
use serde_json::json;

use crate::agent::LIMIT;
use crate::net::Net;
use crate::shell::checked;
use crate::{binary, kubectl};

const PORT: u16 = 6443;
const TOKEN: &str = "a-token-of-the-tests";

/// An API server that runs.
pub struct ApiServer {
    /// What a Pod finds at `/var/run/secrets/kubernetes.io/serviceaccount`.
    pub service_account: PathBuf,
    /// Where it is reached.
    pub urls: Vec<String>,
    process: Child,
    netns: Netns,
    kubeconfig: PathBuf,
}

impl ApiServer {
    /// Starts it at the addresses of the switch between the nodes.
    pub fn start(net: &Net) -> ApiServer {
        let folder = Path::new("/run/api");
        let service_account = folder.join("serviceaccount");
        fs::create_dir_all(&service_account).expect("folder");
        let addresses = net.shape.underlay.router(0);
        certify(folder, &addresses);
        let account = [("token", TOKEN), ("namespace", "seaway-system")];
        for (name, text) in account {
            fs::write(service_account.join(name), text).expect("written");
        }
        fs::copy(folder.join("ca.crt"), service_account.join("ca.crt")).expect("copied");
        let tokens = format!("{TOKEN},tests,tests,\"system:masters\"\n");
        fs::write(folder.join("tokens.csv"), tokens).expect("written");
        let doors = addresses.map(|address| std::net::SocketAddr::new(address, PORT));
        let urls: Vec<String> = doors.iter().map(|door| format!("https://{door}")).collect();
        let mut command = Command::new(binary("seaway"));
        command.arg("apiserver").current_dir(folder);
        for door in &doors {
            command.args(["--listen", &door.to_string()]);
        }
        command
            .args(["--tls-cert", "server.crt", "--tls-key", "server.key"])
            .args(["--tokens", "tokens.csv"])
            .args(["--service-cidr", "10.96.0.0/16"])
            .args(["--service-cidr", "fd00:10:96::/112"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("log")).expect("log"));
        let netns = net.fabric.netns.try_clone().expect("namespace");
        let process = netns.run(|| command.spawn()).expect("namespace");
        let server = ApiServer {
            kubeconfig: kubeconfig(folder, &urls[0]),
            process: process.expect("started"),
            service_account,
            urls,
            netns,
        };
        eventually("the API server serves", LIMIT, || {
            let output = server.command(&["get", "namespaces"]);
            let log = || fs::read_to_string(folder.join("log"));
            output.status.success().then_some(()).ok_or_else(log)
        });
        server
    }

    /// Makes the nodes of `net` known, as kubelets do.
    pub fn register(&self, net: &Net) {
        for member in &net.cluster.members {
            let node = json!({
                "apiVersion": "v1", "kind": "Node",
                "metadata": {"name": member.name},
                "spec": {"podCIDR": member.pod_cidrs[0], "podCIDRs": member.pod_cidrs},
            });
            self.apply(&node.to_string());
            let internal = |ip: &IpAddr| json!({"type": "InternalIP", "address": ip});
            let addresses: Vec<_> = member.addresses.iter().map(internal).collect();
            let status = json!({"status": {"addresses": addresses}}).to_string();
            let patch = [
                "patch",
                "node",
                &member.name,
                "--subresource=status",
                "-p",
                &status,
            ];
            self.kubectl(&patch);
        }
    }

    /// `kubectl apply`.
    pub fn apply(&self, objects: &str) {
        let file = self.kubeconfig.with_file_name("objects");
        fs::write(&file, objects).expect("written");
        self.kubectl(&["apply", "-f", &file.to_string_lossy()]);
    }

    /// Runs kubectl, and wants success; gives what it printed.
    ///
    /// # Panics
    ///
    /// If it fails, with what it said.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        checked(&format!("kubectl {arguments:?}"), &self.command(arguments))
    }

    fn command(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = Command::new(kubectl());
        command
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(arguments)
            .env("HOME", "/run/api");
        let output = self.netns.run(|| command.output());
        output.expect("namespace").expect("started")
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn kubeconfig(folder: &Path, url: &str) -> PathBuf {
    let authority = folder.join("ca.crt");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "tests",
        "clusters": [{"name": "tests", "cluster": {"server": url, "certificate-authority": authority}}],
        "users": [{"name": "tests", "user": {"token": TOKEN}}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
    });
    let path = folder.join("kubeconfig");
    fs::write(&path, config.to_string()).expect("written");
    path
}

/// An authority, and the server's certificate for these addresses.
fn certify(folder: &Path, addresses: &[IpAddr; Family::ALL.len()]) {
    let write = |name: &str, text: String| fs::write(folder.join(name), text).expect("written");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let authority = params.self_signed(&key).expect("signed");
    write("ca.crt", authority.pem());
    let issuer = Issuer::new(params, key);
    let mut params = CertificateParams::default();
    params.subject_alt_names = addresses.iter().copied().map(SanType::IpAddress).collect();
    let key = KeyPair::generate().expect("a key");
    let server = params.signed_by(&key, &issuer).expect("signed");
    write("server.crt", server.pem());
    write("server.key", key.serialize_pem());
}
