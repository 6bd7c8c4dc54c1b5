//! Names of nodes, each text once: a hundred thousand endpoints name a few nodes.

use std::collections::BTreeSet;

use seaway_model::NodeName;

/// So many names are kept before it is asked whether anybody still uses them.
const FEW: usize = 1024;

/// The names that endpoints mention, and perhaps some that none does any more.
#[derive(Clone, Debug)]
pub(super) struct NodeNames {
    all: BTreeSet<NodeName>,
    /// At so many names those that nobody uses are dropped.
    full: usize,
}

impl Default for NodeNames {
    fn default() -> NodeNames {
        NodeNames {
            all: BTreeSet::new(),
            full: FEW,
        }
    }
}

impl NodeNames {
    /// Makes `name` share its text with all others of that name. Slices can name anything, so what
    /// is out of use goes from time to time, at a cost that does not grow with what stays.
    pub(super) fn share(&mut self, name: &mut NodeName) {
        if let Some(known) = self.all.get(name) {
            *name = known.clone();
            return;
        }
        if self.all.len() >= self.full {
            self.all.retain(NodeName::is_shared);
            self.full = FEW.max(2 * self.all.len());
        }
        self.all.insert(name.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(i: usize) -> NodeName {
        NodeName::new(format!("node-{i}")).expect("valid")
    }

    #[test]
    fn names_are_shared_and_those_out_of_use_are_dropped() {
        let mut names = NodeNames::default();
        let mut kept: Vec<NodeName> = (0..2 * FEW).map(name).collect();
        for name in &mut kept {
            names.share(name);
        }
        for i in 0..20 * FEW {
            names.share(&mut name(kept.len() + i));
        }
        assert!(names.all.len() <= 4 * FEW + 1, "{}", names.all.len());
        for known in &kept {
            let mut again = NodeName::new(known.as_str()).expect("valid");
            names.share(&mut again);
            assert_eq!(again.as_str().as_ptr(), known.as_str().as_ptr());
        }
    }
}
