//! Whether ports of the node can lead from one Pod to another on the same bridge.
//!
//! What a bridge carries from port to port netfilter sees only with the kernel's module
//! `br_netfilter`; without it the answer of the Pod behind a port of the node goes back under the
//! Pod's own address. Loading modules is the host's business: here that is only noticed and told.

use seaway_kernel::sysctl;
use seaway_model::Wiring;

use crate::journal::Topic;
use crate::shared::Shared;

/// What keeps such ports from working, if anything does. In the node's namespace.
pub(crate) fn problem(wiring: Wiring) -> Option<String> {
    missing(wiring, sysctl::can_filter_bridged())
}

fn missing(wiring: Wiring, can_filter: bool) -> Option<String> {
    (wiring == Wiring::Bridge && !can_filter).then(|| {
        "host ports do not work from Pods of this node to Pods of this node: netfilter does not see \
         packets between ports of the bridge; load the kernel module br_netfilter"
            .to_owned()
    })
}

/// Tells when that begins and ends. In the node's namespace.
pub(crate) fn look(shared: &Shared) {
    let wiring = shared.lock().wiring();
    match problem(wiring) {
        Some(message) => shared
            .journal
            .holds(Topic::BridgedPorts, "HostPortsImpaired", message),
        None => shared
            .journal
            .over(&Topic::BridgedPorts, "HostPortsWork", || {
                "host ports work between Pods of this node".to_owned()
            }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bridge_needs_the_module() {
        assert_eq!(missing(Wiring::Routed, false), None);
        assert_eq!(missing(Wiring::Bridge, true), None);
        let text = missing(Wiring::Bridge, false).expect("missing");
        assert!(
            text.contains("load the kernel module br_netfilter"),
            "{text}"
        );
    }
}
