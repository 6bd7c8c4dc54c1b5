//! Rules in the words that upstream definitions use.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::kinds::samples;

fn broken(rule: &str, value: &Value, old: Option<&Value>) -> Option<String> {
    let rule = Rule::parse(&json!({ "rule": rule, "message": "no" }))
        .unwrap_or_else(|error| panic!("{rule}: {error}"));
    rule.broken(value, old, None, &Budget::default())
}

#[test]
fn rules_say_yes_or_no() {
    let listeners = json!([
        {"name": "a", "port": 80, "protocol": "HTTP", "hostname": "x"},
        {"name": "b", "port": 80, "protocol": "HTTP", "hostname": "y"},
    ]);
    let twice = json!([{"name": "a", "port": 80, "protocol": "TCP"}, {"name": "a", "port": 80, "protocol": "TCP"}]);
    let unique = "self.all(l1, self.exists_one(l2, l1.port == l2.port && l1.protocol == l2.protocol \
        && (has(l1.hostname) && has(l2.hostname) ? l1.hostname == l2.hostname : \
        !has(l1.hostname) && !has(l2.hostname))))";
    let path = json!({"type": "PathPrefix", "value": "/a"});
    let matches = r#"(self.type in ['Exact','PathPrefix']) ? self.value.matches(r"""^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+$""") : true"#;
    for (rule, value, good) in [
        (
            "self.all(l1, self.exists_one(l2, l1.name == l2.name))",
            &listeners,
            true,
        ),
        (
            "self.all(l1, self.exists_one(l2, l1.name == l2.name))",
            &twice,
            false,
        ),
        (unique, &listeners, true),
        (unique, &twice, false),
        (
            "self.all(l, l.protocol in ['TCP', 'UDP']  ? (!has(l.hostname) || l.hostname == '') : true)",
            &twice,
            true,
        ),
        (matches, &path, true),
        (matches, &json!({"type": "Exact", "value": "/a b"}), false),
    ] {
        assert_eq!(
            broken(rule, value, None).is_none(),
            good,
            "{rule} of {value}"
        );
    }
}

#[test]
fn functions_and_operators_give_what_they_give_upstream() {
    for (rule, value, good) in [
        (
            "self.start < self.end",
            &json!({"start": 2, "end": 1}),
            false,
        ),
        ("isCIDR(self)", &json!("10.0.0.0/8"), true),
        ("isCIDR(self)", &json!("10.0.0.0"), false),
        (
            "self.contains(':') != self.contains('.')",
            &json!("fd00::1.2.3.4/8"),
            false,
        ),
        (
            "isIP(self) && ip(self).family() == 6",
            &json!("fd00::1"),
            true,
        ),
        (
            "self.filter(f, f.type == 'A').size() <= 1",
            &json!([{"type": "A"}, {"type": "A"}]),
            false,
        ),
        (
            "(self.size() > 0 ? self[0].matches.size() : 0) + (self.size() > 1 ? self[1].matches.size() : 0) <= 2",
            &json!([{"matches": [1, 2]}, {"matches": [1]}]),
            false,
        ),
        (
            "!(has(self.request) && duration(self.backend) > duration(self.request))",
            &json!({"request": "1s", "backend": "1m"}),
            false,
        ),
        (
            "self.__namespace__ == 'x'",
            &json!({"namespace": "x"}),
            true,
        ),
        (
            "self.a__dash__b.startsWith('x') // why",
            &json!({"a-b": "xy"}),
            true,
        ),
        (
            "!('*' in self && self.size() > 1)",
            &json!(["*", "a"]),
            false,
        ),
        (
            "self.all(key, key.split('/')[0].size() < 4)",
            &json!({"abc/d": "1"}),
            true,
        ),
        ("size(self.a) == 0 || self.b == 1", &json!({"b": 1}), true),
        ("self.map(x, x * 2) == [2, 4]", &json!([1, 2]), true),
        ("self.lowerAscii().endsWith(\"\\tb\")", &json!("A\tB"), true),
        ("-1 < 1 && 7 % 4 == 3 && 1.5 > 1", &Value::Null, true),
        ("self == null", &Value::Null, true),
    ] {
        assert_eq!(
            broken(rule, value, None).is_none(),
            good,
            "{rule} of {value}"
        );
    }
}

const SECTIONS: &str = "self.all(p1, self.all(p2, p1.group == p2.group && p1.kind == p2.kind && p1.name == p2.name ? \
        ((!has(p1.sectionName) || p1.sectionName == '') == (!has(p2.sectionName) || p2.sectionName == '')) : true))";
const FILTERS: &str = "(has(self.backendRefs) && size(self.backendRefs) > 0) ? \
        (!has(self.filters) || self.filters.all(f, !has(f.requestRedirect))): true";
const PREFIX: &str = "(has(self.filters) && self.filters.exists_one(f, has(f.requestRedirect) && \
        has(f.requestRedirect.path) && f.requestRedirect.path.type == 'ReplacePrefixMatch' && \
        has(f.requestRedirect.path.replacePrefixMatch))) ? ((size(self.matches) != 1 || \
        !has(self.matches[0].path) || self.matches[0].path.type != 'PathPrefix') ? false : true) : true";

/// What the definitions of Gateway API 1.6 and ClusterNetworkPolicy say, one rule of each make.
#[test]
fn rules_of_upstream_definitions_are_all_evaluated() {
    let http = json!([{"name": "a", "port": 80, "protocol": "http"}]);
    let tls =
        json!([{"name": "a", "port": 443, "protocol": "HTTPS", "tls": {"mode": "Passthrough"}}]);
    let no_tls =
        json!([{"name": "a", "port": 80, "protocol": "Http", "tls": {"mode": "Terminate"}}]);
    let labels = "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)$";
    let wildcard = format!(
        "self.all(h, h.contains('*') ? (h.startsWith('*.') && h.substring(2).matches('{labels}')) : true)"
    );
    let terms: Vec<String> = (0..16)
        .map(|at| format!("(self.size() > {at} ? self[{at}].matches.size() : 0)"))
        .collect();
    let sum = format!("{} <= 128", terms.join(" + "));
    let rules: Value = (0..3).map(|_| json!({"matches": vec![1; 64]})).collect();
    let targets = json!([
        {"group": "", "kind": "Service", "name": "a", "sectionName": "x"},
        {"group": "", "kind": "Service", "name": "a"},
    ]);
    let both = json!({"backendRefs": [{}], "filters": [{"requestRedirect": {}}]});
    let exact = json!({
        "matches": [{"path": {"type": "Exact"}}],
        "filters": [{"requestRedirect": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}}],
    });
    for (rule, good, bad) in [
        (
            "self.all(l, l.protocol.matches('(?i)^(HTTP|TCP|UDP)$') ? !has(l.tls) : true)",
            &http,
            &no_tls,
        ),
        (
            "self.all(l, (l.protocol.matches('(?i)^HTTPS$') && has(l.tls)) ? (l.tls.mode == '' || l.tls.mode == 'Terminate') : true)",
            &http,
            &tls,
        ),
        (
            "self.mode == 'Terminate' ? size(self.certificateRefs) > 0 || size(self.options) > 0 : true",
            &json!({"mode": "Terminate", "options": {"a": "b"}}),
            &json!({"mode": "Terminate"}),
        ),
        (
            "self.all(h, !isIP(h))",
            &json!(["a.b"]),
            &json!(["10.0.0.1"]),
        ),
        (&wildcard, &json!(["*.a.b", "c"]), &json!(["*.-a"])),
        (&sum, &json!([{"matches": [1]}]), &rules),
        (SECTIONS, &json!([targets[0]]), &targets),
        (FILTERS, &json!({"backendRefs": []}), &both),
        (PREFIX, &json!({}), &exact),
        (
            "!(has(self.percent) && has(self.fraction))",
            &json!({"percent": 1}),
            &json!({"percent": 1, "fraction": {}}),
        ),
        (
            "!(self.type == \"Hostname\" && (!has(self.hostname) || self.hostname == \"\"))",
            &json!({"type": "URI"}),
            &json!({"type": "Hostname"}),
        ),
        (
            "self.all(l1, !has(l1.name) || self.exists_one(l2, has(l2.name) && l1.name == l2.name))",
            &json!([{}, {"name": "a"}]),
            &json!([{"name": "a"}, {"name": "a"}]),
        ),
        (
            "self.all(a1, a1.type == 'IPAddress' && has(a1.value) ? self.exists_one(a2, a2.type == a1.type && has(a2.value) && a2.value == a1.value) : true )",
            &json!([{"type": "IPAddress"}]),
            &json!([{"type": "IPAddress", "value": "a"}, {"type": "IPAddress", "value": "a"}]),
        ),
        (
            "self.start < self.end",
            &json!({"start": 1, "end": 2}),
            &json!({"start": 2, "end": 2}),
        ),
    ] {
        assert_eq!(broken(rule, good, None), None, "{rule}");
        let told = broken(rule, bad, None).unwrap_or_default();
        assert!(told.ends_with("no"), "{rule}: {told}");
    }
}

#[test]
fn transitions_look_at_what_was_before() {
    let rule = "self == oldSelf";
    assert_eq!(broken(rule, &json!("a"), None), None);
    assert_eq!(broken(rule, &json!("a"), Some(&json!("a"))), None);
    assert_eq!(
        broken(rule, &json!("a"), Some(&json!("b"))),
        Some("no".to_owned())
    );
}

#[test]
fn what_does_not_fit_refuses_and_says_why() {
    for (rule, why) in [
        ("self.x == 1", "no such key: x"),
        ("self[3] == 1", "no such overload"),
        ("self.a + 1 == 2", "no such overload"),
        ("1 / (1 - 1) == 1", "division by zero"),
        ("9223372036854775807 + 1 > 0", "integer overflow"),
        ("self.a", "rule gives no boolean"),
        (
            "cidr(self.a).prefixLength() == 8",
            "\"a\" is no address or prefix",
        ),
    ] {
        let told = broken(rule, &json!({"a": "a"}), None).unwrap();
        assert_eq!(told, format!("{why} evaluating rule: no"), "{rule}");
    }
}

#[test]
fn words_come_from_the_rule_its_message_or_an_expression() {
    let told = |json: Value| {
        Rule::parse(&json)
            .unwrap()
            .broken(&json!(1), None, None, &Budget::default())
    };
    assert_eq!(
        told(json!({"rule": "self > 1 "})).unwrap(),
        "failed rule: self > 1"
    );
    let made =
        json!({"rule": "self > 1", "message": "m", "messageExpression": "'is ' + string(self)"});
    assert_eq!(told(made).unwrap(), "is 1");
}

#[test]
fn what_is_not_known_is_no_rule() {
    for rule in [
        "",
        "self.",
        "self ==",
        "foo",
        "self.foo()",
        "quantity(self) > 1",
        "self.all(x)",
        "(self",
        "self ? 1",
        "'a",
        "1x",
        "self @ 1",
        "self.a.has(b)",
        "has(self)",
        "{'a': 1} == self",
        "self.matches('[')",
    ] {
        assert!(Rule::parse(&json!({ "rule": rule })).is_err(), "{rule}");
    }
    let optional = json!({"rule": "true", "optionalOldSelf": true});
    assert!(Rule::parse(&optional).is_err());
}

#[test]
fn work_is_bounded() {
    let deep = format!("{}true{}", "(".repeat(5000), ")".repeat(5000));
    assert_eq!(
        Rule::parse(&json!({ "rule": deep })).unwrap_err(),
        ParseError::TooLarge
    );
    for part in ["!", "-", "1+", "true?true:"] {
        let long = format!("{}1", part.repeat(5000));
        assert_eq!(
            Rule::parse(&json!({ "rule": long })).unwrap_err(),
            ParseError::TooLarge
        );
    }
    let many: Value = (0..3000).map(|_| json!(0)).collect();
    let told = broken(
        "self.all(a, self.all(b, self.all(c, a == b && b == c)))",
        &many,
        None,
    );
    assert!(told.unwrap().starts_with("the rules take more steps"));
}

#[test]
fn a_made_text_is_shared_by_all_that_keep_it() {
    let rule = "[self + 'x'].map(o, [1, 2].map(x, o))[0]";
    let expression = parse::parse(rule, &["self"]).unwrap();
    let (text, budget) = (json!("a"), Budget::default());
    let mut scope = Scope::new(&budget);
    scope.set("self", Val::of(&text, None));
    let kept = scope.eval(&expression).unwrap().items().unwrap();
    let [Val::Text(one), Val::Text(other)] = kept.as_slice() else {
        panic!("{kept:?}");
    };
    assert_eq!((&**one, one.as_ptr()), ("ax", other.as_ptr()));
}

#[test]
fn what_a_rule_makes_is_bounded() {
    let object = json!({"s": "a".repeat(1 << 20), "list": vec![0; 100_000]});
    let nested = format!("[self.s]{} == [1]", ".map(a, [a, a])".repeat(90));
    for rule in [
        "[self.s + 'x'].all(o, self.list.map(x, o).size() >= 0)",
        "self.list.map(x, 'a').join(self.s) == ''",
        "self.list.map(x, self.s.split('')).size() == 0",
        "self.list.map(x, self.s + 'x').size() == 0",
        &nested,
    ] {
        let told = broken(rule, &object, None).unwrap();
        assert!(told.starts_with("the rules take more steps"), "{told}");
    }
}

#[test]
fn regular_expressions_of_an_object_are_compiled_once_and_cost_what_they_take() {
    let names: Vec<String> = (0..3000).map(|at| format!("name-{at}")).collect();
    let same = json!({"names": names, "p": "^name-[0-9]{1,4}$"});
    let rule = "self.names.all(n, n.matches(self.p) && matches(n, self.p))";
    assert_eq!(broken(rule, &same, None), None);
    let other = json!({"names": ["name-x"], "p": "^name-[0-9]{1,4}$"});
    assert_eq!(broken(rule, &other, None).unwrap(), "no");
    let budget = Budget::default();
    for at in 0..79 {
        assert!(budget.pattern(&format!("a{at}")).is_ok());
    }
    assert!(budget.pattern("a0").is_ok());
    assert!(
        budget
            .pattern("(")
            .unwrap_err()
            .starts_with("the rules take more steps")
    );
}

#[test]
fn bad_regular_expressions_of_an_object_stop_at_the_budget() {
    let patterns: Vec<String> = (1..150_000)
        .map(|at| format!("((a{{40}}){{40}}){{{at}}}"))
        .collect();
    let slow =
        json!({"t": "a".repeat(50_000), "p": "(a|aa|[ab]{1,9}){12}$", "items": vec![0; 1000]});
    for (rule, value) in [
        ("self.exists(p, 'a'.matches(p))", json!(patterns)),
        (
            "self.items.all(i, 'a'.matches(self.p + 'x') || self.t.matches(self.p))",
            slow,
        ),
    ] {
        let told = broken(rule, &value, None).unwrap();
        assert!(told.starts_with("the rules take more steps"), "{told}");
    }
    let large = json!({"p": "(a{90}){90}"});
    let told = broken("'a'.matches(self.p)", &large, None).unwrap();
    assert!(told.contains("size limit"), "{told}");
}

proptest! {
    #[test]
    fn nothing_panics(text in "[-a-z0-9.()\\[\\]'\"<>=!&|?:+*/% _,]{0,40}", value in samples::json()) {
        if let Ok(rule) = Rule::parse(&json!({ "rule": format!("self{text}") })) {
            let _ = rule.broken(&value, Some(&value), None, &Budget::default());
        }
        let _ = Rule::parse(&json!({ "rule": text }));
    }
}
