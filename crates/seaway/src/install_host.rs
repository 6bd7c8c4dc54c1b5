//! `seaway install --host`: the plugin and its configuration, put onto this node.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Args;
use clap::builder::FalseyValueParser;
use seaway_cni::install::{Change, Conflist, Found, PLUGIN, Places, Wanted, install, look};
use seaway_cni::spec::CniVersion;
use seaway_deploy::POLICY_NOTE;
use serde_json::json;

use crate::inspect::Format;
use crate::table::{self, Tone};

/// What to put onto this node.
#[derive(Args)]
pub(crate) struct InstallHostArgs {
    /// Install on this node, instead of printing a manifest.
    #[arg(long, conflicts_with_all = ["values", "set"])]
    pub(crate) host: bool,
    #[command(flatten)]
    folders: FolderArgs,
    /// Only the plugin; the agent installs the configuration when it can attach Pods
    /// (`seaway agent --cni-conf-dir`).
    #[arg(long, requires = "host")]
    plugin_only: bool,
    /// Put the configurations of other networks aside; `seaway uninstall --host` gives them back.
    #[arg(long, env = "SEAWAY_REPLACE_OTHERS", value_parser = FalseyValueParser::new())]
    replace_others: bool,
    /// Where the agent listens.
    #[arg(long, requires = "host", default_value = seaway_cni::DEFAULT_SOCKET)]
    agent_socket: PathBuf,
    /// Speak this version of CNI with every runtime, instead of the newest that it knows.
    #[arg(long, requires = "host", value_name = "VERSION")]
    cni_version: Option<CniVersion>,
    /// The plugin to install [default: `seaway-cni` beside this program].
    #[arg(long, requires = "host", value_name = "FILE")]
    from: Option<PathBuf>,
    /// How to print.
    #[arg(short, long, requires = "host", value_enum, default_value = "table")]
    output: Format,
}

/// The folders of this node's container runtime.
#[derive(Args)]
pub(crate) struct FolderArgs {
    /// Where the container runtime looks for CNI plugins.
    #[arg(
        long,
        value_name = "DIR",
        env = "SEAWAY_CNI_BIN_DIR",
        default_value = "/opt/cni/bin"
    )]
    cni_bin_dir: PathBuf,
    /// Where it looks for CNI configurations.
    #[arg(
        long,
        value_name = "DIR",
        env = "SEAWAY_CNI_CONF_DIR",
        default_value = "/etc/cni/net.d"
    )]
    cni_conf_dir: PathBuf,
}

impl FolderArgs {
    pub(crate) fn places(&self) -> Places {
        Places {
            bin_dir: Some(self.cni_bin_dir.clone()),
            conf_dir: self.cni_conf_dir.clone(),
        }
    }
}

impl InstallHostArgs {
    fn wanted(&self) -> anyhow::Result<Wanted> {
        let from = match &self.from {
            Some(from) => from.clone(),
            None => beside()?,
        };
        let plugin = std::fs::read(&from).with_context(|| format!("read {}", from.display()))?;
        ensure!(
            plugin.starts_with(b"\x7fELF"),
            "{} is not a program: name seaway-cni with --from",
            from.display()
        );
        let conflist = Conflist {
            version: self.cni_version,
            socket: elsewhere(&self.agent_socket),
        };
        Ok(Wanted {
            plugin: Some(plugin),
            conflist: (!self.plugin_only).then(|| conflist.text()),
            replace_others: self.replace_others,
        })
    }
}

/// The plugin that came with this program.
fn beside() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("find this program")?;
    let plugin = own.with_file_name(PLUGIN);
    ensure!(
        plugin.is_file(),
        "{} is not there: name the plugin with --from",
        plugin.display()
    );
    Ok(plugin)
}

/// A socket that the plugin has to be told of.
fn elsewhere(socket: &Path) -> Option<PathBuf> {
    (socket != Path::new(seaway_cni::DEFAULT_SOCKET)).then(|| socket.to_owned())
}

pub(crate) fn run(args: &InstallHostArgs) -> anyhow::Result<ExitCode> {
    let places = args.folders.places();
    let changes = install(&places, &args.wanted()?)?;
    let found = look(&places)?;
    match args.output {
        Format::Json => {
            let taken = found.taken();
            println!(
                "{}",
                json!({"changes": changes, "others": found.others, "taken": taken})
            );
        }
        Format::Table => print(&found, &changes, args.plugin_only),
    }
    eprintln!("\n!!! {}\n", POLICY_NOTE.replace('\n', "\n!!! "));
    Ok(ExitCode::SUCCESS)
}

/// Changes of files, one a line.
pub(crate) fn print_changes(changes: &[Change]) {
    let line = |change: &Change| {
        let to = change.to.as_ref().map(|to| format!("to {}", to.display()));
        vec![
            change.what.to_owned(),
            change.path.display().to_string(),
            to.unwrap_or_default(),
        ]
    };
    let rows = changes.iter().map(|change| (line(change), Tone::Plain));
    println!("{}", table::rows(&["WHAT", "FILE", ""], rows));
}

fn print(found: &Found, changes: &[Change], plugin_only: bool) {
    match changes {
        [] => println!("All is as it is to be."),
        changes => print_changes(changes),
    }
    for other in &found.others {
        let line = match other.first {
            true => format!(
                "The runtime looks at it before Seaway's: {}",
                other.describe()
            ),
            false => format!("Another network, behind Seaway's: {}", other.describe()),
        };
        let tone = if other.first { Tone::Bad } else { Tone::Warn };
        println!("{}", table::paint(&line, tone));
    }
    if found.others.iter().any(|other| other.first) {
        println!(
            "--replace-others puts other networks aside; `seaway uninstall --host` gives them back."
        );
    }
    match found.taken() {
        Some(taken) => println!("The runtime takes {}.", taken.display()),
        None if plugin_only => {
            println!("The agent installs the configuration when it can attach Pods.");
        }
        None => {}
    }
}
