//! Waits until new Services are in force everywhere, so that each exchange can then be tried once.

use std::time::Duration;

use super::super::cases::{Case, Wanted};
use super::super::probes;
use super::super::verdict::judge;
use crate::client::Client;
use crate::tool::ProbeKind;
use crate::waiting::eventually;

/// How long all nodes may take to balance a Service that is new.
const IN_FORCE: Duration = Duration::from_secs(10);

/// Tries the exchanges with Services until each has gone well once. What does not, in time, is left
/// to be found by the check itself.
pub(in super::super) fn settle(client: &Client, cases: &[Case]) {
    let mut open: Vec<Case> = cases
        .iter()
        .filter(|case| is_telling(case))
        .cloned()
        .collect();
    let settled = eventually(IN_FORCE, || {
        open = probes::run(client, std::mem::take(&mut open))
            .into_iter()
            .filter(|(case, outcome)| judge(case, outcome).is_err())
            .map(|(case, _)| case)
            .collect();
        open.is_empty()
    });
    if !settled {
        tracing::info!("{} exchanges with Services do not go well", open.len());
    }
}

/// Whether it goes well only once the Service is in force, and says so quickly.
fn is_telling(case: &Case) -> bool {
    let is_quick = !matches!(case.kind, ProbeKind::TcpMany | ProbeKind::UdpMany);
    case.is_of_a_service() && is_quick && case.wanted != Wanted::Silence
}
