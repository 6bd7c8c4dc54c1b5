//! VXLAN devices of strangers on our UDP port: the kernel gives frames of their VNI, or of all, to
//! them.

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoData, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage};

use super::{VxlanDevice, owner};
use crate::error::KernelError;
use crate::netlink::Netlink;

pub(super) fn devices(port: u16) -> Result<Vec<VxlanDevice>, KernelError> {
    let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
    let found = std::cell::RefCell::new(Vec::new());
    Netlink::open()?.dump(
        &request,
        NLM_F_DUMP,
        |message| {
            if let RouteNetlinkMessage::NewLink(link) = message {
                found.borrow_mut().extend(stranger(&link, port));
            }
        },
        || found.borrow_mut().clear(),
    )?;
    Ok(found.into_inner())
}

/// The device, if it is a VXLAN device on `port` and not ours.
fn stranger(link: &LinkMessage, port: u16) -> Option<VxlanDevice> {
    let (mut name, mut ours, mut data) = (String::new(), false, None);
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(own) => name.clone_from(own),
            LinkAttribute::Group(group) => ours = *group == crate::realise::NODE_GROUP,
            LinkAttribute::LinkInfo(parts) => data = vxlan_data(parts),
            _ => {}
        }
    }
    let data = data.filter(|_| !ours)?;
    let has_port = |part: &InfoVxlan| matches!(part, InfoVxlan::Port(own) if *own == port);
    let takes_all = |part: &InfoVxlan| matches!(part, InfoVxlan::CollectMetadata(true));
    let vni = |part: &InfoVxlan| match part {
        InfoVxlan::Id(vni) => Some(*vni),
        _ => None,
    };
    data.iter().any(has_port).then(|| VxlanDevice {
        owner: owner::of_device(&name),
        vni: data
            .iter()
            .find_map(vni)
            .filter(|_| !data.iter().any(takes_all)),
        name,
        port,
    })
}

fn vxlan_data(parts: &[LinkInfo]) -> Option<&[InfoVxlan]> {
    parts.iter().find_map(|part| match part {
        LinkInfo::Data(InfoData::Vxlan(data)) => Some(&data[..]),
        _ => None,
    })
}
