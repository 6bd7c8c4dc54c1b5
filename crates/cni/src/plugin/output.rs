//! What the plugin prints, each time by one write.

use std::io::{Write, stderr, stdout};
use std::process::ExitCode;

use seaway_cni::spec::{CniError, CniVersion};
use serde_json::{Value, json};

/// Without a command there is nothing to do: says what this is, as other plugins do.
pub(crate) fn usage() -> ExitCode {
    log(&format!(
        "CNI plugin seaway-cni v{}\nCNI protocol versions supported: {}\n\
         A container runtime calls it: see https://www.cni.dev/docs/spec/",
        env!("CARGO_PKG_VERSION"),
        CniVersion::listed()
    ));
    ExitCode::SUCCESS
}

/// The answer to VERSION, in the version that `config` asks for (K3).
pub(crate) fn versions(config: Option<Value>) -> Value {
    let asked = config.and_then(|mut config| config.get_mut("cniVersion").map(Value::take));
    let asked = asked.filter(|v| v.as_str().is_some_and(|text| !text.is_empty()));
    json!({
        "cniVersion": asked.unwrap_or_else(|| CniVersion::NEWEST.as_str().into()),
        "supportedVersions": CniVersion::ALL.map(CniVersion::as_str),
    })
}

/// Prints the answer and says how the process ends.
pub(crate) fn finish(answer: Result<Option<Value>, CniError>, version: CniVersion) -> ExitCode {
    match answer {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(value)) => print(value.to_string(), ExitCode::SUCCESS),
        Err(error) => print(error.to_json(version), ExitCode::FAILURE),
    }
}

/// A line for people.
pub(crate) fn log(line: &str) {
    // There is nobody left to tell when stderr is gone.
    let _ = stderr().write_all(format!("{line}\n").as_bytes());
}

fn print(mut text: String, code: ExitCode) -> ExitCode {
    text.push('\n');
    let written = stdout().write_all(text.as_bytes());
    match written.and_then(|()| stdout().flush()) {
        Ok(()) => code,
        Err(error) => {
            log(&format!("seaway-cni: cannot write the result: {error}"));
            ExitCode::FAILURE
        }
    }
}
