//! `lab check`: every path of the Pod network, tried with real sockets, one row each.
//!
//! What is tried and what must come of it is planned first ([`cases`]), as plain data; then one
//! probe process runs inside each source's namespaces.

mod cases;
mod life;
mod probes;
mod report;

#[cfg(test)]
pub(crate) use cases::Path;
#[cfg(test)]
pub(crate) use report::samples;
pub(crate) use report::{Exchange, Report, Row};

use seaway_kernel::netlink::{LinkTarget, Netlink};

use self::cases::{Case, NodeView, Pairs, PodView, View};
use crate::client::Client;
use crate::error::LabError;
use crate::parallel;
use crate::protocol::{LabStatus, PodStatus};
use crate::topology::UPLINK;

/// How many sources are asked or probe at once.
const AT_ONCE: usize = 8;

/// Checks a lab.
pub(crate) fn run(client: &Client, all_pairs: bool) -> Result<Report, LabError> {
    let status = client.status()?;
    let pairs = if all_pairs { Pairs::All } else { Pairs::Ring };
    let cases = cases::plan(&view(client, &status)?, pairs);
    let mut report = Report::new(client.state());
    for (case, outcome) in probes::run(client, cases) {
        report.add(&case, &outcome);
    }
    life::check(client, &status, &mut report);
    Ok(report)
}

fn view(client: &Client, status: &LabStatus) -> Result<View, LabError> {
    let serving = |pod: &&PodStatus| pod.checked && pod.ready && !pod.host_network;
    let checked: Vec<&PodStatus> = status.pods.iter().filter(serving).collect();
    let views = parallel::map(checked.clone(), AT_ONCE, |pod| pod_view(client, pod));
    let pods: Vec<(&PodStatus, PodView)> = checked
        .into_iter()
        .zip(views)
        .map(|(pod, view)| view.map(|view| (pod, view)))
        .collect::<Result<_, _>>()?;
    let node_view = |node: &crate::protocol::NodeStatus| NodeView {
        name: node.name.clone(),
        addresses: node.addresses.iter().map(ipnet::IpNet::addr).collect(),
        pods: pods
            .iter()
            .filter(|(pod, _)| pod.node == node.name)
            .map(|(_, view)| view.clone())
            .collect(),
    };
    Ok(View {
        nodes: status.nodes.iter().map(node_view).collect(),
    })
}

fn pod_view(client: &Client, pod: &PodStatus) -> Result<PodView, LabError> {
    let netns = client.enter(&pod.target())?.net;
    let link = Netlink::open_in(&netns)?.link(LinkTarget::Name(UPLINK))?;
    let mtu = link
        .ok_or_else(|| LabError::Request(format!("the Pod {} has no {UPLINK}", pod.name)))?
        .mtu;
    Ok(PodView {
        name: pod.target(),
        host: pod.name.clone(),
        addresses: pod.addresses.clone(),
        mtu,
    })
}

/// The probe's view of a case that went wrong before it could be tried.
fn not_tried(reason: &str) -> crate::tool::ProbeOutcome {
    crate::tool::ProbeOutcome::bad(None, reason.to_owned())
}

/// A case with its number, as the probe process knows it.
type Numbered = (u64, Case);
