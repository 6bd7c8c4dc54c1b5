//! Waiting until IPv6 addresses work.
//!
//! The kernel acknowledges a new IPv6 address before it can receive: the local route follows from
//! a work queue, also without duplicate-address detection (`addrconf_dad_work`). On a busy machine
//! that takes long enough for the first packets to be refused. Its notification ends the wait.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteType};
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::socket::{messages, parse_message};
use crate::error::{Context, KernelError};

/// `RTNLGRP_IPV6_ROUTE`.
const IPV6_ROUTES: u32 = 11;
const RTM_NEWROUTE: u16 = 24;
/// Far more than a work queue ever needs.
const LIMIT: Duration = Duration::from_secs(2);

/// Listens for local IPv6 routes from its opening on.
pub(crate) struct Arrivals {
    socket: Socket,
}

impl Arrivals {
    /// Starts to listen in the calling thread's namespace.
    pub(crate) fn open() -> Result<Arrivals, KernelError> {
        let name = || "listener for IPv6 routes".to_owned();
        let mut socket = Socket::new(NETLINK_ROUTE).during("open", name)?;
        socket.bind_auto().during("bind", name)?;
        socket
            .add_membership(IPV6_ROUTES)
            .during("subscribe", name)?;
        socket.set_non_blocking(true).during("configure", name)?;
        Ok(Arrivals { socket })
    }

    /// Waits until every one of `addresses`, added since the opening, can receive.
    pub(crate) fn wait_for(&self, addresses: &[IpAddr]) -> Result<(), KernelError> {
        let mut missing: HashSet<Ipv6Addr> = addresses
            .iter()
            .filter_map(|address| match address {
                IpAddr::V6(address) => Some(*address),
                IpAddr::V4(_) => None,
            })
            .collect();
        let deadline = Instant::now() + LIMIT;
        let mut buffer = vec![0; 16 * 1024];
        while !missing.is_empty() {
            let mut target = &mut buffer[..];
            match self.socket.recv(&mut target, 0) {
                Ok(length) => strike_out(&mut missing, &buffer[..length]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.sleep(deadline, &missing)?;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e).during("wait for", || format!("{missing:?}")),
            }
        }
        Ok(())
    }

    fn sleep(&self, deadline: Instant, missing: &HashSet<Ipv6Addr>) -> Result<(), KernelError> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let late = io::Error::from(io::ErrorKind::TimedOut);
            return Err(late).during("wait for addresses to work", || format!("{missing:?}"));
        }
        let limit = u16::try_from(left.as_millis() + 1).map_or(PollTimeout::MAX, Into::into);
        // An interrupted or early end only leads to another look.
        let _ = poll(
            &mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)],
            limit,
        );
        Ok(())
    }
}

/// Strikes out the addresses whose local routes a datagram announces.
fn strike_out(missing: &mut HashSet<Ipv6Addr>, datagram: &[u8]) {
    for message in messages(datagram).filter(|message| message.kind == RTM_NEWROUTE) {
        let Ok(RouteNetlinkMessage::NewRoute(route)) = parse_message(message.payload, message.kind)
        else {
            continue;
        };
        if route.header.kind != RouteType::Local {
            continue;
        }
        for attribute in &route.attributes {
            if let RouteAttribute::Destination(RouteAddress::Inet6(address)) = attribute {
                missing.remove(address);
            }
        }
    }
}
