//! The probes that send one datagram.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};

use super::super::greeting::Greeting;
use super::{Exchange, ProbeJob};

const MAX_DATAGRAM: usize = 65_507;
const UDP_HEADER: usize = 8;

/// One small datagram.
pub(super) fn small(job: &ProbeJob) -> Result<Exchange, String> {
    exchange(&open(job)?, job, &job.token())
}

/// One datagram of `size` bytes of packet, refused by the sender if that is more than may travel in
/// one piece.
pub(super) fn unfragmented(job: &ProbeJob) -> Result<Exchange, String> {
    let headers = ip_header(job.target) + UDP_HEADER;
    let length = job.size.checked_sub(headers).ok_or_else(|| {
        format!(
            "a packet of {} bytes does not hold {headers} bytes of headers",
            job.size
        )
    })?;
    let socket = open(job)?;
    forbid_fragments(&socket, job.target).map_err(|e| format!("forbid fragments: {e}"))?;
    exchange(&socket, job, &padded(job, length))
}

/// One datagram of `size` bytes of payload, in as many fragments as it takes.
pub(super) fn fragmented(job: &ProbeJob) -> Result<Exchange, String> {
    exchange(&open(job)?, job, &padded(job, job.size))
}

/// Bytes of an IP header without options.
fn ip_header(target: SocketAddr) -> usize {
    match target {
        SocketAddr::V4(_) => 20,
        SocketAddr::V6(_) => 40,
    }
}

fn padded(job: &ProbeJob, length: usize) -> Vec<u8> {
    job.token()
        .into_iter()
        .chain(b"................".iter().copied().cycle())
        .take(length)
        .collect()
}

fn open(job: &ProbeJob) -> Result<UdpSocket, String> {
    let any = |port| -> SocketAddr {
        match job.target {
            SocketAddr::V4(_) => ([0, 0, 0, 0], port).into(),
            SocketAddr::V6(_) => ([0u16; 8], port).into(),
        }
    };
    let socket = match UdpSocket::bind(any(job.from_port.unwrap_or(0))) {
        // Somebody else has the port at present.
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => UdpSocket::bind(any(0)),
        bound => bound,
    };
    socket
        .and_then(|socket| socket.connect(job.target).map(|()| socket))
        .map_err(|e| format!("open a socket to {}: {e}", job.target))
}

fn forbid_fragments(socket: &UdpSocket, target: SocketAddr) -> nix::Result<()> {
    match target {
        SocketAddr::V4(_) => setsockopt(socket, option::MtuDiscover, &libc::IP_PMTUDISC_DO),
        SocketAddr::V6(_) => setsockopt(socket, sockopt::Ipv6DontFrag, &true),
    }
}

mod option {
    //! The one option that `nix` lacks.

    use nix::libc;
    use nix::sys::socket::sockopt::SetStruct;

    /// `IP_MTU_DISCOVER`.
    #[derive(Clone)]
    pub(super) struct MtuDiscover;
    nix::setsockopt_impl!(
        MtuDiscover,
        libc::IPPROTO_IP,
        libc::IP_MTU_DISCOVER,
        libc::c_int,
        SetStruct<libc::c_int>
    );
}

fn exchange(socket: &UdpSocket, job: &ProbeJob, payload: &[u8]) -> Result<Exchange, String> {
    let deadline = job.deadline();
    socket
        .send(payload)
        .map_err(|e| sending(&e, payload.len()))?;
    let mut answer = vec![0; MAX_DATAGRAM];
    let length = socket
        .set_read_timeout(Some(deadline.left()?))
        .and_then(|()| socket.recv(&mut answer))
        .map_err(|e| deadline.describe("receive", &e))?;
    let latency = deadline.elapsed();
    let (greeting, echo) = Greeting::split(&answer[..length])?;
    if !payload.starts_with(echo) || was_cut(length, echo, payload) {
        return Err("the echo differs from what was sent".to_owned());
    }
    Ok(Exchange::of(greeting, latency))
}

/// Whether the echo lacks bytes that its datagram had room for.
fn was_cut(answer: usize, echo: &[u8], payload: &[u8]) -> bool {
    answer < MAX_DATAGRAM && echo.len() < payload.len()
}

fn sending(error: &io::Error, length: usize) -> String {
    match error.raw_os_error() {
        Some(libc::EMSGSIZE) => {
            format!("send {length} bytes of payload: the path's MTU is smaller")
        }
        _ => format!("send: {error}"),
    }
}
