//! Sockets that are born on a node's network: one thread makes them for all nodes and hands them
//! out, so that nobody who connects has to enter a namespace.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;

use crate::error::{Context, LabError};
use crate::supervisor::node::Node;

/// The way to that thread, which ends with the last handle.
#[derive(Clone)]
pub(crate) struct Sockets(Sender<Order>);

struct Order {
    node: Arc<Node>,
    address: IpAddr,
    done: oneshot::Sender<io::Result<TcpSocket>>,
}

impl Sockets {
    /// Starts the thread.
    pub(crate) fn start() -> Result<Sockets, LabError> {
        let (orders, incoming) = mpsc::channel();
        thread::Builder::new()
            .name("sockets".to_owned())
            .spawn(move || make(&incoming))
            .during("start", || {
                "the thread that opens sockets on nodes".to_owned()
            })?;
        Ok(Sockets(orders))
    }

    /// Connects from a node.
    pub(crate) async fn connect(&self, node: &Arc<Node>, to: SocketAddr) -> io::Result<TcpStream> {
        let (done, socket) = oneshot::channel();
        let order = Order {
            node: node.clone(),
            address: to.ip(),
            done,
        };
        self.0.send(order).map_err(|_| gone())?;
        socket.await.map_err(|_| gone())??.connect(to).await
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that opens sockets has ended")
}

fn make(incoming: &Receiver<Order>) {
    let mut here: Option<Arc<Node>> = None;
    for order in incoming {
        let is_there = here
            .as_ref()
            .is_some_and(|node| Arc::ptr_eq(node, &order.node));
        let moved = match is_there {
            true => Ok(()),
            false => order
                .node
                .namespaces
                .net
                .switch_here()
                .map_err(io::Error::other),
        };
        // After a failure, nobody knows where this is.
        here = moved.is_ok().then(|| order.node.clone());
        let socket = moved.and_then(|()| match order.address {
            IpAddr::V4(_) => TcpSocket::new_v4(),
            IpAddr::V6(_) => TcpSocket::new_v6(),
        });
        // Nobody may be waiting any more.
        let _ = order.done.send(socket);
    }
}
