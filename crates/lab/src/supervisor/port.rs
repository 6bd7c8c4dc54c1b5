//! A port of the machine's loopback that one lab has to itself, so that labs that come up at the same
//! time, or restart their API servers, never take each other's.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

use crate::error::LabError;

/// The first port tried. Below the ports that the kernel gives to clients.
const FIRST: u16 = 16_443;
const PORTS: u16 = 1_000;

/// A port that is bound for as long as this lives. Who reserves asks for it alone, so two never get the
/// same; servers share addresses that nobody listens on, so the API server still gets it.
#[derive(Debug)]
pub(crate) struct ReservedPort {
    pub(crate) at: SocketAddr,
    _socket: TcpSocket,
}

impl ReservedPort {
    /// The first one that is free.
    pub(crate) fn any() -> Result<ReservedPort, LabError> {
        let last = FIRST + (PORTS - 1);
        let mut reason = String::new();
        for port in FIRST..=last {
            match ReservedPort::take((Ipv4Addr::LOCALHOST, port).into()) {
                Ok(reserved) => return Ok(reserved),
                Err(e) => reason = e.to_string(),
            }
        }
        Err(LabError::Request(format!(
            "no port from {FIRST} to {last} of 127.0.0.1 is free for the API server; end what listens there (the last one: {reason})"
        )))
    }

    fn take(at: SocketAddr) -> io::Result<ReservedPort> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(false)?;
        socket.bind(at)?;
        socket.set_reuseaddr(true)?;
        Ok(ReservedPort {
            at: socket.local_addr()?,
            _socket: socket,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn nobody_else_reserves_the_port_and_a_server_listens_there_again_and_again() {
        let any = (Ipv4Addr::LOCALHOST, 0).into();
        let reserved = ReservedPort::take(any).expect("reserved");
        for _ in 0..2 {
            assert!(ReservedPort::take(reserved.at).is_err(), "it is taken");
            let server = TcpListener::bind(reserved.at).expect("listens");
            assert!(
                ReservedPort::take(reserved.at).is_err(),
                "it is listened on"
            );
            drop(server);
        }
        let at = reserved.at;
        drop(reserved);
        ReservedPort::take(at).expect("free again");
    }
}
