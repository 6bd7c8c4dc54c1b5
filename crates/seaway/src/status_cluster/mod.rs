//! `seaway status`: of this node where an agent is, else of the whole cluster, from the API alone.
//!
//! What the API says is read into an overview; [`view`] judges it and is pure; [`show`] prints.

mod judge;
mod show;
#[cfg(test)]
mod tests;
mod view;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use seaway_api::heartbeat::NAMESPACE;
use seaway_api::overview::overview;
use seaway_api::{Timing, client_with, install_crypto};

pub(crate) use self::view::ClusterStatus;
use crate::inspect::{self, Format, InspectArgs};
use crate::reach::UserReachArgs;

/// How often the cluster is looked at while it is waited for.
const LOOK: Duration = Duration::from_secs(2);

/// Whose health.
#[derive(Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    inspect: InspectArgs,
    /// This node, as its agent sees it; what is shown anyway where an agent's socket is.
    #[arg(long, conflicts_with_all = ["cluster", "wait"])]
    node: bool,
    /// The whole cluster; what is shown anyway where there is no agent's socket.
    #[arg(long)]
    cluster: bool,
    /// Wait until all is well in the cluster, for so many seconds at most.
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
    /// The namespace of Seaway's own objects.
    #[arg(long, env = "SEAWAY_NAMESPACE", default_value = NAMESPACE)]
    namespace: String,
    #[command(flatten)]
    reach: UserReachArgs,
}

impl StatusArgs {
    fn is_of_cluster(&self) -> bool {
        let asked = self.cluster || self.wait.is_some();
        asked || (!self.node && !self.inspect.has_socket())
    }
}

pub(crate) fn run(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    if !args.is_of_cluster() {
        return inspect::status(&args.inspect);
    }
    install_crypto();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the async runtime")?;
    let status = runtime.block_on(wait(args)).with_context(|| {
        format!(
            "status of the cluster (no agent of this node is asked; in a lab: \
             `seaway lab exec NODE -- seaway status`, or KUBECONFIG as `seaway lab` shows it; \
             namespace {})",
            args.namespace
        )
    })?;
    match args.inspect.output {
        Format::Json => println!("{}", serde_json::to_string(&status)?),
        Format::Table => show::print(&status),
    }
    Ok(match status.healthy {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// The status, when all is well or the time is up.
async fn wait(args: &StatusArgs) -> anyhow::Result<ClusterStatus> {
    let access = args.reach.access()?;
    let client = client_with(&access, &Timing::default())?;
    let deadline = Instant::now() + Duration::from_secs(args.wait.unwrap_or_default());
    let mut told = String::new();
    loop {
        let status = overview(&client, &args.namespace)
            .await
            .map(|overview| ClusterStatus::of(&overview, &args.namespace));
        let enough = status.as_ref().is_ok_and(|status| status.healthy);
        if enough || Instant::now() >= deadline {
            return status.map_err(anyhow::Error::msg);
        }
        let progress = match &status {
            Ok(status) => status.progress(),
            Err(error) => error.clone(),
        };
        if progress != told {
            eprintln!("waiting: {progress}");
            told = progress;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        tokio::time::sleep(LOOK.min(left)).await;
    }
}
