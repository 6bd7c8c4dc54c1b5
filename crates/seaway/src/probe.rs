//! `seaway probe`: asks a process of Seaway how it is, by a socket that is its own. For probes of
//! Kubernetes that run in the container: a port would be one of the node's, which several share.

use std::fs::Permissions;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;

/// The variable that names the socket to both sides.
pub(crate) const SOCKET_VARIABLE: &str = "SEAWAY_CONTROLLER_HEALTH_SOCKET";
/// How long an answer may take, each read and write.
const LIMIT: Duration = Duration::from_secs(3);
/// As much of an answer is read.
const LONGEST: u64 = 64 * 1024;

/// Whom to ask, and what.
#[derive(Args)]
pub(crate) struct ProbeArgs {
    /// The socket of the process.
    #[arg(long, env = SOCKET_VARIABLE, value_name = "FILE")]
    pub(crate) socket: PathBuf,
    /// What to ask for.
    #[arg(default_value = "/livez", value_parser = page)]
    pub(crate) page: String,
}

/// Nothing that could be more than the path of a request.
fn page(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_graphic();
    match text.starts_with('/') && text.bytes().all(plain) {
        true => Ok(text.to_owned()),
        false => Err("give a path, such as /readyz".to_owned()),
    }
}

/// Prints the answer; the exit code is 0 if it is a good one.
pub(crate) fn run(args: &ProbeArgs) -> anyhow::Result<ExitCode> {
    let (status, body) = ask(&args.socket, &args.page)?;
    print!("{body}");
    Ok(match status {
        200..300 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

fn ask(socket: &Path, page: &str) -> anyhow::Result<(u16, String)> {
    let what = || format!("ask {} for {page}", socket.display());
    let answer = exchange(socket, page).with_context(what)?;
    let Some(answer) = split(&answer) else {
        bail!("{}: the answer is not HTTP", what());
    };
    Ok(answer)
}

fn exchange(socket: &Path, page: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let request = format!("GET {page} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The status and the body of an answer.
fn split(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?;
    Some((status.parse().ok()?, body.to_owned()))
}

/// The socket to be asked at, in the place of one that an earlier process left: for its owner alone.
pub(crate) fn listen(path: &Path) -> std::io::Result<UnixListener> {
    let draft = path.with_extension("draft");
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&draft)?;
    std::fs::set_permissions(&draft, Permissions::from_mode(0o600))?;
    std::fs::rename(&draft, path)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_a_path_and_nothing_more() {
        assert_eq!(page("/readyz").as_deref(), Ok("/readyz"));
        for bad in ["", "readyz", "/a b", "/x\r\nHost: y"] {
            page(bad).expect_err(bad);
        }
    }

    #[test]
    fn answers_are_split() {
        let answer = "HTTP/1.1 503 Service Unavailable\r\nx: y\r\n\r\nnot yet\n";
        assert_eq!(split(answer), Some((503, "not yet\n".to_owned())));
        for bad in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 \r\n\r\n", "é\r\n\r\n"] {
            assert_eq!(split(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_socket_that_was_left_is_replaced_and_nobody_else_may_ask() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("health.sock");
        drop(listen(&path).expect("bound"));
        ask(&path, "/livez").expect_err("nobody is there");
        let listener = listen(&path).expect("bound again");
        let mode = std::fs::metadata(&path).expect("there").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            // All of it: what is unread when the other side closes would reset the connection.
            let (mut request, mut some) = (Vec::new(), [0; 512]);
            while !request.ends_with(b"\r\n\r\n") {
                let count = stream.read(&mut some).expect("a request");
                request.extend(&some[..count]);
            }
            let answer = "HTTP/1.1 200 OK\r\n\r\nok\n";
            stream.write_all(answer.as_bytes()).expect("answered");
            request
        });
        let answer = ask(&path, "/livez").expect("an answer");
        assert_eq!(answer, (200, "ok\n".to_owned()));
        let request = server.join().expect("no panic");
        assert!(request.starts_with(b"GET /livez HTTP/1.1\r\n"));
    }
}
