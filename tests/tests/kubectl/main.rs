//! The real kubectl against a lab: sessions as text files, each command with what it printed.
//!
//! A session is a file of `sessions/`: lines that begin with `$ ` are run by a shell (lines that
//! begin with `> ` go on with the command), the rest up to the next one is what was printed, with
//! everything that differs from run to run replaced by a name in angle brackets ([`normalise`]).
//! `SEAWAY_UPDATE_SESSIONS=1` writes what is printed now instead of comparing.

mod normalise;
mod session;

use seaway_testkit::isolate;
use seaway_tests::lab::Lab;
use session::Session;

/// Runs one session in a lab of its own.
fn play(file: &str, lab: &'static str, more: &[&str]) {
    isolate();
    let lab = Lab::up(lab, &[&["--pods", "0"], more].concat());
    Session::read(file).play(lab.kubeconfig());
}

macro_rules! sessions {
    ($($test:ident: $file:literal in $lab:literal $more:expr;)*) => {
        $(#[test]
        fn $test() {
            play($file, $lab, &$more);
        })*

        /// A file that no test names would never be played.
        #[test]
        fn every_session_is_played() {
            let played = [$($file),*];
            for file in session::files() {
                assert!(played.contains(&file.as_str()), "no test plays {file}");
            }
        }
    };
}

sessions! {
    first_steps: "first-steps" in "k-steps" ["--nodes", "2"];
    a_deployment_is_rolled_and_scaled: "deployment" in "k-deploy" ["--nodes", "2"];
    a_daemon_set_is_on_every_node_and_rolled: "daemonset" in "k-daemons" ["--nodes", "2"];
    versions_come_and_go_and_services_are_made: "rollouts" in "k-rollouts" ["--nodes", "2"];
    objects_are_changed_in_every_way: "changes" in "k-changes" ["--nodes", "1"];
    fields_have_owners: "apply" in "k-apply" ["--nodes", "1"];
    containers_and_their_logs: "containers" in "k-containers" ["--nodes", "1"];
    configuration_reaches_containers: "configuration" in "k-config" ["--nodes", "1"];
    users_are_held_to_their_rights: "rights" in "k-rights" ["--nodes", "1"];
    commands_run_in_containers: "exec" in "k-exec" ["--nodes", "1"];
    fields_are_explained: "explain" in "k-explain" ["--nodes", "1"];
    services_and_the_rest_are_kept: "services" in "k-services" ["--nodes", "1"];
    kinds_are_defined_and_used: "custom" in "k-custom" ["--nodes", "1"];
    what_is_wrong_or_missing_is_said: "refusals" in "k-refusals" ["--nodes", "1"];
}
