//! `seaway bundle`: an archive for those who help, without anything that is to be kept secret.
//!
//! What is taken is listed, field by field ([`kinds`]); [`redact`] is a second net. What cannot be read
//! is told in the archive and fails nothing. One file at a time is held in memory.

mod archive;
mod cluster;
mod kinds;
mod node;
mod pick;
mod redact;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use k8s_openapi::jiff::Timestamp;
use seaway_api::heartbeat::NAMESPACE;
use seaway_api::{Timing, client_with};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use self::archive::Archive;
use self::cluster::{Cluster, FILE_LIMIT};
use self::report::{Left, Report};
use crate::check::{end_of_line, tell};
use crate::inspect::{Format, InspectArgs};
use crate::reach::UserReachArgs;
use crate::told::told;

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What is kept free for the words about all the rest.
const README_ROOM: u64 = 1 << 20;

/// What to take, and where to.
#[derive(Args)]
pub(crate) struct BundleArgs {
    #[command(flatten)]
    reach: UserReachArgs,
    #[command(flatten)]
    inspect: InspectArgs,
    /// The archive, or - for standard output [default: seaway-bundle-TIME.tar.gz in this folder].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Only what the agent of this node says, and nothing from the API. Where an agent's socket is, it
    /// is asked anyway.
    #[arg(long)]
    node: bool,
    /// How many lines of each log of Seaway's own Pods, and no more than 4 MiB; 0 for none.
    #[arg(long, default_value_t = 5000, value_name = "NUMBER")]
    log_lines: u32,
    /// How large everything may be before it is compressed, in MiB.
    #[arg(long, default_value_t = 256, value_name = "MIB", value_parser = clap::value_parser!(u64).range(2..=65_536))]
    max_size: u64,
    /// The namespace of Seaway's own objects.
    #[arg(long, env = "SEAWAY_NAMESPACE", default_value = NAMESPACE)]
    namespace: String,
}

/// An archive on its way, and what is not in it.
struct Bundle {
    archive: Archive,
    left: Vec<Left>,
}

impl Bundle {
    fn tell(&self, what: &str) {
        tell(&format!("taking {what}"));
    }

    /// How many bytes a file may still have.
    fn room(&self) -> usize {
        let room = self.archive.room().saturating_sub(README_ROOM);
        usize::try_from(room).unwrap_or(usize::MAX)
    }

    fn leave(&mut self, what: &str, why: &str) {
        self.left.push(Left {
            what: what.to_owned(),
            why: redact::text(why).into_owned(),
        });
    }

    /// Adds what is free of secrets, if it fits.
    fn add(&mut self, file: &str, about: &str, items: usize, content: &[u8]) -> anyhow::Result<()> {
        if content.len() > self.room() {
            self.leave(file, "no room is left");
            return Ok(());
        }
        self.archive.add(file, about, items, content)
    }

    fn add_json(&mut self, file: &str, about: &str, mut value: Value) -> anyhow::Result<()> {
        redact::value(&mut value);
        let text = serde_json::to_string_pretty(&value)?;
        if text.len() > FILE_LIMIT {
            self.leave(file, &format!("{} bytes are too many", text.len()));
            return Ok(());
        }
        self.add(file, about, 1, text.as_bytes())
    }

    fn add_text(&mut self, file: &str, about: &str, text: &str) -> anyhow::Result<()> {
        let text = redact::text(text);
        self.add(file, about, text.lines().count(), text.as_bytes())
    }
}

pub(crate) fn run(args: &BundleArgs) -> anyhow::Result<ExitCode> {
    let now = Timestamp::now();
    let out = args.out.clone().unwrap_or_else(|| {
        let time = now.strftime("%Y%m%d-%H%M%S");
        PathBuf::from(format!("seaway-bundle-{time}.tar.gz"))
    });
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let mut bundle = Bundle {
        archive: Archive::create(&out, args.max_size << 20, seconds)?,
        left: Vec::new(),
    };
    let collected = collect(args, &now, &mut bundle);
    end_of_line();
    collected?;
    let readme = report::readme(VERSION, &bundle.archive.entries, &bundle.left);
    let Bundle { mut archive, left } = bundle;
    archive.add("README.txt", "this list", 1, readme.as_bytes())?;
    let (entries, is_stream) = (archive.entries.clone(), archive.is_stream());
    let report = Report {
        file: &out,
        bytes: archive.finish()?,
        entries: &entries,
        left: &left,
    };
    let text = match args.inspect.output {
        Format::Json => serde_json::to_string(&report)?,
        Format::Table => report.text(),
    };
    match is_stream {
        true => eprintln!("{text}"),
        false => println!("{text}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn collect(args: &BundleArgs, now: &Timestamp, bundle: &mut Bundle) -> anyhow::Result<()> {
    if args.node || args.inspect.has_socket() {
        node::collect(&args.inspect, bundle)?;
    } else {
        bundle.leave("node", "there is no agent's socket on this machine");
    }
    match args.node {
        true => bundle.leave("cluster", "not asked for"),
        false => from_cluster(args, bundle)?,
    }
    if bundle.archive.entries.is_empty() {
        let why = bundle
            .left
            .iter()
            .map(|left| format!("{}: {}", left.what, left.why));
        bail!(
            "there is nothing to take: {}",
            why.collect::<Vec<_>>().join("; ")
        );
    }
    let made = json!({"seaway": VERSION, "time": now.to_string(), "namespace": args.namespace});
    bundle.add_json("bundle.json", "which program made this, and when", made)
}

/// Takes what the API gives; an interrupt ends it, and the archive is gone.
fn from_cluster(args: &BundleArgs, bundle: &mut Bundle) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the async runtime")?;
    runtime.block_on(async {
        let client = match args.reach.access() {
            Ok(access) => client_with(&access, &Timing::default()).map_err(anyhow::Error::new),
            Err(error) => Err(error),
        };
        let client = match client {
            Ok(client) => client,
            Err(error) => {
                bundle.leave("cluster", &told(&error));
                return Ok(());
            }
        };
        let cluster = Cluster {
            client,
            namespace: &args.namespace,
            log_lines: args.log_lines,
        };
        let mut ended = signal(SignalKind::terminate()).context("wait for signals")?;
        tokio::select! {
            collected = cluster.collect(bundle) => collected,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            _ = ended.recv() => bail!("interrupted"),
        }
    })
}
