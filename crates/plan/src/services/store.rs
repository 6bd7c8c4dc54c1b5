//! The Services and slices themselves, and who mentions which address. Nothing is judged here.
//!
//! There may be 100,000 Services: names that occur often share one text, the index of addresses
//! holds eight bytes for each, and objects are found by a hash of their name, for a tree of names
//! is a tree of places far apart. Nothing depends on the order of these hashes.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use seaway_model::{EndpointSlice, Family, Service, ServiceName, SliceName};

use super::names::NodeNames;
use super::note::Note;
use super::slots::mix;
use crate::ledger::Owner;

/// What is known of a Service.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The Service; `None` while there are just slices that name it.
    pub(super) service: Option<Arc<Service>>,
    slices: Slices,
    /// What there is to say of it.
    pub(super) note: Note,
    id: u32,
}

/// Most Services have one slice.
#[derive(Clone, Debug, Default)]
enum Slices {
    #[default]
    None,
    One(Arc<EndpointSlice>),
    /// By name.
    More(Vec<Arc<EndpointSlice>>),
}

impl Slices {
    fn as_slice(&self) -> &[Arc<EndpointSlice>] {
        match self {
            Slices::None => &[],
            Slices::One(slice) => std::slice::from_ref(slice),
            Slices::More(all) => all,
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut Vec<Arc<EndpointSlice>>)) {
        let mut all = match std::mem::take(self) {
            Slices::None => Vec::new(),
            Slices::One(slice) => vec![slice],
            Slices::More(all) => all,
        };
        change(&mut all);
        *self = match all.len() {
            0 => Slices::None,
            1 => all.pop().map_or(Slices::None, Slices::One),
            _ => Slices::More(all),
        };
    }
}

impl Entry {
    /// Its slices by name.
    pub(super) fn slices(&self) -> impl Iterator<Item = &EndpointSlice> {
        self.slices.as_slice().iter().map(|slice| &**slice)
    }
}

/// The owner of a Service's rows, which is found by the Service's name.
#[derive(Clone, Debug)]
struct ByService(Arc<Owner>);

impl Borrow<ServiceName> for ByService {
    fn borrow(&self) -> &ServiceName {
        match &*self.0 {
            Owner::Service(name) => name,
            _ => unreachable!("made of a Service's name"),
        }
    }
}

/// A slice that is found by its name.
#[derive(Clone, Debug)]
struct BySlice(Arc<EndpointSlice>);

impl Borrow<SliceName> for BySlice {
    fn borrow(&self) -> &SliceName {
        &self.0.name
    }
}

macro_rules! found_by_name {
    ($type:ident, $name:ident) => {
        impl PartialEq for $type {
            fn eq(&self, other: &Self) -> bool {
                let (own, other): (&$name, &$name) = (self.borrow(), other.borrow());
                own == other
            }
        }

        impl Eq for $type {}

        impl Hash for $type {
            fn hash<H: Hasher>(&self, state: &mut H) {
                let name: &$name = self.borrow();
                name.hash(state);
            }
        }
    };
}

found_by_name!(ByService, ServiceName);
found_by_name!(BySlice, SliceName);

/// All Services and slices.
#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    entries: HashMap<ByService, Entry>,
    slices: HashSet<BySlice>,
    /// A hash of every address that a Service or its slices mention, with the Service's number.
    mentions: BTreeSet<(u32, u32)>,
    numbers: Vec<Option<Arc<Owner>>>,
    free: Vec<u32>,
    namespaces: BTreeSet<Arc<str>>,
    nodes: NodeNames,
}

impl Store {
    pub(super) fn entry(&self, name: &ServiceName) -> Option<&Entry> {
        self.entries.get(name)
    }

    pub(super) fn entry_mut(&mut self, name: &ServiceName) -> Option<&mut Entry> {
        self.entries.get_mut(name)
    }

    /// The entry of a name, with the name as it is stored.
    pub(super) fn named(&self, name: &ServiceName) -> Option<(&ServiceName, &Entry)> {
        let (key, entry) = self.entries.get_key_value(name)?;
        Some((key.borrow(), entry))
    }

    /// On whose behalf the rows of a Service are there.
    pub(super) fn owner(&self, name: &ServiceName) -> Option<Arc<Owner>> {
        let (key, _) = self.entries.get_key_value(name)?;
        Some(key.0.clone())
    }

    /// All entries by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&ServiceName, &Entry)> {
        let all = self.entries.iter();
        let mut all: Vec<(&ServiceName, &Entry)> = all.map(|(k, e)| (k.borrow(), e)).collect();
        all.sort_unstable_by_key(|(name, _)| *name);
        all.into_iter()
    }

    /// All names, in the order of their numbers.
    pub(super) fn names(&self) -> Vec<ServiceName> {
        let all = self.numbers.iter().flatten();
        all.filter_map(|owner| match &**owner {
            Owner::Service(name) => Some(name.clone()),
            _ => None,
        })
        .collect()
    }

    pub(super) fn slice(&self, name: &SliceName) -> Option<&EndpointSlice> {
        self.slices.get(name).map(|slice| &*slice.0)
    }

    /// The Services that mention an address, and perhaps a few that do not.
    pub(super) fn mentioning(&self, address: IpAddr) -> impl Iterator<Item = &ServiceName> {
        let hash = hash(address);
        let found = self.mentions.range((hash, 0)..=(hash, u32::MAX));
        found.filter_map(
            |(_, id)| match self.numbers.get(*id as usize)?.as_deref()? {
                Owner::Service(name) => Some(name),
                _ => None,
            },
        )
    }

    /// Puts a Service in or takes it out; gives what it was.
    pub(super) fn set_service(
        &mut self,
        name: &ServiceName,
        now: Option<Service>,
    ) -> Option<Arc<Service>> {
        let name = self.ready(name);
        let before = self.mentioned(&name);
        let now = now.map(|service| Arc::new(trim_service(service, &name)));
        let entry = self.entries.get_mut(&name)?;
        let old = std::mem::replace(&mut entry.service, now);
        self.settle(&name, &before);
        old
    }

    /// Puts a slice in.
    pub(super) fn insert_slice(&mut self, slice: EndpointSlice) {
        let name = self.ready(&slice.service);
        let before = self.mentioned(&name);
        let slice = Arc::new(self.trim_slice(slice, &name));
        self.slices.replace(BySlice(slice.clone()));
        if let Some(entry) = self.entries.get_mut(&name) {
            entry.slices.change(|all| {
                let found = all.binary_search_by(|s| s.name.cmp(&slice.name));
                match found {
                    Ok(at) => all[at] = slice,
                    Err(at) => all.insert(at, slice),
                }
            });
        }
        self.settle(&name, &before);
    }

    /// Takes a slice out; gives whose it was.
    pub(super) fn remove_slice(&mut self, name: &SliceName) -> Option<ServiceName> {
        let service = self.slice(name)?.service.clone();
        let before = self.mentioned(&service);
        self.slices.remove(name);
        if let Some(entry) = self.entries.get_mut(&service) {
            entry
                .slices
                .change(|all| all.retain(|slice| slice.name != *name));
        }
        self.settle(&service, &before);
        Some(service)
    }

    /// Takes out an entry of which nothing is known any more.
    pub(super) fn forget(&mut self, name: &ServiceName) {
        let is_empty = |e: &Entry| e.service.is_none() && e.slices.as_slice().is_empty();
        if !self.entries.get(name).is_some_and(is_empty) {
            return;
        }
        if let Some(entry) = self.entries.remove(name) {
            if let Some(number) = self.numbers.get_mut(entry.id as usize) {
                *number = None;
            }
            self.free.push(entry.id);
        }
        // This one and the one in `name`.
        let shared = self.namespaces.get(name.namespace());
        if shared.is_some_and(|text| Arc::strong_count(text) <= 2) {
            self.namespaces.remove(name.namespace());
        }
    }

    /// Makes sure that there is an entry; gives its name as it is stored.
    fn ready(&mut self, name: &ServiceName) -> ServiceName {
        if let Some((name, _)) = self.named(name) {
            return name.clone();
        }
        let mut name = name.clone();
        match self.namespaces.get(name.namespace()) {
            Some(shared) => name.share_namespace(shared),
            None => drop(self.namespaces.insert(name.shared_namespace().clone())),
        }
        let owner = Arc::new(Owner::Service(name.clone()));
        let id = self.free.pop().unwrap_or_else(|| {
            self.numbers.push(None);
            u32::try_from(self.numbers.len() - 1).expect("there are fewer Services than addresses")
        });
        self.numbers[id as usize] = Some(owner.clone());
        let entry = Entry {
            service: None,
            slices: Slices::None,
            note: Note::default(),
            id,
        };
        self.entries.insert(ByService(owner), entry);
        name
    }

    fn mentioned(&self, name: &ServiceName) -> Vec<u32> {
        self.entries.get(name).map(mentioned).unwrap_or_default()
    }

    /// Brings the index of addresses up to date after an entry was changed.
    fn settle(&mut self, name: &ServiceName, before: &[u32]) {
        let Some(entry) = self.entries.get(name) else {
            return;
        };
        let now = mentioned(entry);
        for hash in before
            .iter()
            .filter(|hash| now.binary_search(hash).is_err())
        {
            self.mentions.remove(&(*hash, entry.id));
        }
        for hash in now
            .iter()
            .filter(|hash| before.binary_search(hash).is_err())
        {
            self.mentions.insert((*hash, entry.id));
        }
    }

    /// Lets a slice share names with others, and take no more room than it needs.
    fn trim_slice(&mut self, mut slice: EndpointSlice, name: &ServiceName) -> EndpointSlice {
        slice.name.share_namespace(name.shared_namespace());
        slice.service = name.clone();
        slice.ports.shrink_to_fit();
        slice.endpoints.shrink_to_fit();
        for endpoint in &mut slice.endpoints {
            if let Some(pod) = &mut endpoint.pod {
                pod.share_namespace(name.shared_namespace());
            }
            for node in endpoint.node.iter_mut().chain(&mut endpoint.for_nodes) {
                self.nodes.share(node);
            }
        }
        slice
    }
}

fn trim_service(mut service: Service, name: &ServiceName) -> Service {
    service.name = name.clone();
    service.cluster_ips.shrink_to_fit();
    service.ports.shrink_to_fit();
    service.external_ips.shrink_to_fit();
    service.load_balancer_ips.shrink_to_fit();
    service.source_ranges.shrink_to_fit();
    service
}

/// The hashes of all addresses that an entry mentions, in order, each once.
fn mentioned(entry: &Entry) -> Vec<u32> {
    let service = entry.service.iter();
    let own = service.flat_map(|s: &Arc<Service>| {
        let outside = s.external_ips.iter().chain(&s.load_balancer_ips);
        s.cluster_ips.iter().chain(outside).copied()
    });
    let endpoints = entry
        .slices()
        .flat_map(|slice| slice.endpoints.iter().map(|e| e.address));
    let mut all: Vec<u32> = own.chain(endpoints).map(hash).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Two addresses of one hash cost nothing but a needless look.
fn hash(address: IpAddr) -> u32 {
    let bits = match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    let family = u64::from(Family::of(address) == Family::V6);
    (mix(mix((bits >> 64) as u64 ^ family) ^ bits as u64) >> 32) as u32
}
