//! Questions by UDP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::admission::Admission;
use super::front::{Front, Size, Step};
use super::sockets;

/// Questions are not longer.
const BUFFER: usize = 4096;

/// Serves until the socket fails.
pub(super) async fn serve(
    address: SocketAddr,
    front: Arc<Front>,
    waiting: Arc<Admission>,
) -> io::Error {
    let socket = match sockets::udp(address) {
        Ok(socket) => Arc::new(socket),
        Err(error) => return error,
    };
    let mut buffer = vec![0; BUFFER];
    loop {
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => return error,
        };
        match front.step(&buffer[..length], Size::Udp) {
            Step::Nothing => {}
            // An answer for which the socket has no room is lost, as messages may be.
            Step::Done(bytes) => drop(socket.try_send_to(&bytes, client)),
            Step::Wait(pending) => match waiting.enter(client.ip()) {
                None => drop(socket.try_send_to(&front.too_many(*pending), client)),
                Some(pass) => {
                    let (front, socket) = (front.clone(), socket.clone());
                    tokio::spawn(async move {
                        let bytes = front.finish(*pending).await;
                        drop(socket.send_to(&bytes, client).await);
                        drop(pass);
                    });
                }
            },
        }
    }
}
