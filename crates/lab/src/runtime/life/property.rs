//! Whatever happens in whatever order: containers run in a sandbox only, init containers come
//! first, a Pod that has ended stays so, and every ending comes to an end.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::runtime::plan::Plan;

/// The world around a Pod: what has been ordered and not answered yet.
struct World {
    life: Life,
    now: Time,
    open: Vec<Action>,
    running: BTreeSet<(usize, u32)>,
    sandbox: bool,
    inits_done: BTreeSet<usize>,
    forgotten: bool,
    was_terminal: bool,
}

fn plan(restart: &str) -> Plan {
    let probe = json!({"tcpSocket": {"port": 1}, "periodSeconds": 2, "failureThreshold": 1});
    let hook = json!({"exec": {"command": ["x"]}});
    let pod = json!({"metadata": {"name": "p"}, "spec": {"restartPolicy": restart,
        "terminationGracePeriodSeconds": 3,
        "initContainers": [{"name": "a"}, {"name": "s", "restartPolicy": "Always"}, {"name": "b"}],
        "containers": [{"name": "c", "livenessProbe": probe, "readinessProbe": probe},
                       {"name": "d", "startupProbe": probe, "lifecycle": {"preStop": hook}}]}});
    Plan::of(&serde_json::from_value(pod).expect("a Pod"))
}

impl World {
    fn new(restart: &str) -> World {
        let now = Time::from_second(1_000).expect("a time");
        let life = Life::new(plan(restart), BackOff::LAB, false, now);
        let mut world = World {
            life,
            now,
            open: Vec::new(),
            running: BTreeSet::new(),
            sandbox: false,
            inits_done: BTreeSet::new(),
            forgotten: false,
            was_terminal: false,
        };
        world.advance();
        world
    }

    fn advance(&mut self) {
        let actions = self.life.advance(self.now);
        self.obey(actions);
    }

    fn tell(&mut self, input: Input) {
        let actions = self.life.step(input, self.now);
        self.obey(actions);
    }

    fn obey(&mut self, actions: Vec<Action>) {
        for action in actions {
            assert!(!self.forgotten, "{action:?} after all is forgotten");
            self.check(&action);
            match action {
                Action::Note(_) => {}
                Action::Forget => self.forgotten = true,
                Action::Ask { .. } | Action::Kill { .. } => self.open.push(action),
                other => self.open.push(other),
            }
        }
        let terminal = matches!(self.life.phase_name().as_str(), "Succeeded" | "Failed");
        self.was_terminal |= terminal;
        assert_eq!(self.was_terminal, terminal, "a Pod came back to life");
    }

    fn check(&mut self, action: &Action) {
        let starting = |open: &[Action]| open.iter().any(|a| matches!(a, Action::Start { .. }));
        match action {
            Action::Start { member, run } => {
                assert!(self.sandbox, "a container without a sandbox");
                assert!(!self.was_terminal, "a container in a Pod that has ended");
                let same = |(m, _): &(usize, u32)| m == member;
                assert!(
                    !self.running.iter().any(same),
                    "{member} runs twice ({run})"
                );
                let before: &[usize] = match member {
                    0 | 1 => &[],
                    2 => &[0],
                    _ => &[0, 2],
                };
                let ready = before
                    .iter()
                    .all(|m| *m == 1 || self.inits_done.contains(m));
                assert!(ready, "{member} before its init containers");
            }
            Action::CreateSandbox => {
                assert!(!self.sandbox && !self.was_terminal);
                self.inits_done.clear();
            }
            Action::RemoveSandbox | Action::Forget => {
                assert!(
                    self.running.is_empty() && !starting(&self.open),
                    "{action:?} too early"
                );
            }
            _ => {}
        }
    }

    /// Answers one open order.
    fn answer(&mut self, which: usize, well: bool) {
        if self.open.is_empty() {
            return;
        }
        let action = self.open.remove(which % self.open.len());
        let failure = || Failure {
            waiting: None,
            message: "no".to_owned(),
        };
        let result = if well { Ok(()) } else { Err("no".to_owned()) };
        match action {
            Action::Prepare => self.tell(Input::Prepared(result.map_err(|_| failure()))),
            Action::CreateSandbox => {
                self.sandbox = well;
                self.tell(Input::SandboxUp(if well {
                    Ok(Vec::new())
                } else {
                    Err(failure())
                }));
            }
            Action::RemoveSandbox => {
                self.sandbox &= !well;
                self.tell(Input::SandboxRemoved(result.map_err(|_| failure())));
            }
            Action::Start { member, run } => {
                if well {
                    self.running.insert((member, run));
                }
                let failed = StartFailure::Broken {
                    message: "no".to_owned(),
                };
                let result = if well {
                    Ok("id".to_owned())
                } else {
                    Err(failed)
                };
                self.tell(Input::Started {
                    member,
                    run,
                    result,
                });
            }
            Action::Ask { member, run } if well => self.exit(member, run, 0),
            Action::Ask { .. } => {}
            Action::Kill { member, run } => self.exit(member, run, 137),
            Action::Hook { member, run, hook } => {
                self.tell(Input::Hooked {
                    member,
                    run,
                    hook,
                    result,
                });
            }
            Action::Probe { member, run, kind } => {
                self.tell(Input::Probed {
                    member,
                    run,
                    kind,
                    result,
                });
            }
            Action::Note(_) | Action::Forget => {}
        }
    }

    fn exit(&mut self, member: usize, run: u32, code: i32) {
        if !self.running.remove(&(member, run)) {
            return;
        }
        if member < 3 && code == 0 {
            self.inits_done.insert(member);
        }
        let outcome = Outcome {
            code,
            message: None,
        };
        self.tell(Input::Exited {
            member,
            run,
            outcome,
        });
    }

    fn do_one(&mut self, (what, which, well): (u8, usize, bool)) {
        match what {
            0..=5 => self.answer(which, well),
            6 => {
                if let Some((member, run)) = self.running.iter().nth(which % 4).copied() {
                    self.exit(member, run, i32::from(!well));
                }
            }
            7 => {
                self.now += Duration::from_millis(500 * (which as u64 % 20));
                self.advance();
            }
            8 if self.sandbox => self.tell(Input::SandboxDied),
            9 if which % 20 == 0 => self.tell(Input::End(Duration::from_secs(which as u64 % 7))),
            _ => self.tell(Input::Nudged),
        }
    }

    /// Lets everything go well from here on, until nothing is left.
    fn run_out(&mut self) {
        self.tell(Input::End(Duration::from_secs(3)));
        for _ in 0..500 {
            if self.forgotten {
                break;
            }
            if self.open.is_empty() {
                let next = self.life.deadline().expect("something to wait for");
                self.now = self.now.max(next);
                self.advance();
            } else {
                self.answer(0, true);
            }
        }
        assert!(self.forgotten, "the Pod does not end: {:?}", self.life);
        assert!(
            self.running.is_empty() && !self.sandbox,
            "something is left"
        );
    }
}

proptest! {
    #[test]
    fn every_order_of_events_is_survived(
        restart in prop::sample::select(vec!["Always", "OnFailure", "Never"]),
        events in prop::collection::vec((0u8..10, 0usize..100, any::<bool>()), 0..120),
    ) {
        let mut world = World::new(restart);
        for event in events {
            if !world.forgotten {
                world.do_one(event);
            }
        }
        if !world.forgotten {
            world.run_out();
        }
    }
}
