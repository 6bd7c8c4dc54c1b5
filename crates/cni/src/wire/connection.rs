//! One connection, either end of it.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{MAX_MESSAGE, WireError};

const HEADER: usize = size_of::<u32>();
/// How much is read at once: most messages fit the least.
const READ_AT_LEAST: usize = 4 << 10;
const READ_AT_MOST: usize = 64 << 10;

/// When an exchange must be over.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
    /// A socket's timeout of zero would mean none.
    const SHORTEST: Duration = Duration::from_millis(1);

    /// The deadline `timeout` from now, at most a day.
    pub fn after(timeout: Duration) -> Deadline {
        Deadline(Instant::now() + timeout.min(Deadline::LONGEST))
    }

    /// What is left, as a socket takes it; an error when nothing is.
    fn left(self, doing: &'static str) -> Result<Duration, WireError> {
        let left = self.0.checked_duration_since(Instant::now());
        left.filter(|left| !left.is_zero())
            .map(|left| left.max(Deadline::SHORTEST))
            .ok_or(WireError::TimedOut(doing))
    }
}

/// A connection between a client and the agent.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    deadline: Deadline,
}

impl Connection {
    /// Connects to the socket at `path`.
    pub fn open(path: &Path, deadline: Deadline) -> Result<Connection, WireError> {
        let io = |error: Errno| WireError::Io("making a socket", error.into());
        let kind = (
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
        );
        let socket = rustix::net::socket_with(kind.0, kind.1, kind.2, None).map_err(io)?;
        let connection = Connection { socket, deadline };
        connection.limit(Timeout::Send, "connecting")?;
        let address = SocketAddrUnix::new(path).map_err(|e| refusal(path, e))?;
        retry_on_intr(|| rustix::net::connect(&connection.socket, &address))
            .map_err(|e| refusal(path, e))?;
        Ok(connection)
    }

    /// Takes a connection that a listener has accepted.
    pub fn accepted(stream: UnixStream, deadline: Deadline) -> Connection {
        let socket = stream.into();
        Connection { socket, deadline }
    }

    /// Sets a new deadline: an agent gives the reading of a request less time than its work.
    pub fn set_deadline(&mut self, deadline: Deadline) {
        self.deadline = deadline;
    }

    /// Sends a message, and `fd` with its first bytes.
    pub fn send<T: Serialize + ?Sized>(
        &mut self,
        message: &T,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(), WireError> {
        let bytes = frame(message)?;
        let mut sent = self.send_some(&bytes, fd)?;
        while sent < bytes.len() {
            sent += self.send_some(&bytes[sent..], None)?;
        }
        Ok(())
    }

    /// Receives a message, and the file descriptor that came with it.
    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<(T, Option<OwnedFd>), WireError> {
        let mut bytes = Vec::new();
        let mut fd = None;
        let mut whole = HEADER;
        while bytes.len() < whole {
            let more = (whole - bytes.len()).clamp(READ_AT_LEAST, READ_AT_MOST);
            self.receive_some(&mut bytes, more, &mut fd)?;
            whole = whole_length(&bytes)?;
        }
        match bytes.len() - whole {
            0 => {
                let message = serde_json::from_slice(&bytes[HEADER..]);
                Ok((message.map_err(WireError::Decode)?, fd))
            }
            excess => Err(WireError::Excess(excess)),
        }
    }

    /// Sends `message` with `fd` and receives the reply.
    pub fn exchange<T: Serialize + ?Sized, R: DeserializeOwned>(
        &mut self,
        message: &T,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<R, WireError> {
        self.send(message, fd)?;
        Ok(self.receive()?.0)
    }

    fn send_some(&self, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<usize, WireError> {
        const DOING: &str = "sending";
        self.limit(Timeout::Send, DOING)?;
        let fds = fd.as_slice();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            let fits = ancillary.push(SendAncillaryMessage::ScmRights(fds));
            debug_assert!(fits, "the space is made for one descriptor");
        }
        let iov = [IoSlice::new(bytes)];
        let flags = SendFlags::NOSIGNAL;
        retry_on_intr(|| rustix::net::sendmsg(&self.socket, &iov, &mut ancillary, flags))
            .map_err(|e| WireError::of(DOING, e))
    }

    fn receive_some(
        &self,
        bytes: &mut Vec<u8>,
        more: usize,
        fd: &mut Option<OwnedFd>,
    ) -> Result<(), WireError> {
        const DOING: &str = "receiving";
        self.limit(Timeout::Recv, DOING)?;
        let before = bytes.len();
        bytes.resize(before + more, 0);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut iov = [IoSliceMut::new(&mut bytes[before..])];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let message =
            retry_on_intr(|| rustix::net::recvmsg(&self.socket, &mut iov, &mut ancillary, flags))
                .map_err(|e| WireError::of(DOING, e))?;
        bytes.truncate(before + message.bytes);
        *fd = fd.take().or_else(|| first_descriptor(&mut ancillary));
        match message.bytes {
            0 => Err(WireError::Closed(DOING)),
            _ => Ok(()),
        }
    }

    fn limit(&self, which: Timeout, doing: &'static str) -> Result<(), WireError> {
        let left = self.deadline.left(doing)?;
        set_socket_timeout(self.socket.as_fd(), which, Some(left))
            .map_err(|e| WireError::Io("setting a timeout", e.into()))
    }
}

impl AsFd for Connection {
    /// To wait for what comes, together with other things.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn refusal(path: &Path, error: Errno) -> WireError {
    match error {
        Errno::NOENT | Errno::NOTDIR => WireError::NoSocket(path.to_owned()),
        Errno::CONNREFUSED => WireError::Refused(path.to_owned()),
        other => WireError::of("connecting", other),
    }
}

fn frame<T: Serialize + ?Sized>(message: &T) -> Result<Vec<u8>, WireError> {
    let mut bytes = vec![0; HEADER];
    serde_json::to_writer(&mut bytes, message).map_err(WireError::Encode)?;
    let length = checked_length(bytes.len() - HEADER)?;
    bytes[..HEADER].copy_from_slice(&length.to_le_bytes());
    Ok(bytes)
}

fn checked_length(length: usize) -> Result<u32, WireError> {
    match u32::try_from(length) {
        Ok(short) if length <= MAX_MESSAGE => Ok(short),
        _ => Err(WireError::TooLarge(length)),
    }
}

/// How long the message that begins with `bytes` is, header and all, as far as one can tell.
fn whole_length(bytes: &[u8]) -> Result<usize, WireError> {
    match bytes.first_chunk::<HEADER>() {
        None => Ok(HEADER),
        Some(header) => {
            let length = u32::from_le_bytes(*header) as usize;
            checked_length(length)?;
            Ok(HEADER + length)
        }
    }
}

/// The first descriptor; dropping closes the others.
fn first_descriptor(ancillary: &mut RecvAncillaryBuffer<'_>) -> Option<OwnedFd> {
    let mut fds = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    fds.next()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;
    use std::thread;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(20))
    }

    fn at_once() -> Deadline {
        Deadline::after(Duration::from_millis(30))
    }

    fn pair(deadline: Deadline) -> (Connection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        (Connection::accepted(ours, deadline), theirs)
    }

    fn both() -> (Connection, Connection) {
        let (a, b) = pair(soon());
        (a, Connection::accepted(b, soon()))
    }

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("seaway-wire-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    #[test]
    fn messages_and_descriptors_arrive() {
        let (mut client, mut agent) = both();
        let file = File::open("/proc/self/stat").expect("a file");
        client.send("hello", Some(file.as_fd())).expect("sent");
        let (message, fd) = agent.receive::<String>().expect("received");
        assert_eq!(message, "hello");
        let mut text = String::new();
        let mut passed = File::from(fd.expect("a descriptor"));
        passed.read_to_string(&mut text).expect("readable");
        assert!(text.starts_with(&std::process::id().to_string()));
        agent.send(&json!({"ok": null}), None).expect("sent");
        let (reply, fd) = client.receive::<Value>().expect("received");
        assert_eq!((reply, fd.is_none()), (json!({"ok": null}), true));
    }

    #[test]
    fn large_messages_arrive_whole() {
        let (mut client, mut agent) = both();
        let text = "x".repeat(MAX_MESSAGE - 2);
        let sender = {
            let text = text.clone();
            thread::spawn(move || client.send(&text, None).map(|()| client))
        };
        let (received, _) = agent.receive::<String>().expect("received");
        assert!(received == text, "{} bytes came", received.len());
        assert!(sender.join().expect("no panic").is_ok());
    }

    #[test]
    fn messages_that_are_too_large_are_neither_sent_nor_awaited() {
        let (mut client, mut stream) = pair(soon());
        let error = client.send(&"x".repeat(MAX_MESSAGE - 1), None);
        assert!(matches!(error, Err(WireError::TooLarge(n)) if n == MAX_MESSAGE + 1));
        stream.write_all(&u32::MAX.to_le_bytes()).expect("written");
        let error = client.receive::<Value>().expect_err("too large");
        assert!(matches!(error, WireError::TooLarge(_)), "{error}");
    }

    #[test]
    fn bad_peers_are_told_apart() {
        type Kind = fn(&WireError) -> bool;
        let cases: [(&[u8], Kind); 5] = [
            (b"", |e| matches!(e, WireError::Closed(_))),
            (b"\x05\0", |e| matches!(e, WireError::Closed(_))),
            (b"\x05\0\0\0nul", |e| matches!(e, WireError::Closed(_))),
            (b"\x05\0\0\0nulls", |e| matches!(e, WireError::Decode(_))),
            (b"\x04\0\0\0nulls", |e| matches!(e, WireError::Excess(1))),
        ];
        for (bytes, expected) in cases {
            let (mut connection, mut stream) = pair(soon());
            stream.write_all(bytes).expect("written");
            drop(stream);
            let error = connection.receive::<Value>().expect_err("bad");
            assert!(expected(&error), "{bytes:?}: {error}");
            assert_eq!(error.agent_is_down(), matches!(error, WireError::Closed(_)));
        }
    }

    #[test]
    fn a_peer_that_hangs_or_drips_meets_the_deadline() {
        let (mut connection, stream) = pair(at_once());
        let error = connection.receive::<Value>().expect_err("silence");
        assert!(matches!(error, WireError::TimedOut(_)), "{error}");
        let error = connection.send("late", None).expect_err("passed");
        assert!(error.may_pass() && !error.agent_is_down(), "{error}");
        drop(stream);

        let (mut connection, mut stream) = pair(at_once());
        let dripping = thread::spawn(move || {
            let header = 1_000_000u32.to_le_bytes();
            let endless = header.into_iter().chain(std::iter::repeat(b' '));
            endless
                .take_while(|byte| stream.write_all(&[*byte]).is_ok())
                .count()
        });
        let error = connection.receive::<Value>().expect_err("never whole");
        assert!(matches!(error, WireError::TimedOut(_)), "{error}");
        drop(connection);
        dripping.join().expect("no panic");
    }

    #[test]
    fn a_full_queue_of_connections_meets_the_deadline() {
        let path = scratch("full");
        let listener = UnixListener::bind(&path).expect("bound");
        rustix::net::listen(&listener, 0).expect("a queue of one");
        let _first = Connection::open(&path, soon()).expect("queued");
        let error = Connection::open(&path, at_once()).expect_err("full");
        assert!(matches!(error, WireError::TimedOut(_)), "{error}");
        std::fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn no_socket_and_a_dead_one_are_told_apart() {
        let path = scratch("dead");
        let error = Connection::open(&path, soon()).expect_err("nothing there");
        assert!(
            matches!(&error, WireError::NoSocket(p) if *p == path),
            "{error}"
        );
        drop(UnixListener::bind(&path).expect("bound"));
        let error = Connection::open(&path, soon()).expect_err("nobody there");
        assert!(
            matches!(&error, WireError::Refused(p) if *p == path),
            "{error}"
        );
        assert!(error.agent_is_down() && error.to_string().contains("is the agent running?"));
        std::fs::remove_file(&path).expect("removed");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_receiver_panic(bytes: Vec<u8>) {
            let (mut connection, mut stream) = pair(soon());
            stream.write_all(&bytes).expect("fits the socket");
            drop(stream);
            let _ = connection.receive::<Value>();
        }
    }
}
