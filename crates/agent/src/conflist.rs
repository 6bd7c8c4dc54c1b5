//! The runtime's configuration: installed once the agent can attach Pods, and kept.
//!
//! Runtimes that ask for STATUS are told when the agent cannot serve; older ones take a network for
//! ready as soon as there is a configuration. So it appears no sooner. It stays when the agent
//! ends: what is in force stays in force.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use seaway_cni::install::{Conflist, Places, Wanted, install, look};

use crate::cni;
use crate::error::AgentError;
use crate::journal::Topic;
use crate::run::spawn;
use crate::shared::Shared;

/// How often the folder is looked at when nothing is heard of it, in milliseconds.
const AUDIT: u16 = 60_000;
/// The shortest time between two writings: somebody else may insist on another content.
const REST: Duration = Duration::from_secs(1);
/// How long a wait for the agent's being ready lasts; then another begins.
const WAIT: Duration = Duration::from_secs(1);

/// Starts to keep the configuration in a folder, with the agent at `socket`. Those of others are put
/// aside if asked for, once: who goes on to write them is named, and not fought with.
pub(crate) fn start(
    shared: &Arc<Shared>,
    folder: &Path,
    socket: &Path,
    replace_others: bool,
) -> Result<(), AgentError> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
        .map_err(|errno| AgentError::file("watch", folder)(errno.into()))?;
    let usual = socket == Path::new(seaway_cni::DEFAULT_SOCKET);
    let conflist = Conflist {
        version: None,
        socket: (!usual).then(|| socket.to_owned()),
    };
    let guard = Guard {
        shared: shared.clone(),
        places: Places {
            bin_dir: None,
            conf_dir: folder.to_owned(),
        },
        wanted: Wanted {
            conflist: Some(conflist.text()),
            replace_others,
            plugin: None,
        },
        inotify,
        written: 0,
    };
    spawn("conflist", move || guard.run())
}

struct Guard {
    shared: Arc<Shared>,
    places: Places,
    wanted: Wanted,
    inotify: Inotify,
    /// How often it had to be written.
    written: usize,
}

impl Guard {
    fn run(mut self) {
        let ready = || {
            let served = |state: &mut crate::state::State| cni::can_serve(state).ok();
            self.shared.wait_until(Instant::now() + WAIT, served)
        };
        while ready().is_none() {}
        loop {
            // Again each time: the folder may be another one by now.
            self.watch();
            match self.keep() {
                // What was written may be in a folder that is new.
                true => thread::sleep(REST),
                false => self.wait(),
            }
        }
    }

    fn watch(&self) {
        let flags = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF;
        match self.inotify.add_watch(&self.places.conf_dir, flags) {
            // It is made when the file is written; the audit watches it.
            Ok(_) | Err(Errno::ENOENT) => {}
            Err(error) => {
                tracing::warn!(%error, "the CNI configurations are only looked at once a minute");
            }
        }
    }

    /// Makes the file what it is to be; whether it was not.
    fn keep(&mut self) -> bool {
        let (changed, problems) = match install(&self.places, &self.wanted) {
            Err(error) => (false, vec![error.to_string()]),
            Ok(changes) => {
                for change in &changes {
                    tracing::info!(path = %change.path.display(), "{} CNI configuration", change.what);
                }
                self.wanted.replace_others = false;
                (!changes.is_empty(), self.rivals())
            }
        };
        self.written += usize::from(changed);
        if changed && self.written > 1 {
            tracing::warn!(
                times = self.written,
                "somebody had changed the CNI configuration"
            );
        }
        self.tell(problems);
        changed
    }

    /// Configurations that the runtime takes instead of ours.
    fn rivals(&self) -> Vec<String> {
        let others = match look(&self.places) {
            Ok(found) => found.others,
            Err(error) => return vec![error.to_string()],
        };
        let first = others.iter().filter(|other| other.first);
        let tell = |file: String| {
            format!(
                "the runtime takes {file} before Seaway's configuration, so new Pods get another \
                 network: remove it, or put it aside with `seaway install --host --replace-others` or the \
                 value replaceOthers"
            )
        };
        first.map(|other| tell(other.describe())).collect()
    }

    fn tell(&self, problems: Vec<String>) {
        let journal = &self.shared.journal;
        match problems.is_empty() {
            true => journal.over(&Topic::Conflist, "ConfigurationInPlace", || {
                "the CNI configuration is in place, and no other is before it".to_owned()
            }),
            false => journal.holds(
                Topic::Conflist,
                "ConfigurationImpaired",
                problems.join("; "),
            ),
        }
        self.shared.lock().conflist = problems;
    }

    fn wait(&self) {
        let fds = &mut [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN)];
        let _ = poll(fds, PollTimeout::from(AUDIT));
        // What they say does not matter: all is looked at.
        while self.inotify.read_events().is_ok() {}
    }
}
