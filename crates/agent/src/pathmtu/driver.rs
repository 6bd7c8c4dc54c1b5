//! The thread that asks: sockets, the clock, and where findings go.

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use seaway_kernel::echo::{EchoSocket, Sent};

use super::path::Finding;
use super::prober::{Action, Change, Prober, Request};
use super::{Findings, Lowered, Pace};
use crate::keeper::Command;
use crate::shared::Shared;
use crate::state::Peers;

/// How often the nodes and the uplink are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Asks the paths to all nodes, for ever, from the calling thread's network namespace.
pub(crate) fn run(shared: &Arc<Shared>) {
    let mut driver = Driver::new(Pace::default(), Instant::now());
    loop {
        let peers = shared.lock().peers();
        driver.look(&peers, Instant::now());
        for change in driver.work(Instant::now() + LOOK) {
            tracing::debug!(node = %change.peer, size = change.size, "path MTU found");
            shared
                .keeper
                .tell(Command::PathMtu(change.peer, change.size));
        }
        let findings = driver.findings(Instant::now());
        shared.lock().paths = findings;
    }
}

pub(super) struct Driver {
    prober: Prober,
    sockets: Vec<EchoSocket>,
    /// The last trouble with sockets, so that it is told once.
    trouble: Option<String>,
    lowered: Vec<Lowered>,
}

impl Driver {
    pub(super) fn new(pace: Pace, now: Instant) -> Driver {
        Driver {
            prober: Prober::new(pace, now),
            sockets: Vec::new(),
            trouble: None,
            lowered: Vec::new(),
        }
    }

    /// Takes in the nodes and the uplink. While there is no uplink, what is known stays.
    pub(super) fn look(&mut self, peers: &Peers, now: Instant) {
        let Some(uplink) = &peers.uplink else {
            self.sockets.clear();
            return;
        };
        self.open(&uplink.addresses);
        self.prober.set_uplink(uplink.mtu, &uplink.addresses, now);
        let nodes = peers.nodes.iter();
        let nodes = nodes.map(|node| (&node.name, &node.addresses[..]));
        self.prober.set_peers(nodes, now);
    }

    /// One socket for each of the node's own addresses.
    fn open(&mut self, sources: &[IpAddr]) {
        self.sockets.retain(|s| sources.contains(&s.source()));
        let mut trouble = None;
        for source in sources {
            if self.sockets.iter().any(|s| s.source() == *source) {
                continue;
            }
            match EchoSocket::open(*source) {
                Ok(socket) => self.sockets.push(socket),
                // An address may not be usable yet, or not be there any more.
                Err(error) => trouble = Some(error.to_string()),
            }
        }
        if trouble != self.trouble {
            if let Some(error) = &trouble {
                tracing::warn!(%error, "paths to other nodes are not asked for their MTU; trying again");
            }
            self.trouble = trouble;
        }
    }

    /// Asks and listens until `end`, or until something has been found.
    pub(super) fn work(&mut self, end: Instant) -> Vec<Change> {
        loop {
            let now = Instant::now();
            self.listen(now);
            let changes = self.prober.take_changes();
            if !changes.is_empty() || now >= end {
                return changes;
            }
            let wake = match self.next(now) {
                Action::Send(request) => {
                    self.send(request, now);
                    continue;
                }
                Action::Wait(wake) => wake.min(end),
            };
            self.wait(wake.saturating_duration_since(now));
        }
    }

    /// Without a socket nothing is asked, and no silence is taken for an answer.
    fn next(&mut self, now: Instant) -> Action {
        if self.sockets.is_empty() {
            return Action::Wait(now + LOOK);
        }
        self.prober.next(now)
    }

    fn send(&mut self, request: Request, now: Instant) {
        let Request {
            target,
            size,
            token,
        } = request;
        let fits = |socket: &&mut EchoSocket| socket.source().is_ipv4() == target.is_ipv4();
        // Without a way to the node there is no answer, as if the request had been lost.
        let Some(socket) = self.sockets.iter_mut().find(fits) else {
            return;
        };
        match socket.send(target, size, token) {
            Ok(Sent::Yes | Sent::NoWay) => {}
            Ok(Sent::TooLarge) => self.prober.too_large(token, now),
            Err(error) => tracing::debug!(%error, "path not asked"),
        }
    }

    fn listen(&mut self, now: Instant) {
        let prober = &mut self.prober;
        self.sockets.retain_mut(|socket| {
            loop {
                match socket.receive() {
                    Ok(Some(reply)) => prober.answered(reply.token, reply.from, now),
                    Ok(None) => return true,
                    Err(error) => {
                        tracing::warn!(%error, "the socket is opened again");
                        return false;
                    }
                }
            }
        });
    }

    fn wait(&self, limit: Duration) {
        // One millisecond more, so that the time has come when the wait is over.
        let limit = u16::try_from(limit.as_millis() + 1).unwrap_or(u16::MAX);
        let mut fds: Vec<PollFd<'_>> = self
            .sockets
            .iter()
            .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
            .collect();
        // An interrupted wait is a short one.
        let _ = poll(&mut fds, PollTimeout::from(limit));
    }

    /// What is known now.
    pub(super) fn findings(&mut self, now: Instant) -> Findings {
        let known = self.lowered.iter();
        let since: HashMap<(IpAddr, u32), Instant> = known
            .map(|lowered| ((lowered.address, lowered.size), lowered.since))
            .collect();
        let mut findings = Findings::default();
        for path in self.prober.paths() {
            findings.paths += 1;
            findings.unasked += usize::from(path.finding == Finding::None && !path.silent);
            findings.silent += usize::from(path.silent);
            findings.lowered.extend(path.lowered().map(|size| Lowered {
                peer: path.peer.clone(),
                address: path.target,
                size,
                since: since.get(&(path.target, size)).copied().unwrap_or(now),
            }));
        }
        self.lowered.clone_from(&findings.lowered);
        findings
    }
}
