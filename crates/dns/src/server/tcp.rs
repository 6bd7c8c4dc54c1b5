//! Questions by TCP: one after the other on each connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::admission::Admission;
use super::front::{Front, Size, Step};
use super::sockets;

/// The pause after a connection that could not be taken, for want of descriptors as a rule.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves; ends if it cannot listen.
pub(super) async fn serve(
    address: SocketAddr,
    front: Arc<Front>,
    connections: Arc<Admission>,
    idle: Duration,
) -> io::Error {
    let listener = match sockets::tcp(address) {
        Ok(listener) => listener,
        Err(error) => return error,
    };
    loop {
        match listener.accept().await {
            Ok((stream, client)) => match connections.enter(client.ip()) {
                // Closed at once; others are not kept waiting for it.
                None => drop(stream),
                Some(pass) => {
                    let front = front.clone();
                    tokio::spawn(async move {
                        // The end of a connection, however it comes, is nobody's trouble.
                        drop(converse(stream, &front, idle).await);
                        drop(pass);
                    });
                }
            },
            Err(_) => sleep(PAUSE).await,
        }
    }
}

async fn converse(mut stream: TcpStream, front: &Front, idle: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let question = timeout(idle, receive(&mut stream)).await??;
        let answer = match front.step(&question, Size::Tcp) {
            Step::Nothing => return Ok(()),
            Step::Done(bytes) => bytes,
            Step::Wait(pending) => front.finish(*pending).await,
        };
        timeout(idle, send(&mut stream, &answer)).await??;
    }
}

async fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn send(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    let framed = [&length.to_be_bytes()[..], bytes].concat();
    stream.write_all(&framed).await
}
