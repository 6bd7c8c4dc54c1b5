//! Calling CNI plugins exactly as libcni does: by exec, with environment and standard input.

use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use seaway_kernel::netns::Netns;

use crate::room;

/// What the Pod's side of every link is called.
pub(crate) const IF_NAME: &str = "eth0";

/// A Pod's namespace and the sandbox that it is now.
#[derive(Debug)]
pub(crate) struct Pod {
    netns: Netns,
    path: PathBuf,
    container: String,
}

impl Pod {
    /// A Pod in a new namespace.
    pub(crate) fn new() -> Result<Pod> {
        let netns = Netns::create()?;
        let path = room::path_of(netns.as_fd().as_raw_fd());
        let container = next_container();
        Ok(Pod {
            netns,
            path,
            container,
        })
    }

    /// The same namespace as another sandbox: a container id is never used twice.
    pub(crate) fn renew(&mut self) {
        self.container = next_container();
    }

    /// Its namespace.
    pub(crate) fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Its container id.
    pub(crate) fn container(&self) -> &str {
        &self.container
    }
}

/// 64 hexadecimal digits as containerd makes them, never the same again.
fn next_container() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(1);
    let n = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{:032x}{:032x}", std::process::id(), n)
}

/// A plugin with its configuration.
#[derive(Clone, Debug)]
pub(crate) struct Plugin {
    /// The program.
    pub(crate) program: PathBuf,
    /// Where it finds others, as `CNI_PATH`.
    pub(crate) search: PathBuf,
    /// The configuration, as JSON.
    pub(crate) config: String,
}

/// How a call went.
#[derive(Debug)]
pub(crate) struct Call {
    /// From exec to exit.
    pub(crate) wall: Duration,
    /// What it printed: the result.
    pub(crate) stdout: Vec<u8>,
}

impl Plugin {
    /// Calls a verb for a Pod from the calling thread's room.
    pub(crate) fn call(&self, verb: &str, pod: &Pod) -> Result<Call> {
        let mut command = self.command(verb);
        command
            .env("CNI_CONTAINERID", &pod.container)
            .env("CNI_NETNS", &pod.path);
        command
            .env("CNI_IFNAME", IF_NAME)
            .env("CNI_ARGS", arguments(pod));
        self.finish(command, verb, &self.config)
    }

    /// Calls a verb that is about no Pod, with a configuration of its own.
    pub(crate) fn call_with(&self, verb: &str, config: &str) -> Result<Call> {
        self.finish(self.command(verb), verb, config)
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env("CNI_COMMAND", verb)
            .env("CNI_PATH", &self.search);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn finish(&self, command: Command, verb: &str, config: &str) -> Result<Call> {
        let name = || format!("{verb} of {}", self.program.display());
        let (wall, output) = timed(command, config).with_context(name)?;
        if !output.status.success() {
            let [out, error] = [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b));
            bail!("{} failed: {}\n{}{}", name(), output.status, out, error);
        }
        let stdout = output.stdout;
        Ok(Call { wall, stdout })
    }
}

fn arguments(pod: &Pod) -> String {
    let container = &pod.container;
    let name = &container[container.len() - 12..];
    format!(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE=bench;K8S_POD_NAME=pod-{name};K8S_POD_INFRA_CONTAINER_ID={container}"
    )
}

fn timed(mut command: Command, input: &str) -> Result<(Duration, Output)> {
    let start = Instant::now();
    let mut child = command.spawn().context("starting it")?;
    if let Some(mut stdin) = child.stdin.take() {
        // A plugin may answer without reading its input; the exit code tells then.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().context("waiting for it")?;
    Ok((start.elapsed(), output))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(program: &str) -> Plugin {
        Plugin {
            program: program.into(),
            search: "/opt".into(),
            config: "{\"name\":\"n\"}".to_owned(),
        }
    }

    fn said_by(program: &str, pod: &Pod) -> String {
        let call = plugin(program).call("ADD", pod).expect("it succeeds");
        String::from_utf8(call.stdout).expect("text")
    }

    #[test]
    fn a_plugin_gets_what_libcni_gives() {
        let pod = Pod::new().expect("the tests run as root");
        assert_eq!(
            said_by("/bin/cat", &pod),
            "{\"name\":\"n\"}",
            "the configuration"
        );
        let environment = said_by("/usr/bin/env", &pod);
        for (name, value) in [
            ("COMMAND", "ADD"),
            ("CONTAINERID", pod.container()),
            ("NETNS", &pod.path.display().to_string()),
            ("IFNAME", "eth0"),
            ("PATH", "/opt"),
        ] {
            let line = format!("CNI_{name}={value}");
            assert!(
                environment.lines().any(|l| l == line),
                "{line} in\n{environment}"
            );
        }
        let here = Netns::open(&pod.path)
            .and_then(|n| n.identity())
            .expect("the path works");
        assert_eq!(here, pod.netns().identity().expect("it lives"));
    }

    #[test]
    fn a_failure_shows_what_the_plugin_said() {
        let pod = Pod::new().expect("the tests run as root");
        let error = plugin("/bin/mkdir")
            .call("ADD", &pod)
            .expect_err("it lacks an operand");
        let error = error.to_string();
        assert!(
            error.contains("operand") && error.contains("ADD of"),
            "{error}"
        );
    }

    #[test]
    fn container_ids_are_never_used_twice() {
        let mut pod = Pod::new().expect("the tests run as root");
        let first = pod.container().to_owned();
        pod.renew();
        assert_ne!(first, pod.container());
        assert_eq!(first.len(), 64);
    }
}
