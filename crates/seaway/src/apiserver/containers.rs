//! The containers of a lab, as the API server wants them.

use std::fmt::Display;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use seaway_apiserver::{ContainerCommand, Containers, ExecEvent, ExecOrder};
use seaway_lab::containers::{Command, ContainersSocket, Happened};

/// Those of the supervisor that listens at a path.
pub(super) fn at(path: PathBuf) -> Arc<dyn Containers> {
    Arc::new(OfLab(ContainersSocket::at(path)))
}

struct OfLab(ContainersSocket);

impl Containers for OfLab {
    fn find(&self, order: &ExecOrder) -> Result<Box<dyn ContainerCommand>, String> {
        let target = format!("{}/{}/{}", order.namespace, order.pod, order.container);
        let found = self.0.find(target, order.command.clone(), order.terminal);
        let command = found.map_err(text)?;
        Ok(Box::new(Joined(command)))
    }
}

struct Joined(Command);

impl AsFd for Joined {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl ContainerCommand for Joined {
    fn join(&mut self, streams: Option<[OwnedFd; 3]>) -> Result<(), String> {
        self.0.join(streams).map_err(text)
    }

    fn next(&mut self) -> Result<ExecEvent, String> {
        Ok(match self.0.happened().map_err(text)? {
            Happened::Started(terminal) => ExecEvent::Started(terminal),
            Happened::Ended { code, note } => ExecEvent::Ended { code, note },
        })
    }
}

fn text(error: impl Display) -> String {
    error.to_string()
}
