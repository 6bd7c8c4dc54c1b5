//! One call of the plugin, from the environment to the exit code.

mod agent;
mod input;
mod output;
mod pod_netns;
mod verbs;

use std::process::ExitCode;

use seaway_cni::request::CniRequest;
use seaway_cni::spec::{CniError, CniVersion, Command, Environment, decode, version_of};
use serde_json::Value;

/// Serves the call that the environment and stdin describe.
pub(crate) fn main() -> ExitCode {
    let environment = Environment::from_vars(|name| std::env::var_os(name));
    if matches!(&environment, Ok(e) if e.command.is_empty()) {
        return output::usage();
    }
    let config = input::read().and_then(|text| decode(&text));
    let version = config.as_ref().ok().and_then(version_of);
    let answer = environment.and_then(|environment| answer(environment, config));
    output::finish(answer, version.unwrap_or(CniVersion::NEWEST))
}

/// What to print; nothing where the specification has nothing.
fn answer(
    environment: Environment,
    config: Result<Value, CniError>,
) -> Result<Option<Value>, CniError> {
    if environment.command()? == Command::Version {
        return Ok(Some(output::versions(config.ok())));
    }
    // Errors of the environment go before those of the configuration.
    environment.verb()?;
    let config = config?;
    let request = CniRequest {
        environment,
        config,
    };
    let call = request.validate_form()?;
    verbs::perform(request, &call)
}
