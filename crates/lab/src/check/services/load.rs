//! Whether all that clients asked for while something happened was answered. Pure.

use std::collections::BTreeSet;

use crate::tool::LoadReport;

/// Everything must have been answered, by old servers and by new ones.
pub(super) fn judge(report: &LoadReport, old: &BTreeSet<String>) -> Result<(), String> {
    if report.failed > 0 {
        let errors: Vec<_> = report
            .errors
            .iter()
            .map(|(error, count)| format!("{count} times {error}"))
            .collect();
        let errors = errors.join("; ");
        let LoadReport { asked, failed, .. } = report;
        return Err(format!("{failed} of {asked} requests failed: {errors}"));
    }
    let is_old = |server: &&String| old.contains(*server);
    let by_old = report.servers.keys().filter(is_old).count();
    match (by_old, report.servers.len() - by_old) {
        (0, _) => Err("no request was answered before the Pods were replaced".to_owned()),
        (_, 0) => Err("no request was answered by a new Pod".to_owned()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_change_is_good_if_nobody_noticed_it_and_it_happened() {
        let old = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        let by = |servers: &[&str]| LoadReport {
            asked: 9,
            answered: 9,
            servers: servers.iter().map(|s| ((*s).to_owned(), 3)).collect(),
            ..LoadReport::default()
        };
        assert_eq!(judge(&by(&["a", "c"]), &old), Ok(()));
        assert!(judge(&by(&["a", "b"]), &old).is_err());
        assert!(judge(&by(&["c"]), &old).is_err());
        assert!(judge(&by(&[]), &old).is_err());
        let bad = LoadReport {
            failed: 1,
            errors: BTreeMap::from([("connect: refused".to_owned(), 1)]),
            ..by(&["a", "c"])
        };
        assert_eq!(
            judge(&bad, &old),
            Err("1 of 9 requests failed: 1 times connect: refused".into())
        );
    }
}
