//! Other people's tools, run in a namespace: `ip`, `tc`, `nft`, `iptables`.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use seaway_kernel::netns::Netns;

/// Runs a command line in a namespace, and wants success; gives its output.
///
/// # Panics
///
/// If it fails, with what it said.
pub fn run(netns: &Netns, line: &str) -> String {
    checked(line, &try_run(netns, line, ""))
}

/// Gives a program its input in a namespace, and wants success; gives its output.
///
/// # Panics
///
/// If it fails, with what it said.
pub fn feed(netns: &Netns, line: &str, input: &str) -> String {
    checked(&format!("{line} < {input}"), &try_run(netns, line, input))
}

/// Loads a ruleset.
///
/// # Panics
///
/// If nft refuses it.
pub fn nft(netns: &Netns, rules: &str) {
    feed(netns, "nft -f -", rules);
}

/// Runs `ip` for each line.
///
/// # Panics
///
/// If a line fails.
pub fn ip(netns: &Netns, lines: &str) {
    feed(netns, "ip -batch -", lines);
}

/// Runs a command line in a namespace; words are parted by white space, there are no quotes.
pub fn try_run(netns: &Netns, line: &str, input: &str) -> Output {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().expect("a program"));
    command
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = netns.run(|| command.spawn()).expect("namespace");
    let mut child = child.unwrap_or_else(|e| panic!("{line}: {e}"));
    let mut stdin = child.stdin.take().expect("piped");
    // A program that fails early does not read it all.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("ended")
}

/// What a program printed.
///
/// # Panics
///
/// If it failed, with what it said.
pub(crate) fn checked(what: &str, output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}\n{text}{errors}");
    text
}
