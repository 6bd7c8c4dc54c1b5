//! `lab logs`: what a daemon of the lab or a container wrote.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::time::Duration;

use super::LogsArgs;
use crate::client::Client;
use crate::cluster::{Cluster, PodLog};
use crate::error::{Context, LabError};
use crate::protocol::LabStatus;
use crate::topology::POD_NAMESPACE;

/// How often a daemon's log is looked at while it is followed.
const LOOK: Duration = Duration::from_millis(100);

/// Prints the log.
pub(super) fn run(args: &LogsArgs) -> Result<(), LabError> {
    let client = Client::of(&args.name.name)?;
    let status = client.status()?;
    let Some(target) = &args.target else {
        return show_targets(&client, &status);
    };
    let daemon = client.state().log(target);
    if is_daemon(&status, target) {
        return show_file(&daemon, args);
    }
    let (pod, container) = pod_of(&status, target)?;
    Cluster::open(&client.state().kubeconfig())?.copy_log(
        &PodLog {
            namespace: pod.0,
            pod: pod.1,
            container: args.container.clone().or(container),
            follow: args.follow,
            tail: args.tail,
        },
        &mut io::stdout().lock(),
    )
}

fn is_daemon(status: &LabStatus, target: &str) -> bool {
    let of_nodes = status.nodes.iter().flat_map(|node| &node.processes);
    let others = status.control_plane.iter().chain(&status.outside.processes);
    let mut all = others.chain(of_nodes);
    target == "supervisor" || all.any(|process| process.name == target)
}

/// The Pod that `pod`, `pod/container`, `namespace/pod` or `namespace/pod/container` names.
fn pod_of(
    status: &LabStatus,
    target: &str,
) -> Result<((String, String), Option<String>), LabError> {
    let parts: Vec<&str> = target.split('/').collect();
    let is_pod = |namespace: &str, name: &str| {
        let mut pods = status.pods.iter();
        pods.any(|pod| pod.namespace == namespace && pod.name == name)
    };
    let named = |namespace: &str, pod: &str, container: Option<&str>| {
        let pod = (namespace.to_owned(), pod.to_owned());
        Ok((pod, container.map(str::to_owned)))
    };
    match parts.as_slice() {
        [pod] => named(POD_NAMESPACE, pod, None),
        [pod, container] if is_pod(POD_NAMESPACE, pod) => {
            named(POD_NAMESPACE, pod, Some(container))
        }
        [namespace, pod] => named(namespace, pod, None),
        [namespace, pod, container] => named(namespace, pod, Some(container)),
        _ => Err(LabError::Request(format!(
            "\"{target}\" names neither a daemon nor a Pod; `seaway lab logs` shows what there is"
        ))),
    }
}

fn show_targets(client: &Client, status: &LabStatus) -> Result<(), LabError> {
    let mut names = vec!["supervisor".to_owned()];
    let of_nodes = status.nodes.iter().flat_map(|node| &node.processes);
    let of_pods = status.pods.iter().flat_map(|pod| &pod.processes);
    let others = status.control_plane.iter().chain(&status.outside.processes);
    let all = others.chain(of_nodes).chain(of_pods);
    names.extend(all.map(|process| process.name.clone()));
    let logs = client.state().path().join("logs");
    let text = format!(
        "seaway lab logs TARGET, one of:\n  {}\n(the daemons' logs are in {})",
        names.join("\n  "),
        logs.display()
    );
    writeln!(io::stdout().lock(), "{text}").during("write to", || "standard output".to_owned())
}

fn show_file(path: &PathBuf, args: &LogsArgs) -> Result<(), LabError> {
    let file = File::open(path).on("open", path)?;
    let mut reader = BufReader::new(file);
    let mut output = io::stdout().lock();
    let shown = copy_lines(&mut reader, args.tail, &mut output);
    let shown = shown.and_then(|()| match args.follow {
        true => follow(&mut reader, &mut output),
        false => Ok(()),
    });
    shown.on("show", path)
}

/// Copies what is added, until nobody reads it.
fn follow(reader: &mut impl io::Read, output: &mut impl Write) -> io::Result<()> {
    loop {
        io::copy(reader, output)?;
        output.flush()?;
        std::thread::sleep(LOOK);
    }
}

/// Copies the last `tail` lines, or all.
fn copy_lines(
    reader: &mut impl BufRead,
    tail: Option<i64>,
    output: &mut impl Write,
) -> io::Result<()> {
    let Some(tail) = tail.and_then(|tail| usize::try_from(tail).ok()) else {
        return io::copy(reader, output).map(drop);
    };
    let mut last = std::collections::VecDeque::with_capacity(tail.min(1024));
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        last.push_back(std::mem::take(&mut line));
        if last.len() > tail {
            last.pop_front();
        }
    }
    last.iter().try_for_each(|line| output.write_all(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_last_lines() {
        let text = "a\nb\nc\nd";
        let tail = |tail| {
            let mut output = Vec::new();
            copy_lines(&mut text.as_bytes(), tail, &mut output).expect("copied");
            String::from_utf8(output).expect("text")
        };
        assert_eq!(tail(None), text);
        assert_eq!(tail(Some(2)), "c\nd");
        assert_eq!(tail(Some(0)), "");
        assert_eq!(tail(Some(9)), text);
    }
}
