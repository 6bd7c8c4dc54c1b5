//! Ports of the node: each leads to one Pod.

use seaway_model::{AttachmentId, PortMapping, Protocol};

use super::State;

impl State {
    /// Why an attachment cannot have these ports of the node, if so.
    pub(crate) fn port_conflict(&self, id: &AttachmentId, ports: &[PortMapping]) -> Option<String> {
        ports.iter().find_map(|port| {
            self.carries_vxlan(port)
                .or_else(|| self.held_by_another(id, port))
                .or_else(|| self.is_closing(port))
        })
    }

    /// Whether one of these ports of the node is being closed: it is free in a moment.
    pub(crate) fn awaits_closing(&self, ports: &[PortMapping]) -> bool {
        let mut closing = self.closing.values().flatten();
        closing.any(|closing| ports.iter().any(|port| port.overlaps(closing)))
    }

    /// The kernel has been told to close the ports of a withdrawn attachment.
    pub(crate) fn closed(&mut self, id: &AttachmentId) {
        self.closing.remove(id);
    }

    fn carries_vxlan(&self, port: &PortMapping) -> Option<String> {
        let vxlan = self.planner.settings().vxlan.as_ref()?;
        (port.protocol == Protocol::Udp && port.host_port == vxlan.port).then(|| {
            format!(
                "hostPort {} udp is where nodes send each other VXLAN; give the Pod another port, \
                 or the agents another --vxlan-port",
                port.host_port
            )
        })
    }

    fn held_by_another(&self, id: &AttachmentId, port: &PortMapping) -> Option<String> {
        let others = self.records.values().filter(|r| r.attachment.id != *id);
        let mut held = others.flat_map(|r| r.attachment.extras.ports.iter().map(move |p| (r, p)));
        let (record, theirs) = held.find(|(_, theirs)| theirs.overlaps(port))?;
        let pod = record.pod.as_ref().map(|pod| format!(" (Pod {pod})"));
        Some(format!(
            "hostPort {} {} is held by attachment {}{}: {theirs}; wait until it is deleted, or \
             choose another port",
            port.host_port,
            port.protocol,
            record.attachment.id,
            pod.unwrap_or_default()
        ))
    }

    fn is_closing(&self, port: &PortMapping) -> Option<String> {
        let mut closing = self.closing.iter();
        let (id, _) =
            closing.find(|(_, ports)| ports.iter().any(|theirs| theirs.overlaps(port)))?;
        Some(format!(
            "hostPort {} {} of attachment {id} is still being closed; try again",
            port.host_port, port.protocol
        ))
    }
}

#[cfg(test)]
mod tests {
    use seaway_model::{Alias, Attachment, NodeName, Settings};

    use super::*;
    use crate::records::Record;

    #[test]
    fn k10_a_port_is_free_when_the_kernel_is_rid_of_it() {
        let name = NodeName::new("a").expect("valid");
        let mut state = State::new(name, Settings::default());
        let parse = |alias: &str| -> Attachment { Alias::raw(alias).parse().expect("valid") };
        let port = PortMapping {
            host_port: 80,
            container_port: 8080,
            protocol: Protocol::Tcp,
            host_ip: None,
        };
        let mut old = parse("seaway1:old:eth0:pods:10.0.0.2");
        old.extras.ports = vec![port.clone()];
        let new = parse("seaway1:new:eth0:pods:10.0.0.3").id;
        let wanted = std::slice::from_ref(&port);

        state.attach(Record::bare(old.clone()));
        state.withdraw(&old.id).expect("attached");
        let why = state.port_conflict(&new, wanted).expect("still open");
        assert!(why.contains("still being closed"), "{why}");
        assert!(state.awaits_closing(wanted));
        state.closed(&old.id);
        assert_eq!(state.port_conflict(&new, wanted), None);

        state.attach(Record::bare(old.clone()));
        state.withdraw(&old.id).expect("attached");
        // The kernel refused.
        state.attach(Record::bare(old));
        assert!(!state.awaits_closing(wanted));
        let why = state.port_conflict(&new, wanted).expect("held");
        assert!(why.contains("is held by attachment"), "{why}");
    }
}
