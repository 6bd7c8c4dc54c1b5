//! What of the node is not ours: tracked flows, other people's filters, and the paths to other
//! nodes; each test in namespaces of its own.

mod conntrack;
mod echo;
mod foreign;

use std::io::Write;
use std::process::{Command, Stdio};

/// Runs a tool in the calling thread's namespace and gives what it printed.
fn tool(name: &str, arguments: &str) -> String {
    let output = Command::new(name)
        .args(arguments.split_whitespace())
        .output()
        .unwrap_or_else(|e| panic!("{name}: {e}; install it"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

/// Loads rules into nftables.
fn nft(rules: &str) {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("nft is installed");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(rules.as_bytes()).expect("nft reads");
    drop(input);
    let output = child.wait_with_output().expect("nft ends");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}\n{rules}");
}
