//! Controllers of a real cluster beside those of a lab, under the account that the manifest gives them.

use std::process::{Child, Command, Stdio};

use seaway_tests::binary;
use seaway_tests::lab::Lab;
use serde_json::Value;

/// A controller that ends with this value.
pub(crate) struct Controller(Child);

impl Controller {
    /// Starts one in this network namespace, where the lab's API server is on the loopback address.
    pub(crate) fn start(lab: &Lab, name: &str) -> Controller {
        let credentials = format!(
            "/run/seaway-lab/{}/credentials/network.kubeconfig",
            lab.name
        );
        Controller::with(lab, name, &credentials)
    }

    /// Starts one with these credentials.
    pub(crate) fn with(lab: &Lab, name: &str, credentials: &str) -> Controller {
        let config = std::fs::read_to_string(lab.kubeconfig()).expect("readable");
        let config: Value = serde_saphyr::from_str(&config).expect("YAML");
        let server = &config["clusters"][0]["cluster"]["server"];
        let mut command = Command::new(binary("seaway"));
        command.args(["controller", "--network-only", "--leader-elect"]);
        command.args(["--cluster-cidr", "10.244.0.0/16=24"]);
        command.args(["--cluster-cidr", "fd00:10:244::/48=64"]);
        command.args(["--kubeconfig", credentials]);
        command.args(["--api-server", server.as_str().expect("a URL")]);
        command.args(["--pod-name", name]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Controller(child.expect("started"))
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _ended = self.0.wait();
    }
}
