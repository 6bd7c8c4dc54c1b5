//! What a definition is called, and who in a group has which name.
//!
//! As upstream each name is settled on its own: one that somebody else has is refused, and whoever
//! asks for it keeps the name that it had before.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::store::Key;

/// The names of one definition; empty ones are not given yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) short: Vec<String>,
    pub(crate) kind: String,
    pub(crate) list_kind: String,
    pub(crate) categories: Vec<String>,
}

/// Why a name was refused: reason and message.
pub(super) type Refusal = (&'static str, String);

impl Names {
    /// As it stands in `status.acceptedNames`.
    pub(super) fn json(&self) -> Value {
        let mut fields = Map::new();
        let lists = [
            ("categories", &self.categories),
            ("shortNames", &self.short),
        ];
        for (field, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            fields.insert(field.to_owned(), list.clone().into());
        }
        for (field, text) in [
            ("kind", &self.kind),
            ("listKind", &self.list_kind),
            ("plural", &self.plural),
            ("singular", &self.singular),
        ] {
            if !text.is_empty() || matches!(field, "kind" | "plural") {
                fields.insert(field.to_owned(), text.as_str().into());
            }
        }
        fields.into()
    }

    /// Resources and kinds have their names apart from each other.
    fn all(&self) -> impl Iterator<Item = (Space, &String)> {
        let resources = [&self.plural, &self.singular]
            .into_iter()
            .chain(&self.short);
        let kinds = [&self.kind, &self.list_kind].into_iter();
        let resources = resources.map(|name| (Space::Resources, name));
        let all = resources.chain(kinds.map(|name| (Space::Kinds, name)));
        all.filter(|(_, name)| !name.is_empty())
    }
}

/// Among what a name has to be the only one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Space {
    Resources,
    Kinds,
}

/// Who has which name.
#[derive(Debug, Default)]
pub(super) struct Claims(HashMap<(String, Space, String), Key>);

impl Claims {
    /// Gives a definition its names and takes those that it had before.
    pub(super) fn give(&mut self, group: &str, owner: &Key, (old, new): (&Names, &Names)) {
        for (space, name) in old.all() {
            self.0.remove(&(group.to_owned(), space, name.clone()));
        }
        for (space, name) in new.all() {
            let claim = (group.to_owned(), space, name.clone());
            self.0.insert(claim, owner.clone());
        }
    }

    /// The names that a definition gets of those that it wants, and the first one that is refused.
    pub(super) fn settle(
        &self,
        group: &str,
        owner: &Key,
        (held, wanted): (&Names, &Names),
    ) -> (Names, Option<Refusal>) {
        let mut refusal = None;
        let mut is_free = |space, name: &String, reason| {
            let claim = (group.to_owned(), space, name.clone());
            let free = self.0.get(&claim).is_none_or(|has| has == owner);
            if !free && refusal.is_none() {
                refusal = Some((reason, format!("{name:?} is already in use")));
            }
            free
        };
        let mut names = held.clone();
        if is_free(Space::Resources, &wanted.plural, "PluralConflict") {
            names.plural.clone_from(&wanted.plural);
        }
        if is_free(Space::Resources, &wanted.singular, "SingularConflict") {
            names.singular.clone_from(&wanted.singular);
        }
        let mut short = wanted.short.iter();
        if short.all(|name| is_free(Space::Resources, name, "ShortNamesConflict")) {
            names.short.clone_from(&wanted.short);
        }
        if is_free(Space::Kinds, &wanted.kind, "KindConflict") {
            names.kind.clone_from(&wanted.kind);
        }
        if is_free(Space::Kinds, &wanted.list_kind, "ListKindConflict") {
            names.list_kind.clone_from(&wanted.list_kind);
        }
        names.categories.clone_from(&wanted.categories);
        (names, refusal)
    }
}
