//! Which Pods and which slices a Service has, without a look at all others.
//!
//! Plain data, told of every change. A Service is found by one label of its selector, the one that the
//! fewest others have; its Pods by the rarest label likewise. So a change costs what it touches.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::meta::Key;

type Labels = BTreeMap<String, String>;
type Pair = (String, String);

/// What is known of one namespace.
#[derive(Debug, Default)]
struct Space {
    selectors: HashMap<String, Labels>,
    /// Services by the one pair that they are found by.
    by_pair: HashMap<Pair, BTreeSet<String>>,
    pair_of: HashMap<String, Pair>,
    pods: HashMap<String, Labels>,
    by_label: HashMap<Pair, BTreeSet<String>>,
    /// Services with their Pods, and the other way round.
    members: HashMap<String, BTreeSet<String>>,
    member_of: HashMap<String, BTreeSet<String>>,
    /// Services with their slices, and the other way round.
    slices: HashMap<String, BTreeSet<String>>,
    slice_of: HashMap<String, String>,
}

/// The Services, Pods and slices of all namespaces.
#[derive(Debug, Default)]
pub(super) struct Index {
    spaces: BTreeMap<String, Space>,
}

fn matches(selector: &Labels, labels: &Labels) -> bool {
    selector
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}

fn pairs(labels: &Labels) -> impl Iterator<Item = Pair> + '_ {
    labels
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()))
}

fn insert(map: &mut HashMap<String, BTreeSet<String>>, key: &str, value: &str) {
    map.entry(key.to_owned())
        .or_default()
        .insert(value.to_owned());
}

fn remove<K: std::hash::Hash + Eq>(map: &mut HashMap<K, BTreeSet<String>>, key: &K, value: &str) {
    if let Some(values) = map.get_mut(key) {
        values.remove(value);
        if values.is_empty() {
            map.remove(key);
        }
    }
}

impl Space {
    fn is_empty(&self) -> bool {
        self.selectors.is_empty() && self.pods.is_empty() && self.slice_of.is_empty()
    }

    fn drop_service(&mut self, name: &str) {
        self.selectors.remove(name);
        if let Some(pair) = self.pair_of.remove(name) {
            remove(&mut self.by_pair, &pair, name);
        }
        for pod in self.members.remove(name).unwrap_or_default() {
            remove(&mut self.member_of, &pod, name);
        }
    }

    fn add_service(&mut self, name: &str, selector: &Labels) {
        let count = |map: &HashMap<Pair, BTreeSet<String>>, pair: &Pair| {
            map.get(pair).map_or(0, BTreeSet::len)
        };
        let Some(pair) = pairs(selector).min_by_key(|pair| count(&self.by_pair, pair)) else {
            return;
        };
        let rarest = pairs(selector).min_by_key(|pair| count(&self.by_label, pair));
        let candidates = rarest.and_then(|pair| self.by_label.get(&pair));
        let chosen = candidates.into_iter().flatten().filter(|pod| {
            let labels = self.pods.get(*pod);
            labels.is_some_and(|labels| matches(selector, labels))
        });
        let chosen: BTreeSet<String> = chosen.cloned().collect();
        for pod in &chosen {
            insert(&mut self.member_of, pod, name);
        }
        if !chosen.is_empty() {
            self.members.insert(name.to_owned(), chosen);
        }
        let found = self.by_pair.entry(pair.clone()).or_default();
        found.insert(name.to_owned());
        self.pair_of.insert(name.to_owned(), pair);
        self.selectors.insert(name.to_owned(), selector.clone());
    }

    fn drop_pod(&mut self, name: &str) -> BTreeSet<String> {
        for pair in pairs(&self.pods.remove(name).unwrap_or_default()) {
            remove(&mut self.by_label, &pair, name);
        }
        let services = self.member_of.remove(name).unwrap_or_default();
        for service in &services {
            remove(&mut self.members, service, name);
        }
        services
    }

    fn add_pod(&mut self, name: &str, labels: &Labels) -> BTreeSet<String> {
        let mut services = BTreeSet::new();
        for pair in pairs(labels) {
            let candidates = self.by_pair.get(&pair).into_iter().flatten();
            let chosen = candidates.filter(|service| {
                let selector = self.selectors.get(*service);
                selector.is_some_and(|selector| matches(selector, labels))
            });
            services.extend(chosen.cloned());
            let found = self.by_label.entry(pair).or_default();
            found.insert(name.to_owned());
        }
        for service in &services {
            insert(&mut self.members, service, name);
        }
        if !services.is_empty() {
            self.member_of.insert(name.to_owned(), services.clone());
        }
        self.pods.insert(name.to_owned(), labels.clone());
        services
    }
}

impl Index {
    fn space(&mut self, namespace: &str) -> &mut Space {
        self.spaces.entry(namespace.to_owned()).or_default()
    }

    fn tidy(&mut self, namespace: &str) {
        if self.spaces.get(namespace).is_some_and(Space::is_empty) {
            self.spaces.remove(namespace);
        }
    }

    /// A Service has this selector now; None: it has none, or is gone.
    pub(super) fn service(&mut self, key: &Key, selector: Option<&Labels>) {
        let space = self.space(&key.namespace);
        if selector != space.selectors.get(&key.name) {
            space.drop_service(&key.name);
            if let Some(selector) = selector {
                space.add_service(&key.name, selector);
            }
        }
        self.tidy(&key.namespace);
    }

    /// A Pod has these labels now, or is gone. Answers the Services that it comes to or leaves.
    pub(super) fn pod(&mut self, key: &Key, labels: Option<&Labels>) -> BTreeSet<String> {
        let space = self.space(&key.namespace);
        if labels.is_some() && labels == space.pods.get(&key.name) {
            return BTreeSet::new();
        }
        let before = space.drop_pod(&key.name);
        let after = labels.map(|labels| space.add_pod(&key.name, labels));
        self.tidy(&key.namespace);
        let after = after.unwrap_or_default();
        before.symmetric_difference(&after).cloned().collect()
    }

    /// A slice belongs to this Service now; None: to nobody, or it is gone. Answers the Service that
    /// it belonged to.
    pub(super) fn slice(&mut self, key: &Key, service: Option<&str>) -> Option<String> {
        let space = self.space(&key.namespace);
        let before = space.slice_of.get(&key.name).cloned();
        if before.as_deref() != service {
            if let Some(before) = &before {
                remove(&mut space.slices, before, &key.name);
                space.slice_of.remove(&key.name);
            }
            if let Some(service) = service {
                insert(&mut space.slices, service, &key.name);
                space.slice_of.insert(key.name.clone(), service.to_owned());
            }
        }
        self.tidy(&key.namespace);
        before
    }

    /// The Services of a Pod.
    pub(super) fn services_of(&self, pod: &Key) -> Vec<Key> {
        let names = self.names(pod, |space| space.member_of.get(&pod.name));
        let key = |name: &str| Key {
            namespace: pod.namespace.clone(),
            name: name.to_owned(),
        };
        names.map(key).collect()
    }

    /// The names of the Pods of a Service.
    pub(super) fn pods_of(&self, service: &Key) -> impl Iterator<Item = &str> {
        self.names(service, |space| space.members.get(&service.name))
    }

    /// The names of the slices of a Service.
    pub(super) fn slices_of(&self, service: &Key) -> impl Iterator<Item = &str> {
        self.names(service, |space| space.slices.get(&service.name))
    }

    fn names<'a>(
        &'a self,
        about: &Key,
        names: impl Fn(&'a Space) -> Option<&'a BTreeSet<String>>,
    ) -> impl Iterator<Item = &'a str> {
        let names = self.spaces.get(&about.namespace).and_then(names);
        names.into_iter().flatten().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(name: impl ToString) -> Key {
        Key {
            namespace: "n".to_owned(),
            name: name.to_string(),
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Service(u8, Option<Labels>),
        Pod(u8, Option<Labels>),
        Slice(u8, Option<u8>),
    }

    fn labels(least: usize) -> impl Strategy<Value = Labels> {
        let pair = ("[abc]", "[xy]");
        prop::collection::btree_map(pair.0, pair.1, least..3)
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..4_u8, prop::option::of(labels(1))).prop_map(|(at, with)| Step::Service(at, with)),
            (0..6_u8, prop::option::of(labels(0))).prop_map(|(at, with)| Step::Pod(at, with)),
            (0..4_u8, prop::option::of(0..4_u8)).prop_map(|(at, of)| Step::Slice(at, of)),
        ]
    }

    proptest! {
        /// After any history the index says what a look at everything says, and who was concerned.
        #[test]
        fn it_says_what_a_look_at_everything_says(steps in prop::collection::vec(step(), 0..60)) {
            let mut index = Index::default();
            let (mut services, mut pods, mut slices) =
                (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
            let chosen = |services: &BTreeMap<u8, Labels>, labels: Option<&Labels>| {
                let found = services.iter().filter(|(_, selector)| {
                    labels.is_some_and(|labels| matches(selector, labels))
                });
                found.map(|(name, _)| name.to_string()).collect::<BTreeSet<_>>()
            };
            for step in steps {
                match step {
                    Step::Service(name, selector) => {
                        index.service(&key(name), selector.as_ref());
                        match selector {
                            Some(selector) => services.insert(name, selector),
                            None => services.remove(&name),
                        };
                    }
                    Step::Pod(name, labels) => {
                        let told = index.pod(&key(name), labels.as_ref());
                        let before = chosen(&services, pods.get(&name));
                        let after = chosen(&services, labels.as_ref());
                        prop_assert_eq!(told, &before ^ &after);
                        match labels {
                            Some(labels) => pods.insert(name, labels),
                            None => pods.remove(&name),
                        };
                    }
                    Step::Slice(name, service) => {
                        let of = service.map(|service| service.to_string());
                        let before = index.slice(&key(name), of.as_deref());
                        prop_assert_eq!(before, slices.remove(&name));
                        slices.extend(of.map(|service| (name, service)));
                    }
                }
                for (name, selector) in &services {
                    let members = pods.iter().filter(|(_, labels)| matches(selector, labels));
                    let members: Vec<_> = members.map(|(pod, _)| pod.to_string()).collect();
                    prop_assert!(index.pods_of(&key(name)).eq(members));
                }
                for name in 0..4_u8 {
                    let of = slices.iter().filter(|(_, service)| **service == name.to_string());
                    let of: Vec<_> = of.map(|(slice, _)| slice.to_string()).collect();
                    prop_assert!(index.slices_of(&key(name)).eq(of));
                }
            }
            for name in 0..6_u8 {
                index.pod(&key(name), None);
                index.service(&key(name), None);
                index.slice(&key(name), None);
            }
            prop_assert!(index.spaces.is_empty(), "nothing is left behind");
        }
    }
}
