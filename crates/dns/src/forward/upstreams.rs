//! The servers elsewhere: which there are, and which of them answer.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::resolv;

/// How long a server that did not answer is asked last.
const AWAY: Duration = Duration::from_secs(10);

/// Whom to ask for names that are not the cluster's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstreams {
    /// Those of a `resolv.conf`, which is read again when it changes.
    File(PathBuf),
    /// These.
    Given(Vec<SocketAddr>),
}

/// A server.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    heard: Mutex<Heard>,
    /// It does not know EDNS.
    pub(crate) plain: AtomicBool,
    /// What it is asked comes back here.
    pub(crate) loops: AtomicBool,
}

/// What has been heard of a server.
#[derive(Debug, Default)]
struct Heard {
    last: Option<Instant>,
    away_until: Option<Instant>,
}

impl Upstream {
    fn new(address: SocketAddr) -> Arc<Upstream> {
        Arc::new(Upstream {
            address,
            heard: Mutex::default(),
            plain: AtomicBool::new(false),
            loops: AtomicBool::new(false),
        })
    }

    pub(crate) fn is_away(&self) -> bool {
        let until = lock(&self.heard).away_until;
        until.is_some_and(|until| Instant::now() < until)
    }

    pub(crate) fn answered(&self) {
        *lock(&self.heard) = Heard {
            last: Some(Instant::now()),
            away_until: None,
        };
    }

    /// It is away, unless it has answered others meanwhile: then one name takes long, which tells
    /// nothing of all other names.
    pub(crate) fn did_not_answer(&self, asked: Instant) {
        let mut heard = lock(&self.heard);
        if heard.last.is_none_or(|last| last < asked) {
            heard.away_until = Some(Instant::now() + AWAY);
        }
    }
}

/// All servers.
#[derive(Debug)]
pub(crate) struct Servers {
    all: Mutex<Arc<[Arc<Upstream>]>>,
    /// Where questions come to: a server there would be this one.
    own: Vec<SocketAddr>,
}

impl Servers {
    pub(crate) fn new(own: Vec<SocketAddr>) -> Servers {
        Servers {
            all: Mutex::new(Arc::new([])),
            own,
        }
    }

    /// Takes other servers; `true` if they differ. What is known of those that stay is kept.
    pub(crate) fn set(&self, addresses: &[SocketAddr]) -> bool {
        let usable = addresses.iter().filter(|address| !self.is_own(address));
        let usable: Vec<SocketAddr> = usable.copied().collect();
        let mut all = lock(&self.all);
        if all.iter().map(|u| u.address).eq(usable.iter().copied()) {
            return false;
        }
        let known = |address| all.iter().find(|u| u.address == address).cloned();
        let next = usable
            .iter()
            .map(|a| known(*a).unwrap_or_else(|| Upstream::new(*a)));
        let next = next.collect();
        *all = next;
        true
    }

    fn is_own(&self, address: &SocketAddr) -> bool {
        let same = |own: &SocketAddr| own.ip() == address.ip() && own.port() == address.port();
        let own = self.own.iter().any(same);
        if own {
            tracing::warn!(%address, "this is where the node's names are answered; it is not asked");
        }
        own || address.ip().is_unspecified()
    }

    /// All of them.
    pub(crate) fn all(&self) -> Arc<[Arc<Upstream>]> {
        lock(&self.all).clone()
    }

    /// Those that can be asked, in their order, but those that did not answer last.
    pub(crate) fn in_order(&self) -> Vec<Arc<Upstream>> {
        let all = self.all();
        let usable = all.iter().filter(|upstream| !upstream.loops.load(Relaxed));
        let (away, there): (Vec<_>, Vec<_>) = usable.cloned().partition(|u| u.is_away());
        there.into_iter().chain(away).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics half-way with one of these held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file that names servers, and what it was like when it was read.
pub(crate) struct Watched {
    path: PathBuf,
    seen: Option<Mark>,
    problem: Option<String>,
}

/// What changes when a file does, or when another takes its place.
#[derive(PartialEq, Eq)]
struct Mark {
    place: (u64, u64),
    length: u64,
    changed: (i64, i64),
}

impl Watched {
    pub(crate) fn new(path: &Path) -> Watched {
        Watched {
            path: path.to_owned(),
            seen: None,
            problem: None,
        }
    }

    /// The servers, if the file is another one than before. One that cannot be read says nothing.
    pub(crate) fn look(&mut self) -> Option<Vec<SocketAddr>> {
        match self.read() {
            Ok(text) => {
                self.problem = None;
                text.map(|text| resolv::servers(&text))
            }
            Err(error) => {
                let problem = error.to_string();
                if self.problem.as_ref() != Some(&problem) {
                    tracing::warn!(
                        path = %self.path.display(), %problem,
                        "whom to ask for names cannot be read; those known so far are asked"
                    );
                }
                self.problem = Some(problem);
                None
            }
        }
    }

    fn read(&mut self) -> io::Result<Option<String>> {
        let meta = std::fs::metadata(&self.path)?;
        let mark = Mark {
            place: (meta.dev(), meta.ino()),
            length: meta.len(),
            changed: (meta.mtime(), meta.mtime_nsec()),
        };
        if self.seen.as_ref() == Some(&mark) {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&self.path)?;
        self.seen = Some(mark);
        Ok(Some(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn this_server_is_never_asked() {
        let servers = Servers::new(vec![at("169.254.83.53:53"), at("[fd00::53]:53")]);
        let given = [
            at("169.254.83.53:53"),
            at("192.0.2.1:53"),
            at("[fd00::53]:53"),
            at("0.0.0.0:53"),
        ];
        assert!(servers.set(&given));
        let left: Vec<_> = servers.all().iter().map(|u| u.address).collect();
        assert_eq!(left, [at("192.0.2.1:53")]);
        assert!(!servers.set(&given), "nothing changed");
    }

    #[test]
    fn who_does_not_answer_is_asked_last() {
        let servers = Servers::new(Vec::new());
        servers.set(&[at("192.0.2.1:53"), at("192.0.2.2:53"), at("192.0.2.3:53")]);
        let all = servers.all();
        let asked = Instant::now();
        all[0].did_not_answer(asked);
        all[1].loops.store(true, Relaxed);
        let order: Vec<_> = servers.in_order().iter().map(|u| u.address).collect();
        assert_eq!(order, [at("192.0.2.3:53"), at("192.0.2.1:53")]);
        all[0].answered();
        assert_eq!(servers.in_order()[0].address, at("192.0.2.1:53"));
        all[0].did_not_answer(asked);
        assert!(!all[0].is_away(), "it has answered another question since");
    }

    #[test]
    fn a_file_is_read_when_it_is_another() {
        let folder = std::env::temp_dir().join(format!("seaway-resolv-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("resolv.conf");
        let mut watched = Watched::new(&path);
        assert_eq!(watched.look(), None, "there is none");
        std::fs::write(&path, "nameserver 192.0.2.1\n").expect("written");
        assert_eq!(watched.look(), Some(vec![at("192.0.2.1:53")]));
        assert_eq!(watched.look(), None, "the same");
        let other = folder.join("other");
        std::fs::write(&other, "nameserver 192.0.2.2\n").expect("written");
        std::fs::rename(&other, &path).expect("moved");
        assert_eq!(watched.look(), Some(vec![at("192.0.2.2:53")]));
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
