//! Reading whole tables, and single links.

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::route::RouteMessage;

use super::info::{AddressInfo, LinkInfo, NeighbourInfo, RouteInfo};
use super::request::LinkTarget;
use super::socket::Netlink;
use crate::error::KernelError;

impl Netlink {
    /// All links of the namespace.
    pub fn links(&mut self) -> Result<Vec<LinkInfo>, KernelError> {
        self.collect(
            RouteNetlinkMessage::GetLink(LinkMessage::default()),
            |m| match m {
                RouteNetlinkMessage::NewLink(link) => Some(LinkInfo::of(&link)),
                _ => None,
            },
        )
    }

    /// One link; `None` when there is no such.
    pub fn link(&mut self, target: LinkTarget<'_>) -> Result<Option<LinkInfo>, KernelError> {
        let mut message = LinkMessage::default();
        match target {
            LinkTarget::Index(index) => message.header.index = index,
            LinkTarget::Name(name) => {
                message
                    .attributes
                    .push(LinkAttribute::IfName(name.to_owned()));
            }
        }
        let mut found = None;
        let take = |m| {
            if let RouteNetlinkMessage::NewLink(link) = m {
                found = Some(LinkInfo::of(&link));
            }
        };
        match self.dump(&RouteNetlinkMessage::GetLink(message), 0, take, || {}) {
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
            Ok(()) => Ok(found),
        }
    }

    /// The index of the link called `name`; `None` when there is no such.
    pub fn link_index(&mut self, name: &str) -> Result<Option<u32>, KernelError> {
        Ok(self.link(LinkTarget::Name(name))?.map(|link| link.index))
    }

    /// All addresses of the namespace, both families.
    pub fn addresses(&mut self) -> Result<Vec<AddressInfo>, KernelError> {
        self.collect(
            RouteNetlinkMessage::GetAddress(AddressMessage::default()),
            |m| match m {
                RouteNetlinkMessage::NewAddress(address) => AddressInfo::of(&address),
                _ => None,
            },
        )
    }

    /// The unicast and unreachable routes of the main table, both families.
    pub fn routes(&mut self) -> Result<Vec<RouteInfo>, KernelError> {
        self.collect(
            RouteNetlinkMessage::GetRoute(RouteMessage::default()),
            |m| match m {
                RouteNetlinkMessage::NewRoute(route) => RouteInfo::of(&route),
                _ => None,
            },
        )
    }

    /// The neighbour entries of the namespace, both families.
    pub fn neighbours(&mut self) -> Result<Vec<NeighbourInfo>, KernelError> {
        let request = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        self.collect(request, |m| match m {
            RouteNetlinkMessage::NewNeighbour(entry) => NeighbourInfo::of(&entry),
            _ => None,
        })
    }

    fn collect<T>(
        &mut self,
        request: RouteNetlinkMessage,
        mut pick: impl FnMut(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Vec<T>, KernelError> {
        let rows = std::cell::RefCell::new(Vec::new());
        self.dump(
            &request,
            NLM_F_DUMP,
            |message| rows.borrow_mut().extend(pick(message)),
            || rows.borrow_mut().clear(),
        )?;
        Ok(rows.into_inner())
    }
}
