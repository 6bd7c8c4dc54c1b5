//! `lab down`: asks the supervisor to take everything down; if it does not answer, ends it.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::client::Client;
use crate::error::{Context, LabError};
use crate::state::{LabRecord, Life, StateDir};
use crate::topology::LabName;
use crate::waiting::eventually;

/// How long a supervisor that said that everything is down may take to end.
const END: Duration = Duration::from_secs(10);
/// How long one that does not answer may take: it may be about to end by itself.
const NO_ANSWER: Duration = Duration::from_secs(1);

/// Takes the lab down and says what was done. A lab that is not there is down.
pub(super) fn run(name: &LabName) -> Result<String, LabError> {
    let state = StateDir::of(name);
    if !state.exists() {
        return Ok(format!("there is no lab \"{name}\""));
    }
    let (life, record) = (state.life(), state.record());
    let asked = if state.is_alive() {
        ask(&state)
    } else {
        Ok(())
    };
    let patience = if matches!(asked, Err(LabError::NoAnswer { .. })) {
        NO_ANSWER
    } else {
        END
    };
    let killed = end(life.as_ref(), record.as_ref(), patience, &state)?;
    state.remove()?;
    Ok(match asked {
        _ if killed => {
            format!(
                "lab \"{name}\" is down; its supervisor did not answer (it hung, or was still \
                 bringing the lab up) and was killed"
            )
        }
        // One that does not answer may have been about to end.
        Ok(()) | Err(LabError::NoAnswer { .. }) => format!("lab \"{name}\" is down"),
        Err(e) => format!("lab \"{name}\" is down, though not everything went well: {e}"),
    })
}

/// Asks for an orderly end, which may take long, of a supervisor that answers at all.
fn ask(state: &StateDir) -> Result<(), LabError> {
    let client = Client::of(state.name())?;
    client.status()?;
    client.shutdown()
}

/// Waits for the supervisor's end, and brings it about if it does not come by itself; tells whether
/// that was needed.
fn end(
    life: Option<&Life>,
    record: Option<&LabRecord>,
    patience: Duration,
    state: &StateDir,
) -> Result<bool, LabError> {
    let is_over = || !life.is_some_and(Life::goes_on) && !record.is_some_and(LabRecord::is_running);
    if eventually(patience, is_over) {
        return Ok(false);
    }
    if let Some(record) = record.filter(|record| record.is_running()) {
        let pid = Pid::from_raw(i32::try_from(record.pid).unwrap_or(i32::MAX));
        kill(pid, Signal::SIGKILL).during("kill", || format!("process {pid}"))?;
    }
    match eventually(END, is_over) {
        true => Ok(true),
        false => Err(LabError::Late {
            what: "the end of the supervisor".to_owned(),
            seconds: END.as_secs(),
            hint: format!(
                "; whoever holds {} must be ended by hand",
                state.path().join("lock").display()
            ),
        }),
    }
}
