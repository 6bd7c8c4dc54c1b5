//! Which kinds a server serves: those that are built in and those of its CustomResourceDefinitions.
//!
//! Every server has a registry of its own, since a process may run several. What it lists is always
//! `&'static Kind`: definitions of custom kinds never change, a new definition is a new [`Kind`]
//! (see `custom`). A request looks at one [`Served`] from its start to its end.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::{Kind, all};
use crate::crd::definition::Definition;
use crate::views;

/// A custom kind that is served.
#[derive(Debug, Clone)]
pub(crate) struct Serving {
    pub(crate) kind: &'static Kind,
    /// Whether there are paths for this version, rather than only objects stored as it.
    pub(crate) served: bool,
    /// Whether the definition is being deleted, so that no new objects may come.
    pub(crate) going: bool,
    /// Where the schema with its descriptions stands.
    pub(crate) definition: Arc<Definition>,
}

/// The kinds of one server at one time.
#[derive(Debug)]
pub(crate) struct Served {
    kinds: Vec<&'static Kind>,
    /// As which kind the objects of each shelf are stored.
    stored: BTreeMap<usize, &'static Kind>,
    custom: Vec<Serving>,
}

impl Served {
    fn new(custom: Vec<Serving>) -> Self {
        let added = custom.iter().map(|serving| serving.kind);
        let stored = all().iter().chain(added).filter(|kind| kind.is_stored());
        let stored = stored.map(|kind| (kind.shelf(), kind)).collect();
        let added = custom.iter().filter(|serving| serving.served);
        let added = added.map(|serving| serving.kind);
        Self {
            kinds: all().iter().chain(added).collect(),
            stored,
            custom,
        }
    }

    /// What is served of a custom kind.
    pub(crate) fn custom(&self, kind: &Kind) -> Option<&Serving> {
        let mut custom = self.custom.iter();
        custom.find(|serving| std::ptr::eq(serving.kind, kind))
    }

    /// Whether new objects may come onto a shelf.
    pub(crate) fn takes(&self, shelf: usize) -> bool {
        let going = |serving: &Serving| serving.going && serving.kind.shelf() == shelf;
        self.stored.contains_key(&shelf) && !self.custom.iter().any(going)
    }

    /// Every kind, in the order of discovery.
    pub(crate) fn all(&self) -> impl Iterator<Item = &'static Kind> {
        self.kinds.iter().copied()
    }

    /// The kind that is served under a path.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
        self.all()
            .find(|kind| kind.group == group && kind.version == version && kind.plural == plural)
    }

    /// The kind of this group and name that is served, in whatever version.
    pub(crate) fn named(&self, group: &str, name: &str) -> Option<&'static Kind> {
        self.all()
            .find(|kind| kind.group == group && kind.kind == name)
    }

    /// Every kind as which objects are stored: one for each shelf.
    pub(crate) fn stored(&self) -> impl Iterator<Item = &'static Kind> {
        self.stored.values().copied()
    }

    /// The kind as which the objects of a shelf are stored.
    pub(crate) fn at(&self, shelf: usize) -> Option<&'static Kind> {
        self.stored.get(&shelf).copied()
    }
}

/// The kinds of one server.
#[derive(Debug)]
pub(crate) struct Registry(RwLock<Arc<Served>>);

impl Default for Registry {
    fn default() -> Self {
        Self(RwLock::new(Arc::new(Served::new(Vec::new()))))
    }
}

impl Registry {
    /// The kinds as they are now.
    pub(crate) fn served(&self) -> Arc<Served> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Serves these custom kinds, in this order, instead of those before.
    pub(crate) fn serve(&self, custom: Vec<Serving>) {
        let served = Arc::new(Served::new(custom));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = served;
    }
}

impl Kind {
    /// The number of the shelf on which the store keeps the objects: the same for all versions, and
    /// for a custom kind the same in all servers of the process.
    pub(crate) fn shelf(&'static self) -> usize {
        if let Some(custom) = self.custom {
            return custom.shelf();
        }
        let kind = views::stored_as(self);
        all()
            .iter()
            .position(|candidate| std::ptr::eq(candidate, kind))
            .expect("a kind is an entry of the table or has a definition")
    }

    /// Whether objects are stored as this kind, rather than as another version of it.
    fn is_stored(&'static self) -> bool {
        match self.custom {
            Some(custom) => custom.is_stored(),
            None => !views::is_view(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_kinds_are_there_from_the_start() {
        let served = Registry::default().served();
        assert_eq!(served.all().count(), all().len());
        let pods = served.find("", "v1", "pods").unwrap();
        assert_eq!(served.at(pods.shelf()).unwrap().kind, "Pod");
        assert!(served.named("apps", "Deployment").is_some());
        assert!(served.named("", "Deployment").is_none());
        let event = served.find("events.k8s.io", "v1", "events").unwrap();
        assert_eq!(served.at(event.shelf()).unwrap().group, "");
        assert_eq!(served.stored().count(), all().len() - 1);
    }
}
