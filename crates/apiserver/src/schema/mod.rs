//! What merging needs to know of objects: which lists are sets or maps and by which keys, and which
//! objects change only as a whole.
//!
//! It is declared once per published type in `lists.txt`, or read from the structural schema of a
//! custom resource. Strategic merge patches, server-side apply and the OpenAPI documents go by it. A
//! list that is not told of is atomic, an object is merged field by field, as upstream.
//!
//! It is not validation: nothing here says which fields there may be.

mod known;
mod structural;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde_json::Value;

use crate::kinds::Kind;

pub(crate) use known::{Fact, of_message};
pub(crate) use structural::read as of_structural;

/// What is told of an object's fields.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Type {
    fields: BTreeMap<Box<str>, Field>,
    /// What is told of every other field: the object is a table of such values.
    rest: Option<Box<Field>>,
    /// Whether an item of this type changes as a whole.
    whole: bool,
}

/// One field, or each value of a table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
    /// How it is merged.
    pub(crate) shape: Shape,
    /// The type of the object, or of each item.
    pub(crate) of: Arc<Type>,
    /// Whether the type always has it, if only empty: its coming is no news.
    pub(crate) always: bool,
}

/// How a field is merged.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    /// An object: field by field.
    Object,
    /// As a whole, whatever it is.
    Atomic,
    /// A list of simple values, each there once.
    Set,
    /// A list of objects that these fields tell apart. Strategic merge patches know no more than the
    /// first one, and of some lists not even that (`patched`).
    Map {
        /// In their order.
        keys: Box<[ListKey]>,
        /// Whether strategic merge patches merge it too.
        patched: bool,
    },
}

/// A field that tells the items of a list apart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ListKey {
    /// Its name.
    pub(crate) name: Box<str>,
    /// What it is in an item that does not give it.
    pub(crate) default: Option<Value>,
}

static NOTHING: LazyLock<Arc<Type>> = LazyLock::new(Arc::default);
static WHOLE: LazyLock<Arc<Type>> = LazyLock::new(|| {
    Arc::new(Type {
        whole: true,
        ..Type::default()
    })
});

impl Type {
    /// A type of which nothing is told.
    pub(crate) fn nothing() -> &'static Arc<Type> {
        &NOTHING
    }

    /// The type of objects that change as a whole.
    fn whole() -> &'static Arc<Type> {
        &WHOLE
    }

    /// Whether an item of this type changes as a whole.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    /// What is told of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        self.fields.get(name).or(self.rest.as_deref())
    }

    /// Whether the object is a table of values under names that its author chose.
    pub(crate) fn is_table(&self) -> bool {
        self.rest.is_some()
    }

    fn tells_nothing(&self) -> bool {
        self.fields.is_empty() && self.rest.is_none() && !self.whole
    }
}

impl Field {
    fn tells_nothing(&self) -> bool {
        self.shape == Shape::Object && !self.always && self.of.tells_nothing()
    }
}

/// The type of a kind's objects.
pub(crate) fn of(kind: &Kind) -> Arc<Type> {
    match kind.custom {
        Some(custom) => custom.merging(),
        None => known::of_kind(kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::{all, find};

    fn shape(plural: &str, path: &str) -> Shape {
        let kind = all().iter().find(|kind| kind.plural == plural).unwrap();
        let mut of = of(kind);
        let mut shape = Shape::Object;
        for name in path.split('.') {
            let field = of.field(name).cloned();
            let field = field.unwrap_or_else(|| panic!("{plural}: {name} of {path}"));
            (shape, of) = (field.shape, field.of);
        }
        shape
    }

    fn keys(shape: &Shape) -> Vec<&str> {
        match shape {
            Shape::Map { keys, .. } => keys.iter().map(|key| key.name.as_ref()).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lists_are_what_the_published_api_says() {
        assert_eq!(keys(&shape("pods", "spec.containers")), ["name"]);
        let ports = shape("deployments", "spec.template.spec.containers.ports");
        assert_eq!(keys(&ports), ["containerPort", "protocol"]);
        let more = shape("pods", "spec.ephemeralContainers.env");
        assert_eq!(keys(&more), ["name"]);
        assert_eq!(shape("ingresses", "metadata.finalizers"), Shape::Set);
        assert_eq!(shape("services", "spec.selector"), Shape::Atomic);
        assert_eq!(shape("deployments", "spec.selector"), Shape::Atomic);
        assert_eq!(shape("rolebindings", "roleRef"), Shape::Atomic);
        let pod = of(find("", "v1", "pods").unwrap());
        assert!(pod.field("spec").unwrap().of.field("tolerations").is_none());
    }

    #[test]
    fn every_kind_has_metadata_and_parts_that_are_always_there() {
        for kind in all() {
            let of = of(kind);
            let metadata = of.field("metadata").unwrap();
            assert!(metadata.always, "{kind:?}");
            assert_eq!(
                keys(&metadata.of.field("ownerReferences").unwrap().shape),
                ["uid"]
            );
            assert!(Arc::ptr_eq(&of, &super::of(kind)), "{kind:?} is made once");
        }
    }
}
