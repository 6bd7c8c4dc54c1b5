//! Networks made by hand: with the tools that a person would use, so that nothing of ours is in
//! what ours is compared with.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use seaway_kernel::netns::Netns;

/// Runs a batch of `ip` commands, one a line, in a namespace; the first failure ends it.
pub(crate) fn ip(netns: &Netns, lines: &str) -> Result<()> {
    tool(netns, "ip", &["-batch", "-"], lines)
}

/// Takes all tables of nftables out of a namespace.
pub(crate) fn flush_filters(netns: &Netns) -> Result<()> {
    tool(netns, "nft", &["flush", "ruleset"], "")
}

/// Runs a tool in a namespace with something to read.
pub(crate) fn tool(netns: &Netns, program: &str, args: &[&str], input: &str) -> Result<()> {
    let name = || format!("{program} {}", args.join(" "));
    let run = || -> std::io::Result<_> {
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        child.wait_with_output()
    };
    let output = netns.run(run)?.with_context(name)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} failed: {said}{input}", name());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tool_refuses_is_told_with_what_it_was_asked() {
        let netns = Netns::create().expect("the tests run as root");
        ip(&netns, "link set lo up\naddr add 192.0.2.1/32 dev lo\n").expect("it can be done");
        let error = ip(&netns, "link set nothing up\n").expect_err("there is no such link");
        let error = error.to_string();
        assert!(
            error.contains("nothing") && error.contains("ip -batch"),
            "{error}"
        );
    }
}
