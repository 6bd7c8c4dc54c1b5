//! As much of HTTP/1 as one request and one answer need: reading a request's head, writing an
//! answer, reading an answer. No keep-alive, no chunks; nothing here opens a socket.

use std::io::{self, Read};

use thiserror::Error;

/// The longest head that is read.
const MAX_HEAD: usize = 8 * 1024;

/// The first line of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) path: String,
    /// Whether the answer carries a body (`GET`) or only its head (`HEAD`).
    pub(super) wants_body: bool,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Refusal {
    #[error("400 Bad Request")]
    BadRequest,
    #[error("405 Method Not Allowed")]
    Method,
    #[error("431 Request Header Fields Too Large")]
    TooLarge,
    #[error("505 HTTP Version Not Supported")]
    Version,
}

/// Reads up to the empty line that ends a head; `None` when the peer left before.
pub(super) fn read_head(stream: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    let mut part = [0; 1024];
    while !ends_head(&head) && head.len() <= MAX_HEAD {
        match stream.read(&mut part)? {
            0 => return Ok(None),
            n => head.extend_from_slice(&part[..n]),
        }
    }
    Ok(Some(head))
}

fn ends_head(bytes: &[u8]) -> bool {
    bytes.windows(4).any(|w| w == b"\r\n\r\n")
}

/// Understands the head of a request.
pub(super) fn parse_request(head: &[u8]) -> Result<Request, Refusal> {
    if !ends_head(head) {
        return Err(Refusal::TooLarge);
    }
    let text = std::str::from_utf8(head).map_err(|_| Refusal::BadRequest)?;
    let line = text.split("\r\n").next().ok_or(Refusal::BadRequest)?;
    let mut words = line.split(' ');
    let (Some(method), Some(path), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Refusal::BadRequest);
    };
    check_version(version)?;
    let wants_body = wants_body(method)?;
    Ok(Request {
        path: path.to_owned(),
        wants_body,
    })
}

fn check_version(version: &str) -> Result<(), Refusal> {
    match version {
        "HTTP/1.0" | "HTTP/1.1" => Ok(()),
        other if other.starts_with("HTTP/") => Err(Refusal::Version),
        _ => Err(Refusal::BadRequest),
    }
}

fn wants_body(method: &str) -> Result<bool, Refusal> {
    match method {
        "GET" => Ok(true),
        "HEAD" => Ok(false),
        _ => Err(Refusal::Method),
    }
}

/// A whole answer. `status` is a number with its words, for example `200 OK`.
pub(super) fn answer(status: &str, body: &str, with_body: bool) -> String {
    let length = body.len();
    let sent = if with_body { body } else { "" };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{sent}"
    )
}

/// A whole answer as a client read it, up to the end of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// Understands an answer; the error says what is wrong with it.
pub(super) fn parse_answer(bytes: &[u8]) -> Result<Answer, String> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or("the answer ends before its body")?;
    let status = head
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1))
        .and_then(|word| word.parse().ok())
        .ok_or("the answer is not HTTP/1")?;
    let body = match content_length(head) {
        Some(length) if length > body.len() => {
            return Err(format!(
                "the answer was cut: {} of {length} bytes came",
                body.len()
            ));
        }
        _ => body.to_owned(),
    };
    Ok(Answer { status, body })
}

fn content_length(head: &str) -> Option<usize> {
    head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let ours = name.eq_ignore_ascii_case("content-length");
        ours.then(|| value.trim().parse().ok()).flatten()
    })
}

/// Where a URL leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    /// `host:port` as given to the resolver; IPv6 addresses in brackets.
    pub(super) authority: String,
    pub(super) path: String,
}

/// Takes a plain `http://` URL apart.
pub(super) fn parse_url(url: &str) -> Result<Url, &'static str> {
    let rest = url
        .strip_prefix("http://")
        .ok_or("it must begin with http://")?;
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    if authority.is_empty() {
        return Err("it names no host");
    }
    if path.contains([' ', '\r', '\n']) || authority.contains([' ', '@', '\r', '\n']) {
        return Err("it must not contain spaces, line feeds or a user name");
    }
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(host, _)| !host.contains(':') || host.ends_with(']'));
    let authority = if has_port {
        authority.to_owned()
    } else {
        format!("{authority}:80")
    };
    Ok(Url {
        authority,
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(head: &str) -> Result<Request, Refusal> {
        parse_request(head.as_bytes())
    }

    #[test]
    fn requests_are_read() {
        let request = parsed("GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n").expect("valid");
        assert_eq!(
            request,
            Request {
                path: "/a?b=c".into(),
                wants_body: true
            }
        );
        assert!(!parsed("HEAD / HTTP/1.0\r\n\r\n").expect("valid").wants_body);
    }

    #[test]
    fn bad_requests_get_their_own_answer() {
        let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(9000));
        let cases = [
            ("POST / HTTP/1.1\r\n\r\n", Refusal::Method),
            ("GET /\r\n\r\n", Refusal::BadRequest),
            ("GET  / HTTP/1.1\r\n\r\n", Refusal::BadRequest),
            ("GET / HTTP/2\r\n\r\n", Refusal::Version),
            ("\r\n\r\n", Refusal::BadRequest),
            ("GET / SIP/1.0\r\n\r\n", Refusal::BadRequest),
            (&long, Refusal::TooLarge),
        ];
        for (head, refusal) in cases {
            assert_eq!(parsed(head), Err(refusal), "{head:.40}");
        }
        assert_eq!(
            parse_request(b"GET /\xff HTTP/1.1\r\n\r\n"),
            Err(Refusal::BadRequest)
        );
    }

    #[test]
    fn a_head_may_come_in_pieces_or_not_at_all() {
        let mut pieces = (&b"GET / HT"[..])
            .chain(&b"TP/1.1\r\n\r"[..])
            .chain(&b"\n"[..]);
        let head = read_head(&mut pieces).expect("reads").expect("whole");
        assert!(parse_request(&head).is_ok());
        assert_eq!(read_head(&mut &b"GET"[..]).expect("reads"), None);
    }

    #[test]
    fn an_endless_head_is_cut_off() {
        let mut endless = io::repeat(b'a');
        let head = read_head(&mut endless).expect("reads").expect("cut");
        assert!(head.len() < MAX_HEAD + 2048);
        assert_eq!(parse_request(&head), Err(Refusal::TooLarge));
    }

    #[test]
    fn answers_round_trip() {
        let bytes = answer("200 OK", "{}\n", true);
        assert_eq!(
            parse_answer(bytes.as_bytes()),
            Ok(Answer {
                status: 200,
                body: "{}\n".into()
            })
        );
        assert!(
            answer("200 OK", "{}\n", false)
                .ends_with("Content-Length: 3\r\nConnection: close\r\n\r\n")
        );
    }

    #[test]
    fn broken_answers_say_what_is_wrong() {
        let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc";
        let cases: [(&[u8], &str); 3] = [
            (cut, "the answer was cut: 3 of 10 bytes came"),
            (b"SSH-2.0\r\n\r\n", "the answer is not HTTP/1"),
            (b"", "the answer ends before its body"),
        ];
        for (bytes, error) in cases {
            assert_eq!(parse_answer(bytes), Err(error.to_owned()));
        }
    }

    #[test]
    fn urls_are_taken_apart() {
        let cases = [
            ("http://10.0.0.1", "10.0.0.1:80", "/"),
            ("http://10.0.0.1:8080/a/b", "10.0.0.1:8080", "/a/b"),
            ("http://[fd00::1]/x", "[fd00::1]:80", "/x"),
            ("http://[fd00::1]:8080", "[fd00::1]:8080", "/"),
            ("http://web.default:81/", "web.default:81", "/"),
        ];
        for (url, authority, path) in cases {
            let parsed = parse_url(url).expect(url);
            assert_eq!(
                (parsed.authority.as_str(), parsed.path.as_str()),
                (authority, path)
            );
        }
        for bad in [
            "https://x",
            "10.0.0.1",
            "http://",
            "http:///x",
            "http://a b/",
            "http://u@h/",
        ] {
            assert!(parse_url(bad).is_err(), "{bad}");
        }
    }
}
