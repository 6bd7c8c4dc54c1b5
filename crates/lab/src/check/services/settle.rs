//! Waits until new Services are in force everywhere, so that each exchange can then be tried once.

use super::super::cases::{Case, Wanted};
use super::super::hands::Hands;
use super::super::probes;
use super::super::verdict::judge;
use crate::tool::ProbeKind;
use crate::waiting::eventually;

/// How long each try may take: what is not in force may be met with silence.
const AGAIN_MS: u64 = 500;

/// Tries the exchanges with Services until each has gone well once. What does not, in time, is left
/// to be found by the check itself.
pub(in super::super) fn settle(hands: &dyn Hands, cases: &[Case]) {
    let mut open: Vec<Case> = cases
        .iter()
        .filter(|case| is_telling(case))
        .cloned()
        .collect();
    let settled = eventually(hands.in_force(), || {
        open = probes::run_within(hands, std::mem::take(&mut open), |_| AGAIN_MS)
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

/// Whether it goes well only once the Service is in force, and says so quickly. Silence takes its
/// time, so it is waited for by one protocol alone: before it, ports are refused.
fn is_telling(case: &Case) -> bool {
    let is_quick = match case.kind {
        ProbeKind::TcpMany | ProbeKind::UdpMany => false,
        ProbeKind::Tcp => true,
        _ => case.wanted != Wanted::Silence,
    };
    case.is_of_a_service() && is_quick
}

#[cfg(test)]
mod tests {
    use seaway_model::Family;

    use super::super::super::cases::Path;
    use super::super::super::samples::case;
    use super::*;

    #[test]
    fn every_service_is_waited_for_by_what_is_quick() {
        let telling = |path, kind, wanted: &Wanted| {
            let wanted = wanted.clone();
            is_telling(&Case {
                wanted,
                ..case(path, Family::V4, kind)
            })
        };
        let elsewhere = Path::OutsideToLocalNodePortElsewhere;
        for (path, kind, wanted, expected) in [
            (elsewhere, ProbeKind::Tcp, Wanted::Silence, true),
            (elsewhere, ProbeKind::Udp, Wanted::Silence, false),
            (Path::NoEndpoints, ProbeKind::Udp, Wanted::Refusal, true),
            (Path::PodToClusterIp, ProbeKind::Sctp, Wanted::Success, true),
            (Path::Spread, ProbeKind::TcpMany, Wanted::Success, false),
            (Path::PodToItself, ProbeKind::Tcp, Wanted::Success, false),
        ] {
            assert_eq!(telling(path, kind, &wanted), expected, "{path:?} {kind:?}");
        }
    }
}
