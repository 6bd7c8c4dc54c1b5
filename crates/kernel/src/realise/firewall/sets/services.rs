//! Services: frontends, the backends behind them, and what goes with both.
//!
//! What a frontend's element leads to is its group and one word that says all else ([`Class`]). Values
//! that rules read in parts begin with a word of nothing, for the sake of tools that print rules
//! (see `When::blank`).

use std::borrow::Cow;

use seaway_model::{
    BackendKey, BackendRow, ClusterIpRow, Family, FrontendAction, FrontendKey, FrontendRow,
    GroupId, LocalPodRow, MAX_SLOTS, MemberRow, ServiceRules, SourceRangeRow, View,
};

use super::super::parts::address_field;
use super::{Bytes, Parts, by_family, inet, key, map, set};
use crate::nft::{Element, Field, Remembers, SetSpec};

/// How many clients a node remembers for each time and family. The kernel makes room for so many
/// when it makes the map: 2 MiB of pointers.
const CLIENTS: u32 = 1 << 17;

/// What is said of a frontend beside its group, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::realise::firewall) struct Class(pub(in crate::realise::firewall) u32);

impl Class {
    /// The bits that say how many slots there are, or [`Class::NO_SLOTS`].
    pub(in crate::realise::firewall) const SLOTS: u32 = 0xf;
    /// There are no backends for this traffic.
    pub(in crate::realise::firewall) const NO_SLOTS: u32 = 0xf;
    /// Senders are told that there is nobody.
    pub(in crate::realise::firewall) const REFUSE: u32 = 1 << 4;
    /// Packets are dropped.
    pub(in crate::realise::firewall) const DROP: u32 = 1 << 5;
    /// Only some senders may use it.
    pub(in crate::realise::firewall) const GUARDED: u32 = 1 << 6;
    /// What is to be known before anything is translated.
    pub(in crate::realise::firewall) const FATE: u32 = Class::REFUSE | Class::DROP | Class::GUARDED;
    /// For how many seconds clients keep their backend.
    pub(in crate::realise::firewall) const AFFINITY: u32 = !0xff;

    /// The bits of a time for which clients keep their backend.
    pub(in crate::realise::firewall) fn of_affinity(seconds: u32) -> u32 {
        seconds << 8
    }

    fn of(row: &FrontendRow) -> (GroupId, Class) {
        let guarded = if row.guarded { Class::GUARDED } else { 0 };
        let (group, bits) = match row.action {
            FrontendAction::Balance {
                group,
                slots,
                affinity,
            } => {
                let kept = affinity.map_or(0, Class::of_affinity);
                (group, u32::from(slots) | kept)
            }
            FrontendAction::Refuse => (GroupId(0), Class::NO_SLOTS | Class::REFUSE),
            FrontendAction::Drop => (GroupId(0), Class::NO_SLOTS | Class::DROP),
        };
        (group, Class(bits | guarded))
    }

    /// The action and whether it is guarded; `None` if no row is like that.
    fn read(self, group: GroupId) -> Option<(FrontendAction, bool)> {
        let Class(bits) = self;
        let slots = u8::try_from(bits & Class::SLOTS).ok()?;
        let seconds = bits >> 8;
        let action = match bits & (Class::REFUSE | Class::DROP) {
            0 if slots <= MAX_SLOTS => FrontendAction::Balance {
                group,
                slots,
                affinity: (seconds > 0).then_some(seconds),
            },
            Class::REFUSE => FrontendAction::Refuse,
            Class::DROP => FrontendAction::Drop,
            _ => return None,
        };
        let guarded = bits & Class::GUARDED != 0;
        let row = FrontendRow {
            key: NOWHERE,
            action,
            guarded,
        };
        (Class::of(&row) == (group, self)).then_some((action, guarded))
    }
}

/// Some frontend's key.
const NOWHERE: FrontendKey = FrontendKey {
    address: std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
    protocol: seaway_model::Protocol::Tcp,
    port: 0,
    view: View::Everyone,
};

/// Where traffic is sent to, and what becomes of it.
pub(in crate::realise::firewall) fn frontends(view: View, family: Family) -> &'static str {
    match view {
        View::Everyone if cfg!(feature = "next-format") => {
            by_family(family, ["doors-v4", "doors-v6"])
        }
        View::Everyone => by_family(family, ["frontends-v4", "frontends-v6"]),
        View::Outside => by_family(family, ["frontends-outside-v4", "frontends-outside-v6"]),
    }
}

/// What lies in the slots of groups.
pub(in crate::realise::firewall) fn backends(family: Family) -> &'static str {
    match cfg!(feature = "next-format") {
        true => by_family(family, ["slots-v4", "slots-v6"]),
        false => by_family(family, ["backends-v4", "backends-v6"]),
    }
}

/// The backends that clients may keep.
pub(in crate::realise::firewall) fn members(family: Family) -> &'static str {
    by_family(family, ["members-v4", "members-v6"])
}

/// Who may use guarded frontends.
pub(in crate::realise::firewall) fn source_ranges(family: Family) -> &'static str {
    by_family(family, ["source-ranges-v4", "source-ranges-v6"])
}

/// The addresses of Services.
pub(in crate::realise::firewall) fn cluster_ips(family: Family) -> &'static str {
    by_family(family, ["cluster-ips-v4", "cluster-ips-v6"])
}

/// The addresses of this node's Pods, each beside itself.
pub(in crate::realise::firewall) fn local_pods(family: Family) -> &'static str {
    match cfg!(feature = "next-format") {
        true => by_family(family, ["own-pods-v4", "own-pods-v6"]),
        false => by_family(family, ["local-pods-v4", "local-pods-v6"]),
    }
}

/// Which backend clients have, for those that keep it for a time.
pub(in crate::realise::firewall) fn memory(seconds: u32, family: Family) -> String {
    format!("affinity-{seconds}-{}", by_family(family, ["v4", "v6"]))
}

/// The parts of a group in keys and values.
const GROUP: [Field; 2] = [Field::Number; 2];

pub(super) fn sets(family: Family) -> Vec<SetSpec> {
    let address = address_field(family);
    let socket = [address, Field::Port];
    let at = [address, Field::Protocol, Field::Port];
    let slot = [Field::Number; 3];
    let led = [Field::Number; 4];
    let frontends = |view| map(frontends(view, family), at.to_vec(), led.to_vec());
    let range = [&at[..], &[Field::Number, address]].concat();
    vec![
        map(backends(family), slot.to_vec(), socket.to_vec()),
        set(members(family), [&socket[..], &GROUP].concat()),
        set(source_ranges(family), range),
        frontends(View::Everyone),
        frontends(View::Outside),
        set(cluster_ips(family), vec![address]),
        set(local_pods(family), vec![address; 2]),
    ]
}

/// The maps in which rules keep who has which backend.
pub(super) fn memories(rules: &ServiceRules) -> Vec<SetSpec> {
    let of = |seconds, family| SetSpec {
        name: Cow::Owned(memory(seconds, family)),
        key: [&[address_field(family)][..], &GROUP].concat(),
        value: vec![Field::Number, address_field(family), Field::Port],
        remembers: Some(Remembers {
            seconds,
            size: CLIENTS,
        }),
    };
    let times = rules.affinities.iter();
    times
        .flat_map(|seconds| Family::ALL.map(|family| of(*seconds, family)))
        .collect()
}

impl Bytes {
    fn group(self, group: GroupId) -> Bytes {
        let [high, low] = words(group);
        self.number(high).number(low)
    }
}

fn words(group: GroupId) -> [u32; 2] {
    let high = u32::try_from(group.0 >> 32).expect("32 bits are left");
    let low = u32::try_from(group.0 & 0xffff_ffff).expect("32 bits are left");
    [high, low]
}

impl Parts<'_> {
    fn group(&mut self) -> Option<GroupId> {
        let (high, low) = (self.number()?, self.number()?);
        Some(GroupId(u64::from(high) << 32 | u64::from(low)))
    }
}

/// Clears of a group, as it is in a key, what says the policy.
pub(in crate::realise::firewall) fn port_mask() -> Vec<u8> {
    words(GroupId(GroupId(u64::MAX).port_id()))
        .map(u32::to_ne_bytes)
        .concat()
}

/// The element of a frontend.
pub(in crate::realise::firewall) fn of_frontend(row: &FrontendRow) -> Vec<Element> {
    let FrontendKey {
        address,
        protocol,
        port,
        view,
    } = row.key;
    let (group, class) = Class::of(row);
    let set = frontends(view, Family::of(address));
    let at = key().address(address).port(protocol, port);
    vec![inet(set, at, key().number(0).group(group).number(class.0))]
}

/// The frontend of an element.
pub(in crate::realise::firewall) fn read_frontend(
    view: View,
    family: Family,
    element: &Element,
) -> Option<FrontendRow> {
    let mut parts = Parts(&element.key);
    let key = FrontendKey {
        address: parts.address(family)?,
        protocol: parts.protocol()?,
        port: parts.port()?,
        view,
    };
    let mut parts = Parts(&element.value);
    (parts.number()? == 0).then_some(())?;
    let group = parts.group()?;
    let (action, guarded) = Class(parts.number()?).read(group)?;
    Some(FrontendRow {
        key,
        action,
        guarded,
    })
}

/// The element of a backend.
pub(in crate::realise::firewall) fn of_backend(row: &BackendRow) -> Vec<Element> {
    let set = backends(Family::of(row.target.ip()));
    let slot = key().group(row.key.group).number(row.key.slot.into());
    vec![inet(set, slot, key().socket(row.target))]
}

/// The backend of an element.
pub(in crate::realise::firewall) fn read_backend(
    family: Family,
    element: &Element,
) -> Option<BackendRow> {
    let mut parts = Parts(&element.key);
    let key = BackendKey {
        group: parts.group()?,
        slot: u16::try_from(parts.number()?).ok()?,
    };
    let target = Parts(&element.value).socket(family)?;
    Some(BackendRow { key, target })
}

/// The element of a backend that clients may keep.
pub(in crate::realise::firewall) fn of_member(row: &MemberRow) -> Vec<Element> {
    let set = members(Family::of(row.target.ip()));
    vec![inet(set, key().socket(row.target).group(row.group), key())]
}

/// The row of an element.
pub(in crate::realise::firewall) fn read_member(
    family: Family,
    parts: &mut Parts<'_>,
) -> Option<MemberRow> {
    Some(MemberRow {
        target: parts.socket(family)?,
        group: parts.group()?,
    })
}

/// The element of sources that may use a guarded frontend.
pub(in crate::realise::firewall) fn of_source_range(row: &SourceRangeRow) -> Vec<Element> {
    let set = source_ranges(Family::of(row.address));
    let at = key().address(row.address).port(row.protocol, row.port);
    let range = at.length(row.net.prefix_len()).address(row.net.addr());
    vec![inet(set, range, key())]
}

/// The row of an element.
pub(in crate::realise::firewall) fn read_source_range(
    family: Family,
    parts: &mut Parts<'_>,
) -> Option<SourceRangeRow> {
    Some(SourceRangeRow {
        address: parts.address(family)?,
        protocol: parts.protocol()?,
        port: parts.port()?,
        net: parts.net(family)?,
    })
}

/// The element of an address of a Service.
pub(in crate::realise::firewall) fn of_cluster_ip(row: &ClusterIpRow) -> Vec<Element> {
    let set = cluster_ips(Family::of(row.address));
    vec![inet(set, key().address(row.address), key())]
}

/// The element of a Pod of this node.
pub(in crate::realise::firewall) fn of_local_pod(row: &LocalPodRow) -> Vec<Element> {
    let set = local_pods(Family::of(row.address));
    let both = key().address(row.address).address(row.address);
    vec![inet(set, both, key())]
}

/// The row of an element; nobody's when the two addresses differ.
pub(in crate::realise::firewall) fn read_local_pod(
    family: Family,
    parts: &mut Parts<'_>,
) -> Option<LocalPodRow> {
    let address = parts.address(family)?;
    (parts.address(family)? == address).then_some(LocalPodRow {
        address,
        owner: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frontends() -> Vec<FrontendRow> {
        let balance = |slots, affinity| FrontendAction::Balance {
            group: GroupId(0x0123_4567_89ab_cdef),
            slots,
            affinity,
        };
        let actions = [
            balance(0, None),
            balance(13, Some(86_400)),
            balance(5, Some(1)),
            FrontendAction::Refuse,
            FrontendAction::Drop,
        ];
        let mut all = Vec::new();
        for (view, address) in [(View::Everyone, "10.96.0.1"), (View::Outside, "fd00::1")] {
            for (action, guarded) in actions.iter().flat_map(|a| [(*a, false), (*a, true)]) {
                all.push(FrontendRow {
                    key: FrontendKey {
                        address: address.parse().expect("valid"),
                        protocol: seaway_model::Protocol::Sctp,
                        port: 443,
                        view,
                    },
                    action,
                    guarded,
                });
            }
        }
        all
    }

    #[test]
    fn frontends_are_read_as_they_were_written() {
        for row in frontends() {
            let [element] = &of_frontend(&row)[..] else {
                panic!("{row} is one element");
            };
            let family = Family::of(row.key.address);
            assert_eq!(read_frontend(row.key.view, family, element), Some(row));
        }
    }

    #[test]
    fn a_word_that_nobody_wrote_is_no_frontend() {
        for bits in [
            14,
            15,
            Class::REFUSE,
            Class::DROP | Class::REFUSE | 15,
            1 << 7,
        ] {
            assert_eq!(Class(bits).read(GroupId(1)), None, "{bits:#x}");
        }
        let refused = Class::NO_SLOTS | Class::REFUSE;
        assert_eq!(Class(refused).read(GroupId(1)), None, "it has no group");
    }

    #[test]
    fn other_rows_are_read_as_they_were_written() {
        for (family, target) in [(Family::V4, "10.0.0.2:80"), (Family::V6, "[fd00::2]:80")] {
            let target: std::net::SocketAddr = target.parse().expect("valid");
            let group = GroupId(0xfedc_ba98_7654_3211);
            let backend = BackendRow {
                key: BackendKey {
                    group,
                    slot: u16::MAX,
                },
                target,
            };
            let element = &of_backend(&backend)[0];
            assert_eq!(read_backend(family, element), Some(backend));
            let member = MemberRow { group, target };
            let read = read_member(family, &mut Parts(&of_member(&member)[0].key));
            assert_eq!(read, Some(member));
            let range = SourceRangeRow {
                address: target.ip(),
                protocol: seaway_model::Protocol::Udp,
                port: 53,
                net: Family::host_net(target.ip()),
            };
            let read = read_source_range(family, &mut Parts(&of_source_range(&range)[0].key));
            assert_eq!(read, Some(range));
        }
    }

    #[test]
    fn the_policy_is_no_part_of_what_is_remembered() {
        let group = |number| key().group(GroupId(number)).0;
        let masked: Vec<u8> = group(0x0123_4567_89ab_cdef)
            .iter()
            .zip(port_mask())
            .map(|(byte, mask)| byte & mask)
            .collect();
        assert_eq!(masked, group(0x0123_4567_89ab_cdee));
    }
}
