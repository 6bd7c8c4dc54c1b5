//! Values that do not go together, as the programs have it among their flags. The chart refuses the
//! same.

use serde_json::Value;

use crate::values::Values;

/// What a value has to be for a rule to be broken.
#[derive(Clone, Copy)]
enum State {
    /// This text.
    Is(&'static str),
    /// Chosen: by default it is empty, or off.
    Given,
    /// Off.
    Off,
}

/// Values that exclude each other.
pub(crate) struct Rule {
    pub(crate) key: &'static str,
    key_state: State,
    pub(crate) other: &'static str,
    other_state: State,
    pub(crate) fix: &'static str,
}

const fn rule(
    (key, key_state): (&'static str, State),
    (other, other_state): (&'static str, State),
    fix: &'static str,
) -> Rule {
    Rule {
        key,
        key_state,
        other,
        other_state,
        fix,
    }
}

const fn of_services(key: &'static str) -> Rule {
    rule(
        (key, State::Given),
        ("kubeProxyReplacement", State::Off),
        "it is about Services, which kube-proxy has then; leave it out",
    )
}

/// All of them.
pub(crate) const RULES: [Rule; 10] = [
    rule(
        ("transport", State::Is("vxlan")),
        ("vxlan.enabled", State::Off),
        "choose another transport, or leave VXLAN on",
    ),
    rule(
        ("vxlan.underlay", State::Given),
        ("vxlan.enabled", State::Off),
        "leave one of them out",
    ),
    rule(
        ("keepSourceTo", State::Given),
        ("masquerade", State::Off),
        "it lists exceptions from masquerading; leave one of them out",
    ),
    rule(
        ("uplink.name", State::Given),
        ("uplink.match", State::Given),
        "leave one of them out",
    ),
    rule(
        ("dns.upstream", State::Given),
        ("dns.enabled", State::Off),
        "set dns.enabled=true as well",
    ),
    of_services("serviceCidrs"),
    of_services("externalIPs"),
    of_services("masqueradeAll"),
    of_services("nodeEndpoints"),
    of_services("dns.enabled"),
];

impl State {
    fn holds(self, value: &Value) -> bool {
        match self {
            State::Is(text) => value == text,
            State::Off => *value == Value::Bool(false),
            State::Given => match value {
                Value::Null => false,
                Value::Bool(on) => *on,
                Value::String(text) => !text.is_empty(),
                Value::Array(items) => !items.is_empty(),
                _ => true,
            },
        }
    }

    fn expression(self, path: &str) -> String {
        match self {
            State::Is(text) => format!("(eq .Values.{path} {text:?})"),
            State::Given => format!("(not (empty .Values.{path}))"),
            State::Off => format!("(not .Values.{path})"),
        }
    }
}

impl Rule {
    pub(crate) fn is_broken(&self, values: &Values) -> bool {
        self.key_state.holds(values.get(self.key)) && self.other_state.holds(values.get(self.other))
    }

    /// The lines of a template that refuse the same.
    pub(crate) fn template(&self) -> String {
        let message = format!("{} does not do with {}: {}", self.key, self.other, self.fix);
        format!(
            "{{{{- if and {} {} }}}}{{{{ fail {message:?} }}}}{{{{ end }}}}\n",
            self.key_state.expression(self.key),
            self.other_state.expression(self.other),
        )
    }
}
