//! Sockets that see and send whole Ethernet frames (`AF_PACKET`): what a Pod with raw sockets has,
//! and what tests look at wires with. Nothing here knows what is in a frame.

use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

use crate::error::{Context, KernelError};

/// A socket on one device of the calling thread's network namespace.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    index: u32,
}

/// A frame as it went by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenFrame {
    /// The frame from its destination address on. A VLAN tag may have been taken off.
    pub bytes: Vec<u8>,
    /// This namespace sent it; otherwise it came in.
    pub outgoing: bool,
}

/// Frames up to this many bytes are seen whole; a TCP super-packet is the largest there is.
const MAX_FRAME: usize = 68 * 1024;

/// What the kernel may queue for us before it drops, in bytes.
static QUEUE: libc::c_int = 16 << 20;

impl PacketSocket {
    /// Opens a socket on the device with this index; every protocol, both directions.
    pub fn open(index: u32) -> Result<PacketSocket, KernelError> {
        let name = || format!("a packet socket on device {index}");
        // SAFETY: socket takes plain numbers. Protocol 0 receives nothing before the bind.
        let fd = unsafe {
            libc::socket(
                libc::AF_PACKET,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
                0,
            )
        };
        let fd = Errno::result(fd).during("open", name)?;
        // SAFETY: the descriptor is new and ours alone.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let size = mem::size_of_val(&QUEUE) as libc::socklen_t;
        // SAFETY: the option's value is a c_int of that size that outlives the call.
        let result = unsafe {
            libc::setsockopt(
                fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_RCVBUFFORCE,
                (&raw const QUEUE).cast(),
                size,
            )
        };
        Errno::result(result).during("give a queue to", name)?;
        let mut address = link_address(index);
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        let size = mem::size_of_val(&address) as libc::socklen_t;
        // SAFETY: the address is a sockaddr_ll of that size that outlives the call.
        let result = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size) };
        Errno::result(result).during("bind", name)?;
        Ok(PacketSocket { fd, index })
    }

    /// Sends a whole frame as it is.
    pub fn send(&self, frame: &[u8]) -> Result<(), KernelError> {
        let mut address = link_address(self.index);
        address.sll_halen = 6;
        if let Some(destination) = frame.get(..6) {
            address.sll_addr[..6].copy_from_slice(destination);
        }
        let size = mem::size_of_val(&address) as libc::socklen_t;
        // SAFETY: the frame and the address are valid for their lengths and outlive the call.
        let sent = unsafe {
            libc::sendto(
                self.fd.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const address).cast(),
                size,
            )
        };
        Errno::result(sent)
            .map(drop)
            .during("send", || format!("a frame of {} bytes", frame.len()))
    }

    /// The next frame that has gone by, if there is one.
    pub fn receive(&self) -> Result<Option<SeenFrame>, KernelError> {
        let mut bytes = vec![0u8; MAX_FRAME];
        let mut address = link_address(0);
        let mut size = mem::size_of_val(&address) as libc::socklen_t;
        // SAFETY: buffer and address are valid and writable for the lengths given.
        let length = unsafe {
            libc::recvfrom(
                self.fd.as_raw_fd(),
                bytes.as_mut_ptr().cast(),
                bytes.len(),
                0,
                (&raw mut address).cast(),
                &raw mut size,
            )
        };
        match Errno::result(length) {
            Ok(length) => {
                bytes.truncate(usize::try_from(length).unwrap_or_default());
                let outgoing = address.sll_pkttype == libc::PACKET_OUTGOING;
                Ok(Some(SeenFrame { bytes, outgoing }))
            }
            Err(Errno::EAGAIN | Errno::ENETDOWN) => Ok(None),
            Err(e) => Err(KernelError::new("receive", "a frame".to_owned(), e)),
        }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn link_address(index: u32) -> libc::sockaddr_ll {
    // SAFETY: sockaddr_ll is plain numbers; all zero is a valid value.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as libc::c_ushort;
    address.sll_ifindex = index as libc::c_int;
    address
}
