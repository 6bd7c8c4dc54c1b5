//! The ConfigMap: what is chosen, as the variables that the programs read. A variable that is empty
//! counts as not given.

use super::{CONFIG, metadata};
use crate::node::{Map, Node, map};
use crate::settings::{self, Reader, Variable};
use crate::slots::Slot;

/// Where an agent says how it is. Without kube-proxy it has its place; with it, one beside it.
pub(super) const HEALTH_PORTS: (i64, i64) = (10256, 10266);
const HEALTH_VARIABLE: &str = "SEAWAY_HEALTHZ_BIND";

pub(super) fn config_map() -> Node {
    map! {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(CONFIG, None),
        "data": Node::Map(variables(None)),
    }
}

/// What changes whenever a program would be told something else: its Pods are replaced then.
pub(super) fn digest(reader: Reader) -> Node {
    let parts = variables(Some(reader)).into_iter();
    let parts = parts.flat_map(|(name, node)| [Node::from(name), node]);
    Slot::Digest(parts.collect()).into()
}

/// The variables of a program, or of all.
fn variables(reader: Option<Reader>) -> Map {
    let told = settings::ALL.iter().filter_map(|setting| {
        let (name, of, slot) = match setting.variable? {
            Variable::Same(name, of) => (name, of, Slot::Variable(setting.path)),
            Variable::Opposite(name, of) => (name, of, Slot::Opposite(setting.path)),
        };
        let wanted = of == Reader::Both || reader.is_none_or(|reader| reader == of);
        wanted.then(|| (name.to_owned(), slot.into()))
    });
    let mut all: Map = told.collect();
    if reader != Some(Reader::Controller) {
        let health = Slot::Choice("kubeProxyReplacement", "[::]:10256", "[::]:10266");
        all.push((HEALTH_VARIABLE.to_owned(), health.into()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_of_probes_are_those_that_the_agent_is_told() {
        let text = format!("{:?}", variables(Some(Reader::Agent)));
        for port in [HEALTH_PORTS.0, HEALTH_PORTS.1] {
            assert!(text.contains(&format!("[::]:{port}\"")), "{text}");
        }
    }
}
