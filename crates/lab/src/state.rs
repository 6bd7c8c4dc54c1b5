//! The files of a lab, and who may touch them when.
//!
//! ```text
//! /run/seaway-lab/                 0700 root; locked (flock) while a lab's folder comes or goes
//! /run/seaway-lab/NAME/lock        locked by the supervisor as long as it lives (its standard input)
//! /run/seaway-lab/NAME/lab.json    what is needed to end a supervisor that does not answer
//! /run/seaway-lab/NAME/control.sock   the supervisor's socket
//! /run/seaway-lab/NAME/containers.sock   the same, for commands in containers alone
//! /run/seaway-lab/NAME/kubeconfig  for the user's kubectl
//! /run/seaway-lab/NAME/credentials/   what the lab's own programs show to the API server
//! /run/seaway-lab/NAME/pod-logs/   what containers write: NAMESPACE_POD_UID/CONTAINER/RESTARTS.log
//! /run/seaway-lab/NAME/logs/       one file a process: node1-agent.log, pod-1-1-main.log, …
//! ```
//!
//! Whether a lab lives is told by the lock alone: it goes with the process, however that ends. The
//! folder is made by `lab up` and removed by the supervisor's orderly end, else by `lab down`.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::error::{Context, LabError};
use crate::topology::{LabName, Network, Topology};

/// The folder of all labs.
pub(crate) const BASE: &str = "/run/seaway-lab";

/// The folder of one lab.
#[derive(Clone, Debug)]
pub struct StateDir {
    name: LabName,
    base: PathBuf,
}

/// What `lab up` writes down about the supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabRecord {
    /// The lab's name.
    pub name: LabName,
    /// How many nodes it has.
    pub nodes: u16,
    /// How its network is.
    pub network: Network,
    /// The supervisor's process id, as `lab up` sees it.
    pub pid: u32,
    /// When that process started, in clock ticks since boot: tells it from a later one.
    pub start_ticks: u64,
    /// When the lab was made, in seconds since 1970.
    pub created: u64,
}

impl StateDir {
    /// The folder of the lab `name`, which need not exist.
    pub fn of(name: &LabName) -> StateDir {
        StateDir::below(Path::new(BASE), name)
    }

    fn below(base: &Path, name: &LabName) -> StateDir {
        StateDir {
            name: name.clone(),
            base: base.to_owned(),
        }
    }

    /// The lab's name.
    pub fn name(&self) -> &LabName {
        &self.name
    }

    /// The folder itself.
    pub fn path(&self) -> PathBuf {
        self.base.join(self.name.as_str())
    }

    /// The supervisor's socket.
    pub fn control_socket(&self) -> PathBuf {
        self.path().join("control.sock")
    }

    /// The supervisor's socket for those who may run commands in containers and nothing else.
    pub fn containers_socket(&self) -> PathBuf {
        self.path().join("containers.sock")
    }

    /// The user's way to the lab's API server.
    pub fn kubeconfig(&self) -> PathBuf {
        self.path().join("kubeconfig")
    }

    /// What the containers of Pods write, one folder a Pod.
    pub fn pod_logs(&self) -> PathBuf {
        crate::runtime::pod_logs(&self.path())
    }

    /// The log of one process, for example `node1/agent`.
    pub fn log(&self, process: &str) -> PathBuf {
        self.path()
            .join("logs")
            .join(format!("{}.log", process.replace('/', "-")))
    }

    fn lock_file(&self) -> PathBuf {
        self.path().join("lock")
    }

    fn record_file(&self) -> PathBuf {
        self.path().join("lab.json")
    }

    /// Makes the folder and takes its lock, which is to be handed to the supervisor.
    pub fn create(&self) -> Result<File, LabError> {
        let _base = lock_base(&self.base)?;
        match private_dir().create(self.path()) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Err(self.occupied()),
            other => other.on("create", &self.path())?,
        }
        private_dir()
            .create(self.path().join("logs"))
            .on("create", &self.path().join("logs"))?;
        let lock = File::create(self.lock_file()).on("create", &self.lock_file())?;
        lock.lock().on("lock", &self.lock_file())?;
        Ok(lock)
    }

    fn occupied(&self) -> LabError {
        match self.is_alive() {
            true => LabError::Exists(self.name.clone()),
            false => LabError::Dead(self.name.clone()),
        }
    }

    /// Whether there is a folder, of a live lab or of a dead one.
    pub fn exists(&self) -> bool {
        self.path().exists()
    }

    /// Whether a supervisor holds the lock.
    pub fn is_alive(&self) -> bool {
        self.life().is_some_and(|life| life.goes_on())
    }

    /// The lab's lock, to look at even after the folder is gone.
    pub fn life(&self) -> Option<Life> {
        File::open(self.lock_file()).ok().map(Life)
    }

    /// Removes the folder of a dead lab, and the folder of all labs if this was the last.
    pub fn remove(&self) -> Result<(), LabError> {
        let _base = lock_base(&self.base)?;
        if self.is_alive() {
            return Err(LabError::Exists(self.name.clone()));
        }
        self.remove_files()
    }

    /// The same for the supervisor itself, which holds the lock: the last thing that it does.
    pub fn remove_own(&self) -> Result<(), LabError> {
        let _base = lock_base(&self.base)?;
        self.remove_files()
    }

    fn remove_files(&self) -> Result<(), LabError> {
        match fs::remove_dir_all(self.path()) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e).on("remove", &self.path())?,
            _ => {}
        }
        // Other labs may live in it.
        let _ = fs::remove_dir(&self.base);
        Ok(())
    }

    /// Writes down who the supervisor is.
    pub fn write_record(&self, record: &LabRecord) -> Result<(), LabError> {
        let text = serde_json::to_vec_pretty(record).expect("numbers and strings are always JSON");
        replace_file(&self.record_file(), &text)
    }

    /// What was written down, if it was and can be read.
    pub fn record(&self) -> Option<LabRecord> {
        serde_json::from_slice(&fs::read(self.record_file()).ok()?).ok()
    }
}

/// The lock of a lab.
#[derive(Debug)]
pub struct Life(File);

impl Life {
    /// Whether a supervisor holds it.
    pub fn goes_on(&self) -> bool {
        match self.0.try_lock_shared() {
            Err(TryLockError::WouldBlock) => true,
            // Held shared by us now, which nobody may mistake for a supervisor.
            Ok(()) => self.0.unlock().is_err(),
            Err(TryLockError::Error(_)) => false,
        }
    }
}

impl LabRecord {
    /// The record of a supervisor that has just been started.
    pub fn of(name: &LabName, topology: &Topology, pid: u32) -> Result<LabRecord, LabError> {
        let stat = stat(pid).during("read the start time of", || format!("process {pid}"))?;
        Ok(LabRecord {
            name: name.clone(),
            nodes: topology.size(),
            network: topology.network,
            pid,
            start_ticks: stat.start_ticks,
            created: now(),
        })
    }

    /// Whether the process of that number is still the same one.
    pub fn is_running(&self) -> bool {
        stat(self.pid).is_ok_and(|stat| stat.start_ticks == self.start_ticks && stat.state != 'Z')
    }

    /// How long ago the lab was made.
    pub fn age(&self) -> Duration {
        Duration::from_secs(now().saturating_sub(self.created))
    }
}

/// The labs that have a folder, live or dead.
pub(crate) fn all() -> Result<Vec<StateDir>, LabError> {
    all_below(Path::new(BASE))
}

fn all_below(base: &Path) -> Result<Vec<StateDir>, LabError> {
    let entries = match fs::read_dir(base) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.on("read", base)?,
    };
    let names =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()?.parse().ok());
    let mut names: Vec<LabName> = names.collect();
    names.sort();
    Ok(names
        .iter()
        .map(|name| StateDir::below(base, name))
        .collect())
}

/// Replaces a file as a whole: readers see the old text or the new one.
pub(crate) fn replace_file(path: &Path, text: &[u8]) -> Result<(), LabError> {
    let draft = path.with_extension("new");
    fs::write(&draft, text).on("write", &draft)?;
    fs::rename(&draft, path).on("replace", path)
}

fn private_dir() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

/// Makes the folder of all labs if needed and locks it. Whoever removes it holds the lock as well,
/// so a folder that is not the one of that path any more is tried again.
fn lock_base(base: &Path) -> Result<File, LabError> {
    loop {
        match private_dir().create(base) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e).on("create", base)?,
            _ => {}
        }
        let Ok(dir) = File::open(base) else { continue };
        dir.lock().on("lock", base)?;
        let current = fs::metadata(base).map(|m| (m.dev(), m.ino())).ok();
        let ours = dir.metadata().on("look at", base)?;
        if current == Some((ours.dev(), ours.ino())) {
            return Ok(dir);
        }
    }
}

/// What `/proc/PID/stat` tells of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    /// `Z` when it is over but for its parent's notice.
    state: char,
    start_ticks: u64,
}

fn stat(pid: u32) -> io::Result<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_stat(&text).ok_or_else(|| io::Error::other("the kernel's answer is not understood"))
}

/// Fields 3 and 22. The second, the program's name in parentheses, may hold anything.
fn parse_stat(stat: &str) -> Option<Stat> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some(Stat {
        state,
        start_ticks: fields.nth(18)?.parse().ok()?,
    })
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder for one test, removed afterwards.
    struct Base(PathBuf);

    impl Base {
        fn new(test: &str) -> Base {
            let path =
                std::env::temp_dir().join(format!("seaway-lab-{test}-{}", std::process::id()));
            Base(path)
        }

        fn lab(&self, name: &str) -> StateDir {
            StateDir::below(&self.0, &name.parse().expect("valid"))
        }
    }

    impl Drop for Base {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_lab_lives_as_long_as_its_lock_is_held() {
        let base = Base::new("lives");
        let lab = base.lab("one");
        assert!(!lab.is_alive());
        let lock = lab.create().expect("creates");
        assert!(lab.is_alive() && lab.is_alive());
        assert!(matches!(lab.create(), Err(LabError::Exists(_))));
        assert!(matches!(lab.remove(), Err(LabError::Exists(_))));
        drop(lock);
        assert!(!lab.is_alive());
        assert!(matches!(lab.create(), Err(LabError::Dead(_))));
    }

    #[test]
    fn removing_is_idempotent_and_leaves_nothing() {
        let base = Base::new("removing");
        let (one, two) = (base.lab("one"), base.lab("two"));
        drop(one.create().expect("creates"));
        drop(two.create().expect("creates"));
        let names =
            |all: Vec<StateDir>| all.iter().map(|l| l.name().to_string()).collect::<Vec<_>>();
        assert_eq!(names(all_below(&base.0).expect("reads")), ["one", "two"]);
        one.remove().expect("removes");
        one.remove().expect("again");
        assert!(base.0.exists() && !one.exists());
        two.remove().expect("removes");
        assert!(!base.0.exists());
        assert!(all_below(&base.0).expect("reads").is_empty());
    }

    #[test]
    fn the_record_tells_a_process_from_a_later_one_of_its_number() {
        let base = Base::new("record");
        let lab = base.lab("one");
        let _lock = lab.create().expect("creates");
        assert_eq!(lab.record(), None);
        let topology = Topology::new(2, 0, Network::default()).expect("valid");
        let record =
            LabRecord::of(lab.name(), &topology, std::process::id()).expect("this process runs");
        lab.write_record(&record).expect("writes");
        assert_eq!(lab.record().as_ref(), Some(&record));
        assert!(record.is_running());
        assert!(
            !LabRecord {
                start_ticks: record.start_ticks + 1,
                ..record
            }
            .is_running()
        );
    }

    #[test]
    fn start_times_are_read_past_odd_program_names() {
        let fields = (4..30).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        let stat = parse_stat(&format!("7 (a ) b (c)) S {fields}\n"));
        assert_eq!(
            stat,
            Some(Stat {
                state: 'S',
                start_ticks: 22
            })
        );
        assert_eq!(parse_stat("nonsense"), None);
    }

    #[test]
    fn logs_are_named_after_the_process() {
        let lab = Base::new("logs").lab("one");
        assert!(lab.log("node1/agent").ends_with("one/logs/node1-agent.log"));
    }
}
