//! Expressions read from a dump: the other way of [`super::encode`].

use seaway_model::Family;

use super::OBJECT_COUNTER;
use super::attr::{DATA_VALUE, DATA_VERDICT};
use super::encode::{
    CSUM_PSEUDO, FIB_ADDRTYPE, FIB_F_DADDR, FIB_F_SOURCE, FIB_OIF, NAT_DNAT, NAT_SNAT, NF_ACCEPT,
    NF_DROP, NFT_GOTO, NFT_JUMP, PORT_UNREACHABLE, PORTS_GIVEN, RANDOM, RANDOM_FULLY, REJECT_ICMPX,
    REJECT_RESET, VERDICT_REGISTER, nf_family,
};
use super::expr::{Base, Checksum, CmpOp, CtKey, Expr, MetaKey, Refusal, Reg, SetOp, Verdict};
use crate::netfilter::{attributes, find, text, u32_be};

/// `NF_NAT_RANGE_MAP_IPS` and `_PROTO_SPECIFIED`: the kernel adds them itself.
const NAT_IMPLIED: u32 = 3;

impl Expr {
    /// Reads an expression with its name.
    pub(super) fn read(bytes: &[u8]) -> Expr {
        let kind = find(bytes, 1).map(text).unwrap_or_default();
        let data = find(bytes, 2).unwrap_or_default();
        Expr::read_data(&kind, &Data(data)).unwrap_or(Expr::Other(kind))
    }

    fn read_data(kind: &str, data: &Data<'_>) -> Option<Expr> {
        Some(match kind {
            "meta" => Expr::Meta {
                to: data.reg(1)?,
                key: data.one_of(2, &MetaKey::ALL, |k| *k as u32)?,
            },
            "ct" => {
                let key = data.one_of(2, &CtKey::ALL, |k| *k as u32)?;
                let original = find(data.0, 3) == Some(&[0]);
                (original == key.directed()).then_some(())?;
                Expr::Ct {
                    key,
                    to: data.reg(1)?,
                }
            }
            "payload" => data.payload()?,
            "immediate" => data.immediate()?,
            "cmp" => Expr::Cmp {
                from: data.reg(1)?,
                op: data.one_of(2, &CmpOp::ALL, |op| *op as u32)?,
                value: data.value(3)?,
            },
            "bitwise" => {
                let plain = data.value(5)?.iter().all(|b| *b == 0);
                (plain && data.u32(6).unwrap_or(0) == 0).then_some(())?;
                Expr::Mask {
                    from: data.reg(1)?,
                    to: data.reg(2)?,
                    mask: data.value(4)?,
                }
            }
            "numgen" => {
                let plain = data.u32(3)? == RANDOM && data.u32(4).unwrap_or(0) == 0;
                plain.then_some(Expr::Random {
                    to: data.reg(1)?,
                    below: data.u32(2)?,
                })?
            }
            "lookup" if data.u32(3) == Some(VERDICT_REGISTER) => Expr::Dispatch {
                map: text(find(data.0, 1)?),
                from: data.reg(2)?,
            },
            "lookup" => Expr::Lookup {
                set: text(find(data.0, 1)?),
                from: data.reg(2)?,
                to: data.reg(3),
                invert: data.u32(5).unwrap_or(0) == 1,
            },
            "dynset" => {
                // No time of its own, no expressions, not inverted.
                let plain = [6, 7, 9, 10].iter().all(|kind| data.is_nothing(*kind));
                plain.then_some(Expr::Remember {
                    op: data.one_of(3, &SetOp::ALL, |op| *op as u32)?,
                    set: text(find(data.0, 1)?),
                    key: data.reg(4)?,
                    value: data.reg(5)?,
                })?
            }
            "fib" => match (data.u32(2)?, data.u32(3)?) {
                (FIB_ADDRTYPE, FIB_F_DADDR) => Expr::FibDestinationType { to: data.reg(1)? },
                (FIB_OIF, FIB_F_SOURCE) => Expr::FibSourceRoute { to: data.reg(1)? },
                _ => return None,
            },
            "objref" if data.u32(1)? == OBJECT_COUNTER => Expr::Counter {
                name: text(find(data.0, 2)?),
            },
            "nat" => data.nat()?,
            "reject" => match (data.u32(1)?, find(data.0, 2)) {
                (REJECT_RESET, _) => Expr::Refuse(Refusal::Reset),
                (REJECT_ICMPX, Some([PORT_UNREACHABLE])) => Expr::Refuse(Refusal::PortUnreachable),
                _ => return None,
            },
            "masq" => data.masquerade()?,
            _ => return None,
        })
    }
}

/// The attributes of an expression.
struct Data<'a>(&'a [u8]);

impl Data<'_> {
    fn u32(&self, kind: u16) -> Option<u32> {
        find(self.0, kind).and_then(u32_be)
    }

    /// Whether a value is not there, or zero throughout.
    fn is_nothing(&self, kind: u16) -> bool {
        find(self.0, kind).is_none_or(|value| value.iter().all(|b| *b == 0))
    }

    fn reg(&self, kind: u16) -> Option<Reg> {
        self.u32(kind).and_then(Reg::of_number)
    }

    fn value(&self, kind: u16) -> Option<Vec<u8>> {
        find(find(self.0, kind)?, DATA_VALUE).map(<[u8]>::to_vec)
    }

    fn one_of<T: Copy>(&self, kind: u16, all: &[T], number: fn(&T) -> u32) -> Option<T> {
        let wanted = self.u32(kind)?;
        all.iter().copied().find(|one| number(one) == wanted)
    }

    fn payload(&self) -> Option<Expr> {
        let base = self.one_of(2, &Base::ALL, |b| *b as u32)?;
        let (offset, length) = (self.u32(3)?, self.u32(4)?);
        if let Some(to) = self.reg(1) {
            return Some(Expr::Load {
                base,
                offset,
                length,
                to,
            });
        }
        let place = (self.u32(6)?, self.u32(7)?);
        let checksum = [Checksum::Ipv4, Checksum::Ipv6]
            .into_iter()
            .find(|c| c.place() == place)?;
        (self.u32(8)? == CSUM_PSEUDO).then_some(())?;
        Some(Expr::Store {
            base,
            offset,
            length,
            from: self.reg(5)?,
            checksum,
        })
    }

    fn immediate(&self) -> Option<Expr> {
        let data = find(self.0, 2)?;
        let Some(verdict) = find(data, DATA_VERDICT) else {
            return Some(Expr::Value {
                to: self.reg(1)?,
                value: self.value(2)?,
            });
        };
        read_verdict(verdict).map(Expr::Verdict)
    }

    fn nat(&self) -> Option<Expr> {
        let address = self.reg(3)?;
        let number = self.u32(2)?;
        let family = Family::ALL.into_iter().find(|f| nf_family(*f) == number)?;
        self.reg(4)
            .is_none_or(|last| last == address)
            .then_some(())?;
        let flags = self.u32(7).unwrap_or(0) & !NAT_IMPLIED;
        match (self.u32(1)?, self.ports(5)?, flags) {
            (NAT_DNAT, Some([port, last]), 0) if last == port => Some(Expr::Dnat {
                family,
                address,
                port,
            }),
            (NAT_SNAT, ports, RANDOM_FULLY) => Some(Expr::Snat {
                family,
                address,
                ports,
            }),
            _ => None,
        }
    }

    fn masquerade(&self) -> Option<Expr> {
        let (flags, ports) = (self.u32(1).unwrap_or(0), self.ports(2)?);
        let given = flags & PORTS_GIVEN != 0;
        (given == ports.is_some()).then_some(())?;
        let random = match flags & !PORTS_GIVEN {
            0 => false,
            RANDOM_FULLY => true,
            _ => return None,
        };
        Some(Expr::Masquerade { random, ports })
    }

    /// The registers of the first and the last port, if there are any; a last one alone is nothing that
    /// we ask for.
    fn ports(&self, kind: u16) -> Option<Option<[Reg; 2]>> {
        match (self.reg(kind), self.reg(kind + 1)) {
            (Some(first), last) => Some(Some([first, last.unwrap_or(first)])),
            (None, None) => Some(None),
            (None, Some(_)) => None,
        }
    }
}

/// Reads a verdict that is data: of a rule, or of an element.
pub(super) fn read_verdict(data: &[u8]) -> Option<Verdict> {
    let code = find(data, 1).and_then(u32_be)?.cast_signed();
    Some(match (code, find(data, 2)) {
        (NF_ACCEPT, None) => Verdict::Accept,
        (NF_DROP, None) => Verdict::Drop,
        (NFT_GOTO, Some(chain)) => Verdict::Goto(text(chain)),
        (NFT_JUMP, Some(chain)) => Verdict::Jump(text(chain)),
        _ => return None,
    })
}

/// Reads the expressions of a rule.
pub(super) fn read_all(bytes: &[u8]) -> Vec<Expr> {
    attributes(bytes).map(|a| Expr::read(a.value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netfilter::Writer;

    const FIRST: Reg = Reg(0);

    fn is_read_as_written(all: &[Expr]) {
        for expr in all {
            let mut w = Writer::default();
            expr.write(&mut w);
            assert_eq!(Expr::read(w.bytes()), *expr);
        }
    }

    #[test]
    fn what_registers_hold_is_read_as_it_was_written() {
        is_read_as_written(&[
            Expr::Meta {
                key: MetaKey::IifGroup,
                to: FIRST,
            },
            Expr::Ct {
                key: CtKey::State,
                to: Reg(3),
            },
            Expr::Ct {
                key: CtKey::Destination6,
                to: Reg(4),
            },
            Expr::Load {
                base: Base::Network,
                offset: 12,
                length: 4,
                to: Reg(5),
            },
            Expr::Store {
                base: Base::Network,
                offset: 12,
                length: 4,
                from: FIRST,
                checksum: Checksum::Ipv4,
            },
            Expr::Store {
                base: Base::Network,
                offset: 8,
                length: 16,
                from: FIRST,
                checksum: Checksum::Ipv6,
            },
            Expr::Value {
                to: FIRST,
                value: vec![1, 2, 3, 4],
            },
            Expr::Cmp {
                from: FIRST,
                op: CmpOp::Gt,
                value: vec![0, 2],
            },
            Expr::Mask {
                from: Reg(1),
                to: Reg(2),
                mask: vec![255, 255, 0, 0],
            },
            Expr::Random {
                to: Reg(2),
                below: 8,
            },
            Expr::Dispatch {
                map: "d".to_owned(),
                from: Reg(2),
            },
            Expr::Remember {
                op: SetOp::Update,
                set: "e".to_owned(),
                key: FIRST,
                value: Reg(4),
            },
            Expr::Remember {
                op: SetOp::Delete,
                set: "e".to_owned(),
                key: FIRST,
                value: Reg(4),
            },
            Expr::Snat {
                family: Family::V6,
                address: FIRST,
                ports: None,
            },
            Expr::Refuse(Refusal::Reset),
            Expr::Refuse(Refusal::PortUnreachable),
            Expr::Verdict(Verdict::Jump("c".to_owned())),
        ]);
    }

    #[test]
    fn what_is_done_is_read_as_it_was_written() {
        is_read_as_written(&[
            Expr::Lookup {
                set: "a".to_owned(),
                from: FIRST,
                to: None,
                invert: true,
            },
            Expr::Lookup {
                set: "b".to_owned(),
                from: FIRST,
                to: Some(Reg(8)),
                invert: false,
            },
            Expr::FibDestinationType { to: FIRST },
            Expr::FibSourceRoute { to: FIRST },
            Expr::Counter {
                name: "pod-mac".to_owned(),
            },
            Expr::Dnat {
                family: Family::V6,
                address: FIRST,
                port: Reg(4),
            },
            Expr::Snat {
                family: Family::V4,
                address: FIRST,
                ports: Some([Reg(4), Reg(5)]),
            },
            Expr::Masquerade {
                random: true,
                ports: Some([FIRST, Reg(1)]),
            },
            Expr::Masquerade {
                random: false,
                ports: None,
            },
            Expr::Verdict(Verdict::Accept),
            Expr::Verdict(Verdict::Drop),
            Expr::Verdict(Verdict::Goto("c".to_owned())),
            Expr::Other("quota".to_owned()),
        ]);
    }

    #[test]
    fn registers_have_two_names() {
        assert_eq!(Reg::of_number(1), Some(Reg(0)));
        assert_eq!(Reg::of_number(4), Some(Reg(12)));
        assert_eq!(Reg::of_number(9), Some(Reg(1)));
        assert_eq!(Reg::of_number(0), None);
    }
}
