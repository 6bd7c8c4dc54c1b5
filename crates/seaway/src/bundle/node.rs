//! What is taken from the agent of this node: its status with the journal, and its rows.

use seaway_cni::request::{Request, RowsRequest};
use serde_json::Value;

use super::Bundle;
use crate::inspect::{self, InspectArgs};
use crate::told::told;

/// Asks the agent; one that does not answer is told of.
pub(super) fn collect(agent: &InspectArgs, bundle: &mut Bundle) -> anyhow::Result<()> {
    bundle.tell("this node's agent");
    let status = match inspect::ask(agent, &Request::Status) {
        Ok(status) => status,
        Err(error) => {
            bundle.leave("node", &told(&error));
            return Ok(());
        }
    };
    let about = "as seaway status --node -o json has it, with the journal (events)";
    bundle.add_json("node/status.json", about, status)?;
    let drift = RowsRequest {
        drift: true,
        ..RowsRequest::default()
    };
    rows(
        agent,
        "node/drift.json",
        "rows that are not as planned",
        drift,
        bundle,
    )?;
    for table in seaway_plan::Tables::NAMES {
        let file = format!("node/tables/{table}.json");
        let request = RowsRequest {
            table: Some((*table).to_owned()),
            ..RowsRequest::default()
        };
        rows(
            agent,
            &file,
            "rows: planned, and observed in the kernel",
            request,
            bundle,
        )?;
    }
    Ok(())
}

fn rows(
    agent: &InspectArgs,
    file: &str,
    about: &str,
    request: RowsRequest,
    bundle: &mut Bundle,
) -> anyhow::Result<()> {
    bundle.tell(file);
    let report: Value = match inspect::ask(agent, &Request::Rows(request)) {
        Ok(report) => report,
        Err(error) => {
            bundle.leave(file, &told(&error));
            return Ok(());
        }
    };
    if let Some(more) = report["left_out"].as_u64().filter(|more| *more > 0) {
        bundle.leave(file, &format!("{more} more rows than a message holds"));
    }
    bundle.add_json(file, about, report)
}
