//! What came of an exchange, held against what must come of it. Pure.

use super::cases::{Case, Wanted};
use crate::tool::ProbeOutcome;

pub(super) const REWRITTEN: &str = "something rewrote the source address";
pub(super) const NOT_REWRITTEN: &str = "the source address is not what it must be there";

/// Whether it is as it must be, or what is wrong.
pub(super) fn judge(case: &Case, outcome: &ProbeOutcome) -> Result<(), String> {
    match &case.wanted {
        Wanted::Answer(hosts) => {
            went_well(outcome)?;
            is_one_of(hosts, outcome.host.as_deref().unwrap_or_default())?;
            saw_the_right_one(case, outcome)
        }
        Wanted::AllOf(hosts) => {
            went_well(outcome)?;
            all_of(hosts, outcome)?;
            saw_the_right_one(case, outcome)
        }
        Wanted::AlwaysOneOf(hosts) => {
            went_well(outcome)?;
            always_one_of(hosts, outcome)?;
            saw_the_right_one(case, outcome)
        }
        Wanted::Refusal => refused(case, outcome),
        Wanted::Silence => silent(case, outcome),
        Wanted::Success => went_well(outcome),
    }
}

/// 1. The exchange itself must have worked.
fn went_well(outcome: &ProbeOutcome) -> Result<(), String> {
    let reason = || outcome.error.clone();
    match outcome.ok {
        true => Ok(()),
        false => Err(reason().unwrap_or_else(|| "failed without a reason".to_owned())),
    }
}

/// 2. The right one must have answered.
fn is_one_of(hosts: &[String], host: &str) -> Result<(), String> {
    match hosts.iter().any(|known| known == host) {
        true => Ok(()),
        false => Err(format!("{host} answered instead of {}", any_of(hosts))),
    }
}

fn all_of(hosts: &[String], outcome: &ProbeOutcome) -> Result<(), String> {
    for host in outcome.hosts.keys() {
        is_one_of(hosts, host)?;
    }
    let silent = hosts
        .iter()
        .filter(|host| !outcome.hosts.contains_key(*host));
    let silent: Vec<&str> = silent.map(String::as_str).collect();
    match silent.is_empty() {
        true => Ok(()),
        false => {
            let total: u64 = outcome.hosts.values().sum();
            let silent = silent.join(", ");
            Err(format!(
                "none of {total} exchanges was answered by {silent}"
            ))
        }
    }
}

fn always_one_of(hosts: &[String], outcome: &ProbeOutcome) -> Result<(), String> {
    for host in outcome.hosts.keys() {
        is_one_of(hosts, host)?;
    }
    match outcome.hosts.len() {
        1 => Ok(()),
        _ => {
            let all = outcome.hosts.iter();
            let all: Vec<_> = all.map(|(host, n)| format!("{host} {n} times")).collect();
            Err(format!("not always the same answered: {}", all.join(", ")))
        }
    }
}

/// 3. It must have seen the source's own address, or the node's where packets leave the cluster.
fn saw_the_right_one(case: &Case, outcome: &ProbeOutcome) -> Result<(), String> {
    match outcome.seen.map(|seen| seen.ip()) {
        Some(seen) if case.expected.contains(&seen) => Ok(()),
        Some(seen) => {
            let all: Vec<_> = case.expected.iter().map(ToString::to_string).collect();
            let why = match case.expected.contains(&case.own) {
                true => REWRITTEN,
                false => NOT_REWRITTEN,
            };
            Err(format!(
                "the server saw {seen} instead of {}: {why}",
                any_of(&all)
            ))
        }
        None => Err("the server did not say whom it saw".to_owned()),
    }
}

/// Silence would not do: a port that still led somewhere would give it as well.
fn refused(case: &Case, outcome: &ProbeOutcome) -> Result<(), String> {
    let target = case.target;
    match &outcome.error {
        None => Err(answered(case, outcome)),
        // What a node's own rules refuse, the node's own datagrams are not even sent.
        Some(error) if error.contains("refused") || error.contains("not permitted") => Ok(()),
        Some(error) => Err(format!(
            "{target} is not refused at once, as closed ports are: {error}"
        )),
    }
}

fn silent(case: &Case, outcome: &ProbeOutcome) -> Result<(), String> {
    match &outcome.error {
        None => Err(answered(case, outcome)),
        Some(error) if error.contains("no answer within") => Ok(()),
        Some(error) => Err(format!("{} is not silent: {error}", case.target)),
    }
}

fn answered(case: &Case, outcome: &ProbeOutcome) -> String {
    let host = outcome.host.as_deref().unwrap_or("somebody unknown");
    format!("{} answers, as {host}", case.target)
}

fn any_of(all: &[String]) -> String {
    all.join(" or ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::IpAddr;

    use seaway_model::Family;

    use super::super::cases::Path;
    use super::super::report::samples::{case, good};
    use super::*;
    use crate::tool::ProbeKind;

    fn sample() -> Case {
        case(Path::PodToPodOtherNode, Family::V4, ProbeKind::Udp)
    }

    #[test]
    fn an_answer_counts_only_from_the_right_one_about_the_right_address() {
        let case = sample();
        assert_eq!(judge(&case, &good(&case)), Ok(()));
        let silent = ProbeOutcome::bad(Some(1), "no answer within 1000 ms".into());
        assert_eq!(
            judge(&case, &silent),
            Err("no answer within 1000 ms".into())
        );
        let other = ProbeOutcome {
            host: Some("pod-9".into()),
            ..good(&case)
        };
        assert_eq!(
            judge(&case, &other),
            Err("pod-9 answered instead of pod-2-1".into())
        );
        let masked = ProbeOutcome {
            seen: Some("172.18.0.1:4000".parse().expect("valid")),
            ..good(&case)
        };
        let error = judge(&case, &masked).expect_err("refused");
        assert_eq!(
            error,
            "the server saw 172.18.0.1 instead of 10.244.1.2: something rewrote the source address"
        );
    }

    #[test]
    fn what_leaves_the_cluster_must_not_show_the_pods_address() {
        let node: IpAddr = [172, 18, 0, 1].into();
        let case = Case {
            path: Path::PodToOutside,
            expected: vec![node],
            ..sample()
        };
        assert_eq!(judge(&case, &good(&case)), Ok(()));
        let bare = ProbeOutcome {
            seen: Some((case.own, 4000).into()),
            ..good(&case)
        };
        assert_eq!(
            judge(&case, &bare),
            Err("the server saw 10.244.1.2 instead of 172.18.0.1: \
                 the source address is not what it must be there"
                .into())
        );
    }

    fn wanting(wanted: Wanted) -> Case {
        Case { wanted, ..sample() }
    }

    fn failed(error: &str) -> ProbeOutcome {
        ProbeOutcome::bad(None, error.to_owned())
    }

    #[test]
    fn refused_is_told_from_silent_and_both_from_an_answer() {
        let refusal = wanting(Wanted::Refusal);
        let silence = wanting(Wanted::Silence);
        let refused = failed("connect: Connection refused (os error 111)");
        let silent = failed("connect: no answer within 500 ms");
        assert_eq!(judge(&refusal, &refused), Ok(()));
        let not_sent = failed("send: Operation not permitted (os error 1)");
        assert_eq!(judge(&refusal, &not_sent), Ok(()));
        assert_eq!(judge(&silence, &silent), Ok(()));
        for (case, outcome) in [
            (&refusal, &silent),
            (&refusal, &failed("connect: No route to host")),
            (&silence, &refused),
            (&silence, &failed("the probe process gave no answer")),
        ] {
            let told = judge(case, outcome).expect_err("it is not so");
            assert!(
                told.contains(outcome.error.as_deref().expect("one")),
                "{told}"
            );
        }
        for case in [&refusal, &silence] {
            let told = judge(case, &good(case)).expect_err("it is open");
            assert!(told.contains("answers, as pod-2-1"), "{told}");
        }
    }

    #[test]
    fn all_and_always_the_same_are_told_by_who_answered() {
        let names = || vec!["a".to_owned(), "b".to_owned()];
        let by = |hosts: &[(&str, u64)]| {
            let hosts = hosts.iter().map(|(host, n)| ((*host).to_owned(), *n));
            let hosts: BTreeMap<_, _> = hosts.collect();
            ProbeOutcome {
                hosts,
                ..good(&sample())
            }
        };
        let all = wanting(Wanted::AllOf(names()));
        assert_eq!(judge(&all, &by(&[("a", 3), ("b", 1)])), Ok(()));
        assert_eq!(
            judge(&all, &by(&[("a", 4)])),
            Err("none of 4 exchanges was answered by b".into())
        );
        let one = wanting(Wanted::AlwaysOneOf(names()));
        assert_eq!(judge(&one, &by(&[("b", 4)])), Ok(()));
        assert_eq!(
            judge(&one, &by(&[("a", 3), ("b", 1)])),
            Err("not always the same answered: a 3 times, b 1 times".into())
        );
        for case in [&all, &one] {
            assert_eq!(
                judge(case, &by(&[("a", 3), ("c", 1)])),
                Err("c answered instead of a or b".into())
            );
        }
    }
}
