//! What differs from run to run, by name: ages, times, ids, addresses, the names' random ends.

use std::sync::LazyLock;

use regex::Regex;

static RULES: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    let rules = [
        (
            r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            "<UID>",
        ),
        (r"\b[0-9a-f]{64}\b", "<ID>"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?", "<TIME>"),
        (
            r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}",
            "<TIME>",
        ),
        (r#"(resourceVersion"?: *)"\d+""#, "$1<VERSION>"),
        (r"\b10\.244\.\d+\.\d+\b", "<IPv4>"),
        (r"\bfd00:10:244:[0-9a-f:]*\b", "<IPv6>"),
        (r"\b10\.96\.\d+\.\d+\b", "<SERVICE-IPv4>"),
        (r"\bfd00:10:96::[0-9a-f:]*\b", "<SERVICE-IPv6>"),
        (r"\b3\d{4}/(TCP|UDP|SCTP)", "<NODE-PORT>/$1"),
        // A Pod of a Deployment, then its ReplicaSet.
        (
            r"\b([a-z]+)-[bcdfghjklmnpqrstvwxz2456789]{6,10}-[bcdfghjklmnpqrstvwxz2456789]{5}\b",
            "$1-<HASH>-<ID>",
        ),
        (
            r"\b([a-z]+)-[bcdfghjklmnpqrstvwxz2456789]{8,10}\b",
            "$1-<HASH>",
        ),
        (
            r"(pod-template-hash[=:] *)[bcdfghjklmnpqrstvwxz2456789]+",
            "$1<HASH>",
        ),
        (r"\(\d+[smhd]\d*[smh]? ago\)", "(<AGE> ago)"),
        (r"\(x\d+ over \d+[smh]\d*s?\)", "(<COUNT>)"),
        (r"(^|\s)(\d+h)?(\d+m)?\d+(\.\d+)?m?s(\s|$)", "$1<AGE>$5"),
        (r" {2,}", "  "),
    ];
    let compile = |(pattern, name): (&str, &'static str)| {
        (Regex::new(pattern).expect("a constant pattern"), name)
    };
    rules.map(compile).into()
});

/// The line without what differs from run to run; columns stand two spaces apart.
pub(crate) fn normalise(line: &str) -> String {
    let mut line = line.trim_end().to_owned();
    for (pattern, name) in RULES.iter() {
        line = pattern.replace_all(&line, *name).into_owned();
    }
    line
}

#[test]
fn what_differs_is_named_and_the_rest_stays() {
    let same = [
        (
            "web-6d4cf56db6-x7k2p   1/1     Running   1 (3s ago)   12s   10.244.1.2",
            "web-<HASH>-<ID>  1/1  Running  1 (<AGE> ago)  <AGE>  <IPv4>",
        ),
        (
            "web  ClusterIP  10.96.3.4  <none>  80:31000/TCP  2m3s",
            "web  ClusterIP  <SERVICE-IPv4>  <none>  80:<NODE-PORT>/TCP  <AGE>",
        ),
        ("deployment.apps/web created", "deployment.apps/web created"),
        (
            "  creationTimestamp: \"2026-11-27T14:00:00Z\"",
            "  creationTimestamp: \"<TIME>\"",
        ),
        ("first-steps and replicasets", "first-steps and replicasets"),
    ];
    for (line, expected) in same {
        assert_eq!(normalise(line), expected);
    }
}
