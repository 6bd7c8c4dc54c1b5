//! Reading whole tables, and single links.

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourFlags, NeighbourMessage};
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::rule::RuleMessage;
use netlink_packet_route::tc::TcMessage;

use super::info::{AddressInfo, FdbInfo, NeighbourInfo, RouteInfo, RuleInfo};
use super::link::LinkInfo;
use super::request::LinkTarget;
use super::socket::Netlink;
use super::tc::{self, QueueInfo};
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

    /// The unicast and unreachable routes of the tables that Seaway knows, both families.
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

    /// The addresses for which the namespace answers on behalf of others, both families.
    pub fn proxies(&mut self) -> Result<Vec<NeighbourInfo>, KernelError> {
        let mut message = NeighbourMessage::default();
        message.header.flags = NeighbourFlags::Proxy;
        self.collect(RouteNetlinkMessage::GetNeighbour(message), |m| match m {
            RouteNetlinkMessage::NewNeighbour(entry) => {
                NeighbourInfo::of(&entry).filter(|entry| entry.proxy)
            }
            _ => None,
        })
    }

    /// The forwarding entries of all bridges and VXLAN devices.
    pub fn fdb(&mut self) -> Result<Vec<FdbInfo>, KernelError> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        self.collect(RouteNetlinkMessage::GetNeighbour(message), |m| match m {
            RouteNetlinkMessage::NewNeighbour(entry) => FdbInfo::of(&entry),
            _ => None,
        })
    }

    /// The rules that choose a routing table, both families.
    pub fn rules(&mut self) -> Result<Vec<RuleInfo>, KernelError> {
        let request = RouteNetlinkMessage::GetRule(RuleMessage::default());
        self.collect(request, |m| match m {
            RouteNetlinkMessage::NewRule(rule) => RuleInfo::of(&rule),
            _ => None,
        })
    }

    /// The queues of all devices.
    pub fn queues(&mut self) -> Result<Vec<QueueInfo>, KernelError> {
        let request = RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default());
        self.collect(request, |m| match m {
            RouteNetlinkMessage::NewQueueDiscipline(queue) => QueueInfo::of(&queue),
            _ => None,
        })
    }

    /// The index of the device to which our filter on a device redirects what arrives there.
    pub fn redirect(&mut self, index: u32) -> Result<Option<u32>, KernelError> {
        let found = self.collect(tc::redirects_of(index), |m| match m {
            RouteNetlinkMessage::NewTrafficFilter(filter) => tc::redirect_target(&filter),
            _ => None,
        });
        match found {
            // The device or its queue is gone, and the filter with it.
            Err(error) if error.is_absent() || error.errno() == Some(libc::EINVAL) => Ok(None),
            found => Ok(found?.first().copied()),
        }
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
