//! A session: its file, and how it is played.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::normalise::normalise;

/// Commands and what they print.
pub(crate) struct Session {
    file: PathBuf,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    /// Comments and blank lines before the command.
    before: Vec<String>,
    command: Vec<String>,
    printed: Vec<String>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubectl/sessions")
}

/// The names of all sessions.
pub(crate) fn files() -> Vec<String> {
    let entries = std::fs::read_dir(folder()).expect("the folder of sessions");
    let names = entries.map(|entry| entry.expect("an entry").path());
    let sessions = names.filter(|path| path.extension().is_some_and(|e| e == "session"));
    sessions
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect()
}

impl Session {
    pub(crate) fn read(name: &str) -> Session {
        let file = folder().join(format!("{name}.session"));
        let text = std::fs::read_to_string(&file).expect("the session");
        Session {
            file,
            steps: parse(&text),
        }
    }

    /// Runs every command, and compares what it prints with what the file says.
    pub(crate) fn play(mut self, kubeconfig: &Path) {
        let update = std::env::var_os("SEAWAY_UPDATE_SESSIONS").is_some();
        for step in &mut self.steps {
            let printed = run(&step.command.join("\n"), kubeconfig);
            if update {
                step.printed = printed;
                continue;
            }
            assert_eq!(
                step.printed.join("\n"),
                printed.join("\n"),
                "\n{}: $ {}\n(left is what the file says, right is what was printed)",
                self.file.display(),
                step.command.join("\n> ")
            );
        }
        if update {
            let text: String = self.steps.iter().map(Step::text).collect();
            std::fs::write(&self.file, text).expect("written");
        }
    }
}

impl Step {
    fn text(&self) -> String {
        let mut lines = self.before.clone();
        let marks = std::iter::once("$ ").chain(std::iter::repeat("> "));
        let command = marks
            .zip(&self.command)
            .map(|(mark, line)| format!("{mark}{line}"));
        lines.extend(command);
        lines.extend(self.printed.iter().cloned());
        lines.join("\n") + "\n"
    }
}

fn parse(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut before = Vec::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step {
                before: std::mem::take(&mut before),
                command: vec![command.to_owned()],
                printed: Vec::new(),
            });
        } else if line.is_empty() || line.starts_with('#') {
            before.push(line.to_owned());
        } else if let Some(step) = steps.last_mut() {
            assert!(
                before.is_empty(),
                "{line:?} follows a comment or blank line"
            );
            match line.strip_prefix("> ") {
                Some(more) if step.printed.is_empty() => step.command.push(more.to_owned()),
                _ => step.printed.push(line.to_owned()),
            }
        }
    }
    steps
}

/// What the command printed, its errors among it, without what differs from run to run. Blank
/// lines are left out.
fn run(command: &str, kubeconfig: &Path) -> Vec<String> {
    let kubectl = seaway_tests::kubectl();
    let tools = kubectl.parent().expect("a folder").display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("sh")
        .args(["-c", &format!("exec 2>&1\n{command}")])
        .env("KUBECONFIG", kubeconfig)
        .env("PATH", format!("{tools}:{path}"))
        .env("HOME", "/run")
        .env("KUBECTL_COMMAND_HEADERS", "false")
        .current_dir(folder())
        .stdin(Stdio::null())
        .output()
        .expect("sh");
    let mut lines: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(normalise)
        .collect();
    if !output.status.success() {
        lines.push(format!("({})", output.status));
    }
    lines
}

#[test]
fn a_session_is_written_as_it_was_read() {
    let text = "# A comment.\n\n$ kubectl get\n> pods\nNAME\na\n\n$ true\n";
    let steps = parse(text);
    assert_eq!(steps[0].command, ["kubectl get", "pods"]);
    assert_eq!(steps[0].printed, ["NAME", "a"]);
    assert_eq!(steps.iter().map(Step::text).collect::<String>(), text);
}
