//! Numbered fault points: places where a test makes the process die, as a power cut would.
//!
//! Armed only by the environment (`SEAWAY_FAULT_POINT=<number>`), read once at start. A point that
//! is not armed costs one relaxed load. The numbers are stable: tests walk through all of them.

use std::sync::atomic::{AtomicU8, Ordering};

use nix::sys::signal::{Signal, raise};

/// The variable that arms a fault point.
pub const VARIABLE: &str = "SEAWAY_FAULT_POINT";

static ARMED: AtomicU8 = AtomicU8::new(0);

macro_rules! points {
    ($($(#[$doc:meta])* $name:ident = $number:literal),* $(,)?) => {
        /// Where the process can be made to die.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum FaultPoint {
            $($(#[$doc])* $name = $number,)*
        }

        impl FaultPoint {
            /// All points in the order of their numbers.
            pub const ALL: &[FaultPoint] = &[$(FaultPoint::$name,)*];
        }
    };
}

points! {
    /// ADD has been read, nothing is done.
    AddReceived = 1,
    /// ADD has reserved addresses in memory.
    AddReserved = 2,
    /// ADD has made the link with alias and host routes.
    AddLinkMade = 3,
    /// ADD has set the settings of the host side.
    AddHostSet = 4,
    /// ADD has configured the Pod's side.
    AddPodSet = 5,
    /// ADD has written its record.
    AddRecorded = 6,
    /// ADD is complete, the answer is not sent.
    AddAnswering = 7,
    /// DEL has been read, nothing is done.
    DelReceived = 8,
    /// DEL has withdrawn the rows from the plan.
    DelWithdrawn = 9,
    /// DEL has moved the link to the dying group.
    DelDying = 10,
    /// DEL has removed its record, the answer is not sent.
    DelAnswering = 11,
    /// The reaper is about to delete the dying group.
    ReapBefore = 12,
    /// The reaper has deleted the dying group.
    ReapAfter = 13,
}

/// Arms the point that the environment names, if it names one.
pub fn arm_from_environment() {
    let number = std::env::var(VARIABLE)
        .ok()
        .and_then(|text| text.parse().ok());
    ARMED.store(number.unwrap_or(0), Ordering::Relaxed);
}

/// Dies here, at once and without any clean-up, if this point is armed.
pub fn reach(point: FaultPoint) {
    if ARMED.load(Ordering::Relaxed) == point as u8 {
        // The error is of no use to a process that is about to be gone.
        let _ = raise(Signal::SIGKILL);
    }
}
