//! Not hearing of what one does oneself: sockets whose changes of routes and neighbours, and of
//! nftables, the kernel does not tell to the monitors of this program.
//!
//! A node that learns of thousands of others, or of a hundred thousand Services, changes as many
//! entries at once. Told to itself, that would overflow any buffer, and an overflow costs a
//! comparison. Such sockets have port numbers of a range of their own, and monitors a filter by it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU16, Ordering};

use netlink_sys::{Socket, SocketAddr};

/// The upper half of the port numbers of quiet sockets; the kernel gives out process numbers and
/// such with the highest bit set.
const PORTS: u32 = 0x5ea1;
/// How many port numbers are tried: others of this range belong to earlier sockets of this process
/// or to another process.
const TRIES: usize = 1000;

/// Binds a socket to a port of the range.
pub(crate) fn bind(socket: &mut Socket) -> io::Result<()> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    for _ in 0..TRIES {
        let low = NEXT.fetch_add(1, Ordering::Relaxed);
        let address = SocketAddr::new(PORTS << 16 | u32::from(low), 0);
        match socket.bind(&address) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => {}
            result => return result,
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

/// One instruction of classic BPF.
fn instruction(code: u32, to: (u8, u8), k: u32) -> libc::sock_filter {
    let code = u16::try_from(code).expect("the codes are of 16 bits");
    let (jt, jf) = to;
    libc::sock_filter { code, jt, jf, k }
}

/// The filter reads as from the wire, netlink writes as the machine does.
fn half(value: u32) -> u32 {
    let value = u16::try_from(value).expect("of 16 bits");
    u32::from(value.to_be())
}

fn load(size: u32, at: u32) -> libc::sock_filter {
    instruction(libc::BPF_LD | size | libc::BPF_ABS, (0, 0), at)
}

fn equals(value: u32, to: (u8, u8)) -> libc::sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, to, value)
}

fn end(bytes: u32) -> libc::sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, (0, 0), bytes)
}

/// Where the upper half of `nlmsg_pid` is: the number that is at 12.
const UPPER: u32 = if cfg!(target_endian = "little") {
    14
} else {
    12
};
/// Where the upper byte of `nlmsg_type` is: the number that is at 4. In netfilter it is the part.
const PART: u32 = if cfg!(target_endian = "little") { 5 } else { 4 };

/// Of routes, the messages that are not heard when a quiet socket asked for the change: new and
/// deleted routes (24, 25) and neighbours (28, 29).
fn of_routes() -> Vec<libc::sock_filter> {
    vec![
        load(libc::BPF_H, 4),
        equals(half(24), (3, 0)),
        equals(half(25), (2, 0)),
        equals(half(28), (1, 0)),
        equals(half(29), (0, 2)),
        load(libc::BPF_H, UPPER),
        equals(half(PORTS), (1, 0)),
        end(u32::MAX),
        end(0),
    ]
}

/// Of netfilter, everything that a quiet socket changed in nftables. A datagram tells of one
/// transaction only, so that its first message stands for all.
fn of_nftables() -> Vec<libc::sock_filter> {
    const NFTABLES: u32 = 10;
    vec![
        load(libc::BPF_B, PART),
        equals(NFTABLES, (0, 2)),
        load(libc::BPF_H, UPPER),
        equals(half(PORTS), (1, 0)),
        end(u32::MAX),
        end(0),
    ]
}

/// Makes a socket deaf to the routes and neighbours that quiet sockets change.
pub(super) fn deafen(socket: BorrowedFd<'_>) -> io::Result<()> {
    attach(socket, of_routes())
}

/// Makes a socket of netfilter deaf to what quiet sockets change in nftables.
pub(crate) fn deafen_to_nftables(socket: BorrowedFd<'_>) -> io::Result<()> {
    attach(socket, of_nftables())
}

fn attach(socket: BorrowedFd<'_>, mut program: Vec<libc::sock_filter>) -> io::Result<()> {
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).expect("a handful"),
        filter: program.as_mut_ptr(),
    };
    let length = libc::socklen_t::try_from(size_of_val(&filter)).expect("two words");
    // SAFETY: `filter` is a sock_fprog of the length given, and points to as many instructions as
    // it says, which live until the call returns; the kernel copies both.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            std::ptr::from_ref(&filter).cast(),
            length,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
