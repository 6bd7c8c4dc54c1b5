//! A client that does what a file says, order after order, and tells what came of it on standard
//! output: for whoever has no way into a Pod but the API, which can change a volume and read a log.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use clap::Args;
use seaway_kernel::netlink::{LinkTarget, Netlink};
use serde::{Deserialize, Serialize};

use super::Output;
use super::ending::end_when_asked;
use super::load::{self, LoadArgs, LoadKind, LoadReport};
use super::probe::{self, ProbeArgs, ProbeJob, ProbeKind, ProbeOutcome};
use super::until::Stop;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Time from one request of a load to the next.
const INTERVAL_MS: u64 = 20;
/// What a runtime calls a Pod's interface.
const INTERFACE: &str = "eth0";

/// Where orders come from.
#[derive(Clone, Debug, Args)]
pub struct FollowArgs {
    /// The file that holds the present order; it may be empty or not be there yet.
    #[arg(long, value_name = "FILE")]
    pub orders: PathBuf,
    /// The file that has a server with the same --end-file end, if an order says so.
    #[arg(long, value_name = "FILE")]
    pub end_file: Option<PathBuf>,
    /// How many probes run at once.
    #[arg(long, default_value_t = 4)]
    pub parallel: usize,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Another one than before, or it is the same order.
    pub number: u64,
    /// Probes to run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<ProbeJob>,
    /// Whom to ask again and again from now on, over TCP or UDP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loads: Vec<ProbeJob>,
    /// Whether these are to end now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub end_loads: bool,
    /// Whether the server beside is to end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub end_server: bool,
}

/// A line of what it tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// It has begun, where packets may be as large as this.
    Here {
        /// The MTU of the Pod's interface, if it has one of its own.
        mtu: Option<u32>,
    },
    /// What came of a probe.
    Outcome {
        /// The order's number.
        order: u64,
        /// What came of it.
        outcome: ProbeOutcome,
    },
    /// What came of a load.
    Load {
        /// The order that ended it.
        order: u64,
        /// The number in the order that began it.
        id: u64,
        /// What came of it.
        report: LoadReport,
    },
    /// The order is done.
    Done {
        /// The order's number.
        order: u64,
        /// What could not be done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
}

/// Follows orders until it is asked to end.
pub(super) fn run(args: &FollowArgs) -> io::Result<()> {
    end_when_asked(Duration::ZERO);
    tell(&Told::Here { mtu: mtu() })?;
    let mut follower = Follower {
        args,
        loads: BTreeMap::new(),
    };
    let mut last = None;
    loop {
        if let Some(order) = present(args)
            && last != Some(order.number)
        {
            last = Some(order.number);
            let error = follower.carry_out(&order)?;
            let order = order.number;
            tell(&Told::Done { order, error })?;
        }
        thread::sleep(LOOK);
    }
}

/// The order in the file. It is replaced as a whole, so what is not one is none yet.
fn present(args: &FollowArgs) -> Option<Order> {
    let text = fs::read(&args.orders).ok()?;
    serde_json::from_slice(&text).ok()
}

fn mtu() -> Option<u32> {
    let link = Netlink::open().ok()?.link(LinkTarget::Name(INTERFACE));
    Some(link.ok()??.mtu)
}

fn tell(what: &Told) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    let mut output = io::stdout().lock();
    output.write_all(&line)?;
    output.flush()
}

struct Follower<'a> {
    args: &'a FollowArgs,
    loads: BTreeMap<u64, Load>,
}

struct Load {
    stop: Stop,
    client: JoinHandle<io::Result<LoadReport>>,
}

impl Follower<'_> {
    /// Gives what could not be done.
    fn carry_out(&mut self, order: &Order) -> io::Result<Option<String>> {
        let number = order.number;
        if order.end_loads {
            for (id, load) in std::mem::take(&mut self.loads) {
                let report = load.end();
                let order = number;
                tell(&Told::Load { order, id, report })?;
            }
        }
        for job in &order.loads {
            self.loads.insert(job.id, Load::begin(job));
        }
        self.probe(order)?;
        match (order.end_server, &self.args.end_file) {
            (false, _) => Ok(None),
            (true, None) => Ok(Some("there is no --end-file".to_owned())),
            (true, Some(path)) => Ok(fs::write(path, "")
                .err()
                .map(|e| format!("write {}: {e}", path.display()))),
        }
    }

    fn probe(&self, order: &Order) -> io::Result<()> {
        let args = ProbeArgs {
            parallel: self.args.parallel,
        };
        let number = order.number;
        let jobs = Mutex::new(order.probes.iter());
        probe::run_jobs(&args, &jobs, |outcome| {
            let order = number;
            tell(&Told::Outcome { order, outcome })
        })
    }
}

impl Load {
    fn begin(job: &ProbeJob) -> Load {
        let args = LoadArgs {
            target: job.target.to_string(),
            kind: match job.kind {
                ProbeKind::Udp => LoadKind::Udp,
                _ => LoadKind::Tcp,
            },
            count: 0,
            forever: true,
            until_stdin_closes: false,
            interval_ms: INTERVAL_MS,
            timeout_ms: job.timeout_ms,
            parallel: 1,
            report_ms: None,
            output: Output::Json,
        };
        let stop = Stop::default();
        let told = stop.clone();
        let client = thread::spawn(move || load::run_until(&args, &told));
        Load { stop, client }
    }

    fn end(self) -> LoadReport {
        self.stop.raise();
        match self.client.join() {
            Ok(Ok(report)) => report,
            Ok(Err(e)) => broken(&e.to_string()),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn broken(error: &str) -> LoadReport {
    LoadReport {
        failed: 1,
        errors: BTreeMap::from([(error.to_owned(), 1)]),
        ..LoadReport::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::greeting::host_name;
    use super::super::serve::in_background;
    use super::*;

    #[test]
    fn an_order_is_small_and_reads_back() {
        let order = Order {
            number: 3,
            ..Order::default()
        };
        let text = serde_json::to_string(&order).expect("JSON");
        assert_eq!(text, r#"{"number":3}"#);
        let back: Order = serde_json::from_str(&text).expect("an order");
        assert_eq!(back, order);
    }

    #[test]
    fn a_load_goes_on_until_it_is_ended() {
        let (_, echo) = in_background();
        let target = format!("127.0.0.1:{echo}").parse().expect("valid");
        for kind in [ProbeKind::Tcp, ProbeKind::Udp] {
            let load = Load::begin(&ProbeJob::new(1, kind, target));
            seaway_testkit::eventually("it asks", Duration::from_secs(10), || {
                thread::sleep(Duration::from_millis(100));
                match load.client.is_finished() {
                    false => Ok(()),
                    true => Err("it has ended"),
                }
            });
            let report = load.end();
            assert!(report.answered > 0 && report.failed == 0, "{report:?}");
            assert!(report.servers.contains_key(&host_name()));
        }
    }
}
