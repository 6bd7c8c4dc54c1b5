//! `seaway-cni`: the CNI plugin. It reads its input, hands it with the Pod's namespace to the agent
//! and prints the answer; it attaches nothing itself. Results and errors go to stdout, everything
//! else to stderr.

mod plugin;

use std::process::ExitCode;

fn main() -> ExitCode {
    plugin::main()
}
