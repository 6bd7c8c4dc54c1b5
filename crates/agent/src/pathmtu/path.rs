//! The way to one node in one family: what is known of the size of packets that get there, and the
//! search for it.
//!
//! A check asks whether packets as large as the uplink takes get there. If they are blocked, the
//! largest size that passes is searched by halves, and before that is believed the whole size is
//! asked once more. A path that was lowered is checked for getting better and for getting worse.

use std::net::IpAddr;
use std::time::Duration;

use seaway_model::{Family, NodeName};

use super::Pace;
use super::trial::{Trial, Turn, Verdict};

/// What the last check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// No check is over yet.
    None,
    /// All packets that the uplink takes get there.
    Whole,
    /// The largest packet that gets there, in bytes.
    Lowered(u32),
}

/// The way to a node in one family.
#[derive(Clone, Debug)]
pub(super) struct Path {
    pub(super) peer: NodeName,
    pub(super) target: IpAddr,
    pub(super) finding: Finding,
    /// Whether the last check was not answered.
    pub(super) silent: bool,
    phase: Option<Phase>,
}

/// What is asked at present, and what for.
#[derive(Clone, Debug)]
struct Phase {
    question: Question,
    trial: Trial,
}

#[derive(Clone, Copy, Debug)]
enum Question {
    /// Does the whole size pass?
    Whole,
    /// Does the size that was found still pass?
    Still(u32),
    /// Does more than the size that was found pass?
    More(u32),
    /// Where between these does it end? The first passes, or is the least that there can be; the
    /// last is blocked.
    Between(u32, u32),
    /// Is the whole size still blocked, now that this was found?
    Sure(u32),
}

/// What to do next about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Send another packet after this long.
    Ask(Duration),
    /// The check is over.
    Rest,
}

/// The size that every path must carry (RFC 791, RFC 8200): nothing smaller is ever believed.
pub(super) fn floor(family: Family) -> u32 {
    match family {
        Family::V4 => 576,
        Family::V6 => 1280,
    }
}

impl Path {
    pub(super) fn new(peer: NodeName, target: IpAddr) -> Path {
        Path {
            peer,
            target,
            finding: Finding::None,
            silent: false,
            phase: None,
        }
    }

    pub(super) fn family(&self) -> Family {
        Family::of(self.target)
    }

    /// The largest packet that gets there, if it is smaller than the uplink's.
    pub(super) fn lowered(&self) -> Option<u32> {
        match self.finding {
            Finding::Lowered(size) => Some(size),
            Finding::None | Finding::Whole => None,
        }
    }

    /// Gives a check up, because what it was about changed.
    pub(super) fn abandon(&mut self) {
        self.phase = None;
    }

    /// The size of the packet to send now; begins a check if none is going on.
    pub(super) fn next_size(&mut self, whole: u32, pace: &Pace) -> u32 {
        let phase = match self.phase.take() {
            Some(phase) => phase,
            None => self.ask(Question::Whole, whole, pace),
        };
        let size = phase.trial.next_size();
        self.phase = Some(phase);
        size
    }

    /// A packet of the present question was answered.
    pub(super) fn answered(&mut self, size: u32, whole: u32, pace: &Pace) -> Option<Next> {
        let turn = self.phase.as_mut()?.trial.answered(size)?;
        Some(self.follow(turn, whole, pace))
    }

    /// The packet that was sent last was not answered in time.
    pub(super) fn lost(&mut self, whole: u32, pace: &Pace) -> Next {
        match &mut self.phase {
            Some(phase) => {
                let turn = phase.trial.lost();
                self.follow(turn, whole, pace)
            }
            None => Next::Rest,
        }
    }

    fn follow(&mut self, turn: Turn, whole: u32, pace: &Pace) -> Next {
        let verdict = match turn {
            Turn::Again(after) => return Next::Ask(after),
            Turn::Done(verdict) => verdict,
        };
        let Some(Phase { question, .. }) = self.phase.take() else {
            return Next::Rest;
        };
        self.silent = verdict == Verdict::Unknown;
        match self.conclude(question, verdict, whole) {
            Some(question) => {
                self.phase = Some(self.ask(question, whole, pace));
                Next::Ask(Duration::ZERO)
            }
            None => Next::Rest,
        }
    }

    /// Takes the answer to a question in and gives the next one.
    fn conclude(&mut self, question: Question, verdict: Verdict, whole: u32) -> Option<Question> {
        use Question::{Between, More, Still, Sure, Whole};
        use Verdict::{Blocked, Passes, Unknown};
        let floor = floor(self.family());
        match (question, verdict) {
            (_, Unknown) => None,
            (Whole | Sure(_), Passes) => {
                self.finding = Finding::Whole;
                None
            }
            (Whole, Blocked) => Some(match self.lowered() {
                Some(known) => Still(known),
                None => between(floor, whole),
            }),
            (Still(known), Passes) if known + 1 < whole => Some(More(known + 1)),
            (Still(_), Passes) | (More(_), Blocked) => None,
            (Still(known), Blocked) => Some(between(floor, known)),
            (More(size), Passes) => Some(between(size, whole)),
            (Between(low, high), verdict) => {
                let middle = middle(low, high);
                Some(match verdict {
                    Passes => between(middle, high),
                    _ => between(low, middle),
                })
            }
            (Sure(found), Blocked) => {
                self.finding = Finding::Lowered(found);
                None
            }
        }
    }

    fn ask(&self, question: Question, whole: u32, pace: &Pace) -> Phase {
        let size = match question {
            Question::Whole | Question::Sure(_) => whole,
            Question::Still(size) | Question::More(size) => size,
            Question::Between(low, high) => middle(low, high),
        };
        // Whatever lowers a path has to be certain; what is too low is raised by the next check.
        let care = match question {
            Question::Whole if self.lowered().is_some() => pace.quick,
            Question::Whole | Question::Still(_) | Question::Sure(_) => pace.thorough,
            Question::More(_) | Question::Between(..) => pace.quick,
        };
        let small = seaway_kernel::echo::smallest(self.family());
        Phase {
            question,
            trial: Trial::new(size, small, care),
        }
    }
}

fn middle(low: u32, high: u32) -> u32 {
    u32::midpoint(low, high)
}

/// The search between two sizes, or its end when nothing is left between them.
fn between(low: u32, high: u32) -> Question {
    if low + 1 >= high {
        Question::Sure(low)
    } else {
        Question::Between(low, high)
    }
}
