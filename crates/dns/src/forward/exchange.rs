//! One question to one upstream server, by UDP or TCP.
//!
//! What comes back is believed if it comes from the server's address to the port that was taken for
//! this question alone (the kernel chooses it at random, and delivers nothing else to a connected
//! socket), has the id, and repeats the question. All else is dropped and waited past; after some
//! such messages somebody is guessing, and the question goes by TCP.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

use super::reply::{Asked, Reply};
use crate::counts::{Counters, count};
use crate::dice::Dice;

/// After so many messages that are no answer, UDP is given up.
const GUESSES: usize = 16;
/// Longer messages do not come by UDP: the server is told a smaller size.
const BUFFER: usize = 4096;

/// A server gave no answer.
#[derive(Debug, Error)]
pub(crate) enum Fault {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("no answer in time")]
    TimedOut,
    #[error("the answer is damaged")]
    Damaged,
    #[error("it does not know EDNS")]
    Plain,
}

/// How to ask.
#[derive(Clone, Copy)]
pub(crate) struct Asking<'a> {
    pub(crate) server: SocketAddr,
    pub(crate) asked: &'a Asked,
    pub(crate) edns: bool,
    pub(crate) until: Instant,
    pub(crate) dice: &'a Dice,
    pub(crate) counters: &'a Counters,
}

impl Asking<'_> {
    /// Asks by UDP, and by TCP where that is too short or not to be trusted.
    pub(crate) async fn ask(&self) -> Result<Reply, Fault> {
        let by_udp = timeout_at(self.until, self.by_udp());
        match by_udp.await.map_err(|_| Fault::TimedOut)?? {
            Some(reply) if !reply.is_truncated() => Ok(reply),
            _ => {
                let by_tcp = timeout_at(self.until, self.by_tcp());
                by_tcp.await.map_err(|_| Fault::TimedOut)?
            }
        }
    }

    async fn by_udp(&self) -> Result<Option<Reply>, Fault> {
        let any: IpAddr = match self.server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(self.server).await?;
        let id = self.dice.id();
        socket.send(&self.asked.message(id, self.edns)).await?;
        let mut buffer = vec![0; BUFFER];
        for _ in 0..GUESSES {
            let length = socket.recv(&mut buffer).await?;
            let bytes = &buffer[..length];
            if self.edns && Asked::is_refused_by(id, bytes) {
                return Err(Fault::Plain);
            }
            if self.asked.is_answered_by(id, bytes) {
                return self.read(bytes).map(Some);
            }
            count(&self.counters.spoofed);
        }
        Ok(None)
    }

    async fn by_tcp(&self) -> Result<Reply, Fault> {
        let mut stream = TcpStream::connect(self.server).await?;
        let id = self.dice.id();
        let message = self.asked.message(id, self.edns);
        let length = u16::try_from(message.len()).map_err(|_| Fault::Damaged)?;
        let framed = [&length.to_be_bytes()[..], &message].concat();
        stream.write_all(&framed).await?;
        let length = stream.read_u16().await?;
        let mut bytes = vec![0; usize::from(length)];
        stream.read_exact(&mut bytes).await?;
        match self.asked.is_answered_by(id, &bytes) {
            true => self.read(&bytes),
            false => {
                count(&self.counters.spoofed);
                Err(Fault::Damaged)
            }
        }
    }

    fn read(&self, bytes: &[u8]) -> Result<Reply, Fault> {
        // A message that is cut off need not be whole.
        match Reply::read(bytes).or_else(|| Reply::read_cut(bytes)) {
            Some(reply) if self.edns && reply.dislikes_edns() => Err(Fault::Plain),
            Some(reply) => Ok(reply),
            None => Err(Fault::Damaged),
        }
    }
}
