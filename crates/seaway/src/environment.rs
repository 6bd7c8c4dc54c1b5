//! The command line with the environment behind it. A variable that is there and empty counts as not
//! given: that is how a ConfigMap leaves something to the program.

use clap::{Arg, Command, Parser};

/// Reads the command line, or ends the process with what is wrong about it.
pub(crate) fn parse<T: Parser>() -> T {
    let matches = without_empty(T::command(), &is_empty).get_matches();
    T::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

fn is_empty(name: &std::ffi::OsStr) -> bool {
    std::env::var_os(name).is_some_and(|value| value.is_empty())
}

/// The command with no argument left that would be taken from an empty variable.
fn without_empty(command: Command, is_empty: &dyn Fn(&std::ffi::OsStr) -> bool) -> Command {
    let forget = |arg: Arg| match arg.get_env().is_some_and(is_empty) {
        true => arg.env(None::<&'static str>),
        false => arg,
    };
    command
        .mut_args(forget)
        .mut_subcommands(|inner| without_empty(inner, is_empty))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(subcommand)]
        command: Inner,
    }

    #[derive(clap::Subcommand)]
    enum Inner {
        Run {
            #[arg(long, env = "SEAWAY_TEST_NUMBER")]
            number: Option<u8>,
        },
    }

    #[test]
    fn an_empty_variable_is_none() {
        let variables = |empty: bool| {
            let command = without_empty(<Cli as clap::CommandFactory>::command(), &|_| empty);
            let run = command.find_subcommand("run").expect("there").clone();
            let arg = run.get_arguments().find(|a| a.get_id() == "number");
            arg.expect("there").get_env().is_some()
        };
        assert_eq!((variables(false), variables(true)), (true, false));
        let Inner::Run { number } = Cli::parse_from(["x", "run"]).command;
        assert_eq!(number, None);
    }
}
