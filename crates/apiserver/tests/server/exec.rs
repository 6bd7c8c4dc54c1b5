//! Sessions in containers whose runtime does not do as it should.

use std::io::{PipeReader, PipeWriter, pipe};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use seaway_apiserver::{ContainerCommand, Containers, ExecEvent, ExecOrder};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_rustls::client::TlsStream;

use crate::harness::Server;
use crate::objects::from;

/// What becomes of a command.
#[derive(Debug, PartialEq)]
enum Fate {
    Joined,
    Dropped,
}

/// Has commands that never start.
struct Stuck(UnboundedSender<Fate>);

struct NeverStarts {
    readable: PipeReader,
    /// Nothing is ever written.
    _writable: PipeWriter,
    tell: UnboundedSender<Fate>,
}

impl Containers for Stuck {
    fn find(&self, _: &ExecOrder) -> Result<Box<dyn ContainerCommand>, String> {
        let (readable, _writable) = pipe().map_err(|error| error.to_string())?;
        let tell = self.0.clone();
        Ok(Box::new(NeverStarts {
            readable,
            _writable,
            tell,
        }))
    }
}

impl AsFd for NeverStarts {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.readable.as_fd()
    }
}

impl ContainerCommand for NeverStarts {
    fn join(&mut self, _: Option<[OwnedFd; 3]>) -> Result<(), String> {
        self.tell
            .send(Fate::Joined)
            .map_err(|gone| gone.to_string())
    }

    fn next(&mut self) -> Result<ExecEvent, String> {
        Err("nothing has happened".to_owned())
    }
}

impl Drop for NeverStarts {
    fn drop(&mut self) {
        // Nobody need hear it at the end of the test.
        let _told = self.tell.send(Fate::Dropped);
    }
}

/// Asks for a command; the connection once it has become a WebSocket.
async fn ask(server: &Server) -> TlsStream<TcpStream> {
    let mut stream = server.connect().await.unwrap();
    let request = "GET /api/v1/namespaces/default/pods/a/exec?command=x&stdin=true&stdout=true \
        HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s3cret\r\nConnection: Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
        Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut code = [0; 12];
    stream.read_exact(&mut code).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&code), "HTTP/1.1 101");
    stream
}

#[tokio::test]
async fn a_client_that_leaves_does_not_wait_for_its_command_to_start() {
    let (tell, mut fates) = unbounded_channel();
    let server = Server::with_containers(Arc::new(Stuck(tell))).await;
    let pods: Api<Pod> = Api::default_namespaced(server.client().await);
    let pod: Pod = from(json!({
        "metadata": {"name": "a"},
        "spec": {"nodeName": "n", "containers": [{"name": "main", "image": "seaway"}]},
    }));
    pods.create(&PostParams::default(), &pod).await.unwrap();
    // By a message of its own, and without a word.
    for farewell in [&[0x88, 0x80, 0, 0, 0, 0][..], &[]] {
        let mut stream = ask(&server).await;
        assert_eq!(fates.recv().await, Some(Fate::Joined));
        // Something for the command's input comes before.
        stream
            .write_all(&[0x82, 0x82, 0, 0, 0, 0, 0, b'a'])
            .await
            .unwrap();
        stream.write_all(farewell).await.unwrap();
        stream.flush().await.unwrap();
        if farewell.is_empty() {
            drop(stream);
        }
        let fate = tokio::time::timeout(Duration::from_secs(20), fates.recv());
        assert_eq!(
            fate.await.expect("the session goes on"),
            Some(Fate::Dropped)
        );
    }
}
