//! The nftables part of the realiser: filters, translations and their data.
//!
//! State outside the process: tables `inet seaway` and `arp seaway`, and `bridge seaway` where that is
//! the wiring.
//! Chains and rules follow from the one [`FirewallRow`], which is noted beside the first rule;
//! every other row is elements of sets. Tables of other names are never touched.
//!
//! Rules are replaced in one transaction in which the sets stay, chain by chain where one differs:
//! there is no moment without them.

mod bridge;
mod commit;
mod observe;
mod parts;
mod rebuild;
mod reserved;
mod rules;
mod services;
mod sets;
mod tag;
mod words;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use seaway_model::{
    Device, DropReason, Family, FirewallRow, HostPortRow, PortGuardRow, Protocol, Row,
    host_link_name,
};
use seaway_plan::{Change, ChangeSet, Tables};

use self::commit::{Plan, Subject};
use self::rules::{FORWARD_IN, FORWARD_OUT};
use self::sets::TABLE;
use super::{RowFailure, Services};
use crate::conntrack::{FlowSelector, forget};
use crate::error::KernelError;
use crate::netlink::Netlink;
use crate::nft::{Element, Item, Message, Nft, Reader, TableFamily, TableState, TableWatch};

/// The link groups by which rules know devices.
mod groups {
    pub(super) const PODS: u32 = crate::realise::LIVE_GROUP;
    pub(super) const DYING: u32 = crate::realise::DYING_GROUP;
    pub(super) const VXLAN: u32 = 0x5ea3;
    pub(super) const BRIDGE: u32 = 0x5ea4;
}

/// The chain whose first rule bears the note, and its table.
const NOTED: (TableFamily, &str) = (TableFamily::Inet, "prerouting");

/// Our tables in nftables. The sockets are opened at the first use, in the namespace of the thread
/// that uses it.
#[derive(Default)]
pub struct Firewall {
    sockets: Option<(Nft, Reader)>,
    /// Elements that are no row's, met by the last observation: gone with the next rebuilding.
    strays: Vec<Element>,
}

/// Tells when somebody else changes our tables.
pub struct FirewallWatch {
    watch: TableWatch,
}

impl FirewallWatch {
    /// Watches from now on, in the calling thread's namespace.
    pub fn open() -> Result<FirewallWatch, KernelError> {
        Ok(FirewallWatch {
            watch: TableWatch::open(TABLE)?,
        })
    }

    /// Takes what has come, without waiting. True if somebody who is not this process changed our
    /// tables since the last call, or may have.
    pub fn drain(&mut self) -> Result<bool, KernelError> {
        self.watch.drain()
    }
}

impl AsFd for FirewallWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}

type States = BTreeMap<TableFamily, TableState>;

impl Firewall {
    fn sockets(&mut self) -> Result<&mut (Nft, Reader), KernelError> {
        if self.sockets.is_none() {
            self.sockets = Some((Nft::open()?, Reader::open()?));
        }
        Ok(self.sockets.as_mut().expect("opened above"))
    }

    fn states(&mut self) -> Result<States, KernelError> {
        let (_, reader) = self.sockets()?;
        let mut states = States::new();
        for family in TableFamily::ALL {
            if let Some(state) = reader.table(family, TABLE)? {
                states.insert(family, state);
            }
        }
        Ok(states)
    }

    /// Reads what the namespace holds of ours into `tables`.
    pub fn observe(
        &mut self,
        planned: &Tables,
        services: Services,
        tables: &mut Tables,
    ) -> Result<(), KernelError> {
        self.strays.clear();
        let states = self.states()?;
        if states.is_empty() {
            return Ok(());
        }
        let (_, reader) = self.sockets()?;
        let mut strays = observe::elements(reader, &states, planned, tables)?;
        let row = |strays: &[Element]| observe::firewall_row(&states, planned, strays.is_empty());
        let mut found = row(&strays);
        let as_planned = found.is_some() && planned.firewall.iter().eq(&found);
        match services {
            Services::Omitted => {}
            Services::Unchanged if as_planned => observe::take_services(planned, tables),
            Services::Unchanged | Services::Read => {
                let more = observe::services(reader, &states, tables)?;
                if strays.is_empty() && !more.is_empty() {
                    found = row(&more);
                }
                strays.extend(more);
            }
        }
        tables.firewall.extend_with(found);
        self.strays = strays;
        Ok(())
    }

    /// Carries out the changes to be made before links are made, in one transaction.
    pub fn apply_before(&mut self, changes: &ChangeSet, failures: &mut Vec<RowFailure>) {
        let mut plan = Plan::default();
        for change in &changes.firewall {
            if let Change::Upsert(row) = change {
                match self.rebuild(row) {
                    Ok(items) => plan.extend(row, items),
                    Err(error) => {
                        failures.push(RowFailure::of(FirewallRow::TABLE, &row.key(), &error));
                    }
                }
            }
        }
        self.elements(changes, Which::Upserts, plan, failures);
        forget_flows(&changes.host_ports, Which::Upserts, failures);
    }

    /// Carries out the deletions, after links are gone.
    pub fn apply_after(&mut self, changes: &ChangeSet, failures: &mut Vec<RowFailure>) {
        let mut plan = Plan::default();
        let gone = changes.firewall.iter().find_map(|change| match change {
            Change::Delete(row) => Some(row),
            Change::Upsert(_) => None,
        });
        match gone {
            None => self.elements(changes, Which::Deletes, plan, failures),
            Some(row) => {
                match self.states() {
                    Ok(states) => plan.extend(row, states.into_keys().map(delete_table)),
                    Err(error) => {
                        failures.push(RowFailure::of(FirewallRow::TABLE, &row.key(), &error));
                    }
                }
                self.carry_out(plan, failures);
            }
        }
        forget_flows(&changes.host_ports, Which::Deletes, failures);
    }

    fn carry_out(&mut self, plan: Plan<'_>, failures: &mut Vec<RowFailure>) {
        match self.sockets() {
            Ok((nft, _)) => plan.carry_out(nft, failures),
            Err(error) => failures.push(RowFailure {
                table: FirewallRow::TABLE,
                ..RowFailure::whole(&error)
            }),
        }
    }

    /// What makes the tables be as the row says, whatever they are now. What is right already stays
    /// as it is.
    fn rebuild(&mut self, row: &FirewallRow) -> Result<Vec<Item>, KernelError> {
        let mut states = self.states()?;
        self.wake(&states)?;
        let mut items = Vec::new();
        let note = tag::write(row);
        for spec in rules::tables(row) {
            let state = states.remove(&spec.family);
            let messages = rebuild::messages(&spec, state.as_ref(), &note);
            items.extend(messages.into_iter().map(Item::Make));
            let strays = self.strays.iter().filter(|e| e.family == spec.family);
            items.extend(strays.cloned().map(Item::Remove));
        }
        items.extend(states.into_keys().map(delete_table));
        self.strays.clear();
        Ok(items)
    }

    /// Tables that somebody put to sleep are woken alone: the kernel refuses to change one in the
    /// same transaction.
    fn wake(&mut self, states: &States) -> Result<(), KernelError> {
        let asleep = states.iter().filter(|(_, state)| state.dormant());
        let items: Vec<Item> = asleep
            .map(|(family, _)| Item::Make(Message::new_table(*family, TABLE)))
            .collect();
        let (nft, _) = self.sockets()?;
        nft.commit(TABLE, &items, true).map(drop)
    }

    /// Carries out what `plan` holds and the elements of `changes`. What others lead to is there
    /// before them, and goes after them.
    fn elements<'a>(
        &mut self,
        changes: &'a ChangeSet,
        which: Which,
        plan: Plan<'a>,
        failures: &mut Vec<RowFailure>,
    ) {
        use sets::{host_ports, peers, services};
        let mut filling = Filling {
            firewall: self,
            which,
            plan,
            failures,
        };
        filling.rows(&changes.vteps, peers::of_vtep);
        filling.rows(&changes.inner_sources, peers::of_inner_source);
        filling.rows(&changes.cluster_nets, peers::of_cluster_net);
        filling.rows(&changes.local_pods, services::of_local_pod);
        filling.rows(&changes.host_ports, host_ports::of_host_port);
        filling.port_guards(&changes.port_guards);
        let parts: [&dyn Fn(&mut Filling<'a, '_>); 5] = [
            &|f| f.rows(&changes.backends, services::of_backend),
            &|f| f.rows(&changes.members, services::of_member),
            &|f| f.rows(&changes.source_ranges, services::of_source_range),
            &|f| f.rows(&changes.cluster_ips, services::of_cluster_ip),
            &|f| f.rows(&changes.frontends, services::of_frontend),
        ];
        match which {
            Which::Upserts => parts.iter().for_each(|part| part(&mut filling)),
            Which::Deletes => parts.iter().rev().for_each(|part| part(&mut filling)),
        }
        filling.flush();
    }

    /// What has been dropped since the tables were made.
    pub fn drops(&mut self) -> Result<Vec<(DropReason, u64)>, KernelError> {
        let (_, reader) = self.sockets()?;
        let mut all: BTreeMap<&str, u64> = BTreeMap::new();
        for family in TableFamily::ALL {
            let counters = reader.counters(family, TABLE)?;
            for reason in DropReason::ALL {
                let found = counters.get(reason.as_str()).copied().unwrap_or(0);
                *all.entry(reason.as_str()).or_default() += found;
            }
        }
        let count = |reason: DropReason| (reason, all.get(reason.as_str()).copied().unwrap_or(0));
        Ok(DropReason::ALL.map(count).to_vec())
    }

    /// How many flows of Pods began to be forwarded, and how many were still there behind
    /// everybody else's rules: the difference was dropped by somebody in between.
    pub fn forwarded(&mut self) -> Result<(u64, u64), KernelError> {
        let (_, reader) = self.sockets()?;
        let counters = reader.counters(TableFamily::Inet, TABLE)?;
        let count = |name| counters.get(name).copied().unwrap_or(0);
        // In this order, so that what passes meanwhile is not taken for dropped.
        Ok((count(FORWARD_IN), count(FORWARD_OUT)))
    }
}

fn delete_table(family: TableFamily) -> Item {
    Item::Make(Message::delete_table(family, TABLE))
}

/// Which changes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Upserts,
    Deletes,
}

impl Which {
    fn of<R>(self, change: &Change<R>) -> bool {
        matches!(change, Change::Upsert(_)) == (self == Which::Upserts)
    }

    /// What is to be done to an element; one of a map takes the place of any that has its key.
    fn item(self, element: Element) -> Item {
        match (self, element.value.is_empty()) {
            (Which::Upserts, true) => Item::Add(element),
            (Which::Upserts, false) => Item::Replace(element),
            (Which::Deletes, _) => Item::Remove(element),
        }
    }
}

/// Elements on their way, a transaction at a time.
struct Filling<'a, 'f> {
    firewall: &'f mut Firewall,
    which: Which,
    plan: Plan<'a>,
    failures: &'f mut Vec<RowFailure>,
}

impl<'a> Filling<'a, '_> {
    fn row(&mut self, row: &'a dyn Subject, elements: Vec<Element>) {
        let which = self.which;
        let items = elements.into_iter().map(|element| which.item(element));
        self.plan.extend(row, items);
        if self.plan.is_full() {
            self.flush();
        }
    }

    fn rows<R: Row + Subject + 'a>(
        &mut self,
        changes: &'a [Change<R>],
        elements: fn(&R) -> Vec<Element>,
    ) {
        let which = self.which;
        for change in changes.iter().filter(|change| which.of(change)) {
            self.row(change.row(), elements(change.row()));
        }
    }

    fn port_guards(&mut self, changes: &'a [Change<PortGuardRow>]) {
        let which = self.which;
        for change in changes.iter().filter(|change| which.of(change)) {
            let row = change.row();
            match port_name(row) {
                Some(name) => self.row(row, sets::guards::of_port_guard(row, &name)),
                None => self.failures.push(RowFailure::absent(
                    PortGuardRow::TABLE,
                    &row.key(),
                    "a port of that kind",
                )),
            }
        }
    }

    fn flush(&mut self) {
        let plan = std::mem::take(&mut self.plan);
        self.firewall.carry_out(plan, self.failures);
    }
}

/// The name of a port of the bridge, which follows from whose it is.
fn port_name(row: &PortGuardRow) -> Option<String> {
    match &row.device {
        Device::PodLink(id) => Some(host_link_name(id).to_string()),
        Device::Named(name) => Some(name.to_string()),
        _ => None,
    }
}

/// Flows without an end that the kernel could see go on as they were when they began: those to a
/// port of this node that leads elsewhere now are forgotten.
fn forget_flows(changes: &[Change<HostPortRow>], which: Which, failures: &mut Vec<RowFailure>) {
    let changed = || changes.iter().filter(|change| which.of(change));
    let endless = |change: &&Change<HostPortRow>| change.row().key.protocol != Protocol::Tcp;
    let rows: Vec<&HostPortRow> = changed().filter(endless).map(Change::row).collect();
    if rows.is_empty() {
        return;
    }
    let forgotten = match which {
        Which::Deletes => Ok(rows.iter().map(|row| flows_to_backend(row)).collect()),
        Which::Upserts => flows_to_node(&rows),
    };
    if let Err(error) = forgotten.and_then(|selectors: Vec<_>| forget(&selectors)) {
        failures.extend(
            rows.iter()
                .map(|row| RowFailure::of(HostPortRow::TABLE, &row.key(), &error)),
        );
    }
}

fn flows_to_backend(row: &HostPortRow) -> FlowSelector {
    FlowSelector {
        family: row.key.family,
        protocol: row.key.protocol,
        destination: row.key.address,
        port: row.key.port,
        translated_to: Some(row.target),
    }
}

/// Flows of a port to every address that this node has now: those of Pods to others' ports of the
/// same number are none of ours.
fn flows_to_node(rows: &[&HostPortRow]) -> Result<Vec<FlowSelector>, KernelError> {
    let here: Vec<IpAddr> = Netlink::open()?
        .addresses()?
        .iter()
        .map(|address| address.net.addr())
        .collect();
    let at = |row: &HostPortRow, address| FlowSelector {
        destination: Some(address),
        translated_to: None,
        ..flows_to_backend(row)
    };
    let of_row = |row: &&HostPortRow| -> Vec<FlowSelector> {
        let wanted = |address: &&IpAddr| {
            Family::of(**address) == row.key.family
                && row.key.address.is_none_or(|one| one == **address)
        };
        here.iter().filter(wanted).map(|a| at(row, *a)).collect()
    };
    Ok(rows.iter().flat_map(of_row).collect())
}
