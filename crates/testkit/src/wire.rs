//! A device looked at and written to from below IP: sends frames as they are, remembers those that
//! go by.

use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use seaway_kernel::netlink::{LinkTarget, Netlink};
use seaway_kernel::netns::Netns;
use seaway_kernel::packet_socket::{PacketSocket, SeenFrame};
use seaway_model::MacAddr;
use std::os::fd::AsFd;

use crate::packet::{Frame, holds};

/// One device of one namespace.
#[derive(Debug)]
pub struct Wire {
    socket: PacketSocket,
    /// The device's Ethernet address.
    pub mac: MacAddr,
    seen: Vec<SeenFrame>,
}

impl Wire {
    /// Opens the device with this name.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn open(netns: &Netns, device: &str) -> Wire {
        let open = || {
            let mut netlink = Netlink::open().expect("rtnetlink");
            let link = netlink.link(LinkTarget::Name(device)).expect("dump");
            let link = link.unwrap_or_else(|| panic!("no device {device}"));
            let socket = PacketSocket::open(link.index).expect("a packet socket");
            Wire {
                socket,
                mac: link.mac.unwrap_or(MacAddr([0; 6])),
                seen: Vec::new(),
            }
        };
        netns.enter(open).expect("namespace")
    }

    /// Sends a frame.
    ///
    /// # Panics
    ///
    /// If the device does not take it.
    pub fn send(&self, frame: &Frame) {
        self.socket.send(&frame.bytes()).expect("sent");
    }

    /// Sends a frame, whether the device takes it or not.
    pub fn try_send(&self, frame: &Frame) -> bool {
        self.socket.send(&frame.bytes()).is_ok()
    }

    /// Takes up what has gone by.
    fn drain(&mut self) {
        while let Some(frame) = self.socket.receive().expect("received") {
            self.seen.push(frame);
        }
    }

    /// All frames so far that came in.
    pub fn incoming(&mut self) -> impl Iterator<Item = &[u8]> {
        self.drain();
        let seen = self.seen.iter().filter(|frame| !frame.outgoing);
        seen.map(|frame| frame.bytes.as_slice())
    }

    /// All frames so far, in both directions.
    pub fn both_ways(&mut self) -> impl Iterator<Item = &[u8]> {
        self.drain();
        self.seen.iter().map(|frame| frame.bytes.as_slice())
    }

    /// How many frames that came in hold `mark`.
    pub fn count(&mut self, mark: &[u8]) -> usize {
        self.incoming().filter(|frame| holds(frame, mark)).count()
    }

    /// How many frames hold `mark`, in both directions.
    pub fn count_both_ways(&mut self, mark: &[u8]) -> usize {
        self.both_ways().filter(|frame| holds(frame, mark)).count()
    }

    /// Forgets what has gone by.
    pub fn forget(&mut self) {
        self.drain();
        self.seen.clear();
    }

    /// Waits for the first frame of which `find` makes something.
    ///
    /// # Panics
    ///
    /// After `limit`.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut find: impl FnMut(&SeenFrame) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + limit;
        let mut looked = 0;
        loop {
            self.drain();
            if let Some(found) = self.seen[looked..].iter().find_map(&mut find) {
                return found;
            }
            looked = self.seen.len();
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "{what}: not within {limit:?}, among {looked} frames"
            );
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, timeout);
        }
    }
}
