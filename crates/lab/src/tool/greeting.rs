//! What the server says about itself and about who asked.

use std::net::SocketAddr;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// The line of JSON that the echo server begins every TCP connection and UDP answer with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// The server's host name: in a Pod, the Pod's name.
    pub host: String,
    /// The address and port that the server sees as the client's.
    pub peer: SocketAddr,
}

/// The body of every HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Host name and peer.
    #[serde(flatten)]
    pub greeting: Greeting,
    /// The path that was asked for.
    pub path: String,
}

impl Greeting {
    /// The greeting of this host to `peer`.
    pub(super) fn to(peer: SocketAddr) -> Greeting {
        Greeting {
            host: host_name(),
            peer: plain(peer),
        }
    }

    /// The greeting as a line.
    pub(super) fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("strings and addresses are always JSON");
        line.push(b'\n');
        line
    }

    /// Splits a UDP answer into its greeting and the payload that came back.
    pub(super) fn split(answer: &[u8]) -> Result<(Greeting, &[u8]), String> {
        let end = answer
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or("the answer has no greeting line: something else answers on that port")?;
        let greeting = Greeting::parse(&answer[..end])?;
        Ok((greeting, &answer[end + 1..]))
    }

    /// Reads a greeting line without its line feed.
    pub(super) fn parse(line: &[u8]) -> Result<Greeting, String> {
        serde_json::from_slice(line).map_err(|e| {
            format!(
                "the greeting line is not understood ({e}): something else answers on that port"
            )
        })
    }
}

/// What the server calls itself, if it has been told.
static NAME: OnceLock<String> = OnceLock::new();

/// Has this process call itself so from now on.
pub(super) fn call_itself(name: &str) {
    NAME.get_or_init(|| name.to_owned());
}

/// What this process calls itself: the host's name, as programs of the Pod see it, unless told.
pub(super) fn host_name() -> String {
    if let Some(name) = NAME.get() {
        return name.clone();
    }
    match nix::unistd::gethostname() {
        Ok(name) => name.to_string_lossy().into_owned(),
        Err(_) => "unknown".to_owned(),
    }
}

/// An IPv4 peer of a dual-stack socket, written as IPv4.
fn plain(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_peers_are_written_plainly() {
        let mapped = "[::ffff:10.0.0.7]:4000".parse().expect("valid");
        assert_eq!(Greeting::to(mapped).peer.to_string(), "10.0.0.7:4000");
        let six = "[fd00::7]:4000".parse().expect("valid");
        assert_eq!(Greeting::to(six).peer.to_string(), "[fd00::7]:4000");
    }

    #[test]
    fn an_answer_splits_into_greeting_and_payload() {
        let peer = "10.0.0.7:4000".parse().expect("valid");
        let mut answer = Greeting::to(peer).line();
        answer.extend(b"pay\nload");
        let (greeting, payload) = Greeting::split(&answer).expect("splits");
        assert_eq!((greeting.peer, payload), (peer, &b"pay\nload"[..]));
    }

    #[test]
    fn foreign_answers_are_named_as_such() {
        for answer in [&b""[..], b"hello", b"hello\n", b"{\"host\":1}\n"] {
            let error = Greeting::split(answer).expect_err("refused");
            assert!(error.contains("something else answers"), "{error}");
        }
    }
}
