//! Flags that say how to reach the Kubernetes API, shared by all commands that do.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use clap::builder::FalseyValueParser;
use seaway_api::{Access, Credentials, ServerUrl};

/// How a daemon reaches the API: it is told, never guesses.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ReachArgs {
    #[command(flatten)]
    with: CredentialArgs,
}

/// How a person's command reaches the API: as kubectl does, unless it is told.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct UserReachArgs {
    #[command(flatten)]
    with: CredentialArgs,
    /// A context of the kubeconfig other than its current one.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

#[derive(Args, Clone, Debug, Default)]
struct CredentialArgs {
    /// A kubeconfig: who to be, and at which API server.
    #[arg(long, env = "SEAWAY_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Be the service account of the Pod that this runs in.
    #[arg(long, env = "SEAWAY_IN_CLUSTER", value_parser = FalseyValueParser::new())]
    in_cluster: bool,
    /// The folder of the service account for --in-cluster, with token and ca.crt [default: where
    /// Pods have it].
    #[arg(
        long,
        env = "SEAWAY_SERVICE_ACCOUNT_DIR",
        value_name = "DIR",
        hide = true
    )]
    service_account_dir: Option<PathBuf>,
    /// An API server, such as https://192.0.2.1:6443, in place of the one that the kubeconfig or the
    /// Pod's environment names; may be repeated, and one that fails is replaced by another.
    #[arg(
        long,
        env = "SEAWAY_API_SERVERS",
        value_name = "URL",
        value_delimiter = ','
    )]
    api_server: Vec<ServerUrl>,
}

impl CredentialArgs {
    /// What was asked for; `None` if nothing says who to be.
    fn access(&self) -> anyhow::Result<Option<Access>> {
        let access = match (&self.kubeconfig, self.in_cluster) {
            (Some(file), true) => bail!(
                "--kubeconfig {} and --in-cluster both say who to be; give one (SEAWAY_KUBECONFIG and \
                 SEAWAY_IN_CLUSTER count, too)",
                file.display()
            ),
            (Some(file), false) => Access::file(file),
            (None, true) => match &self.service_account_dir {
                Some(folder) => Access::new(Credentials::ServiceAccount(folder.clone())),
                None => Access::in_cluster(),
            },
            (None, false) => return Ok(None),
        };
        Ok(Some(access.with_servers(self.api_server.clone())))
    }
}

impl ReachArgs {
    /// What was asked for; `None` if nothing was.
    pub(crate) fn given(&self) -> anyhow::Result<Option<Access>> {
        let access = self.with.access()?.map(Access::spread);
        if access.is_none() && !self.with.api_server.is_empty() {
            bail!("--api-server says where, not who to be: add --in-cluster or --kubeconfig FILE");
        }
        Ok(access)
    }

    /// What was asked for.
    pub(crate) fn access(&self) -> anyhow::Result<Access> {
        match self.given()? {
            Some(access) => Ok(access),
            None => bail!(
                "how to reach the Kubernetes API is not said: give --kubeconfig FILE, or --in-cluster \
                 in a Pod"
            ),
        }
    }
}

impl UserReachArgs {
    /// What was asked for, or else what kubectl would use.
    pub(crate) fn access(&self) -> anyhow::Result<Access> {
        let access = match self.with.access()? {
            Some(access) => access,
            None => Access::user().with_servers(self.with.api_server.clone()),
        };
        Ok(access.with_context(self.context.clone()))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Daemon {
        #[command(flatten)]
        reach: ReachArgs,
    }

    fn access(arguments: &[&str]) -> anyhow::Result<Access> {
        let all = ["daemon"].iter().chain(arguments);
        Daemon::try_parse_from(all)?.reach.access()
    }

    #[test]
    fn servers_replace_the_one_beside_the_credentials() {
        let servers = [
            "https://192.0.2.1:6443".parse().expect("valid"),
            "https://[2001:db8::1]:6443".parse().expect("valid"),
        ];
        let wanted = Access::in_cluster().with_servers(servers.to_vec()).spread();
        let list = "https://192.0.2.1:6443,https://[2001:db8::1]:6443";
        let got = access(&["--in-cluster", "--api-server", list]).expect("valid");
        assert_eq!(got, wanted);
        let twice = ["--api-server", "https://192.0.2.1:6443", "--in-cluster"];
        let twice = [&twice[..], &["--api-server", "https://[2001:db8::1]:6443"]].concat();
        assert_eq!(access(&twice).expect("valid"), wanted);
        let file = access(&["--kubeconfig", "/k"]).expect("valid");
        assert_eq!(file, Access::file("/k").spread());
    }

    #[test]
    fn what_is_wrong_names_the_flag_and_the_repair() {
        for (arguments, words) in [
            (&[][..], "give --kubeconfig FILE, or --in-cluster"),
            (
                &["--api-server", "https://192.0.2.1"],
                "add --in-cluster or --kubeconfig FILE",
            ),
            (
                &["--in-cluster", "--kubeconfig", "/k"],
                "--kubeconfig /k and --in-cluster",
            ),
            (
                &["--in-cluster", "--api-server", "192.0.2.1:6443"],
                "--api-server <URL>': \"192.0.2.1:6443\" is no URL of a server; want for example",
            ),
        ] {
            let error = access(arguments).expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
