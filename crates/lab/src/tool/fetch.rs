//! Fetches one page over plain HTTP.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use clap::Args;
use thiserror::Error;

use super::http;

/// What to fetch.
#[derive(Clone, Debug, Args)]
pub struct FetchArgs {
    /// For example http://10.244.1.2:8080/ or http://[fd00:10:244:1::2]:8080/
    pub url: String,
    /// How long to wait for the connection, and again for each part of the answer.
    #[arg(long, default_value_t = 5000, value_name = "MS")]
    pub timeout_ms: u64,
}

/// A page could not be fetched.
#[derive(Debug, Error)]
pub enum FetchError {
    /// The URL is not one that this tool understands.
    #[error("URL \"{url}\" is not valid: {rule}")]
    Url {
        /// The text.
        url: String,
        /// What it breaks.
        rule: &'static str,
    },
    /// The network failed.
    #[error("{operation} {object}: {cause}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// With whom.
        object: String,
        /// What the system said.
        cause: io::Error,
    },
    /// The answer is broken.
    #[error("read the answer of {authority}: {reason}")]
    Answer {
        /// Who answered.
        authority: String,
        /// What is wrong.
        reason: String,
    },
    /// The server refused.
    #[error("{url}: the server answered with status {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The status.
        status: u16,
    },
}

/// Fetches the page and gives its body.
pub(super) fn run(args: &FetchArgs) -> Result<String, FetchError> {
    let url = http::parse_url(&args.url).map_err(|rule| FetchError::Url {
        url: args.url.clone(),
        rule,
    })?;
    let timeout = Duration::from_millis(args.timeout_ms.max(1));
    let io = |operation, cause| FetchError::Io {
        operation,
        object: url.authority.clone(),
        cause,
    };
    let mut stream = connect(&url.authority, timeout).map_err(|e| io("connect to", e))?;
    let bytes = exchange(&mut stream, &url, timeout).map_err(|e| io("fetch from", e))?;
    let answer = http::parse_answer(&bytes).map_err(|reason| FetchError::Answer {
        authority: url.authority.clone(),
        reason,
    })?;
    match answer.status {
        200..=299 => Ok(answer.body),
        status => Err(FetchError::Status {
            url: args.url.clone(),
            status,
        }),
    }
}

/// Asks in HTTP/1.0, so that no server may answer in chunks.
fn exchange(stream: &mut TcpStream, url: &http::Url, timeout: Duration) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let http::Url { authority, path } = url;
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: {authority}\r\nUser-Agent: seaway\r\n\r\n"
    )?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Connects to the first address of `authority` that lets us.
pub(super) fn connect(authority: &str, timeout: Duration) -> io::Result<TcpStream> {
    let mut last = None;
    for address in resolve(authority)? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => return Ok(stream),
            Err(e) => last = Some(e),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
}

/// All addresses of `host:port`.
pub(super) fn resolve(authority: &str) -> io::Result<Vec<SocketAddr>> {
    Ok(authority.to_socket_addrs()?.collect())
}

#[cfg(test)]
mod tests {
    use super::super::serve::in_background;
    use super::*;

    fn fetch(url: String) -> Result<String, FetchError> {
        run(&FetchArgs {
            url,
            timeout_ms: 5000,
        })
    }

    #[test]
    fn a_page_is_fetched_in_both_families() {
        let (port, _) = in_background();
        for host in ["127.0.0.1", "[::1]"] {
            let body = fetch(format!("http://{host}:{port}/x")).expect("fetches");
            assert!(
                body.contains(r#""path":"/x""#) && body.contains(host),
                "{body}"
            );
        }
    }

    #[test]
    fn failures_name_what_was_asked() {
        let error = fetch("ftp://x".into()).expect_err("refused").to_string();
        assert_eq!(
            error,
            "URL \"ftp://x\" is not valid: it must begin with http://"
        );
        let error = fetch("http://127.0.0.1:1/".into())
            .expect_err("refused")
            .to_string();
        assert!(error.starts_with("connect to 127.0.0.1:1: "), "{error}");
    }
}
