//! Traffic control: a token bucket as a device's root queue, and the redirection of what arrives
//! by one device through another.

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Nla, NlasIterator};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAction, TcActionAttribute, TcActionMirror, TcActionMirrorOption, TcActionOption,
    TcActionType, TcAttribute, TcFilterU32, TcFilterU32Option, TcHandle, TcMessage, TcMirror,
    TcMirrorActionType, TcOption, TcStats2, TcU32Key, TcU32Selector, TcU32SelectorFlags,
};
use seaway_model::Rate;

use super::request::Request;

/// The handle of our root queues.
const HANDLE: TcHandle = TcHandle {
    major: 0x5ea1,
    minor: 0,
};
/// Where filters of what arrives hang, whether the queue there is `ingress` or `clsact`.
const ARRIVING: TcHandle = TcHandle {
    major: 0xffff,
    minor: 0xfff2,
};
/// The queue of what arrives has this handle.
const INGRESS_HANDLE: TcHandle = TcHandle {
    major: 0xffff,
    minor: 0,
};
/// The preference of our filter among those of a device.
const PREFERENCE: u16 = 83;
const ETH_P_ALL: u16 = 3;
const TBF: &str = "tbf";
const INGRESS: &str = "ingress";

const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
/// `struct tc_tbf_qopt`: two rates of 12 bytes, then limit, buffer and MTU.
const TBF_PARMS_LEN: usize = 36;
/// `TC_LINKLAYER_ETHERNET`: the length of a frame is what it costs, no table of costs is needed.
const ETHERNET: u8 = 1;
/// How long a packet may wait for tokens, as in the bandwidth plugin that runtimes know.
const LATENCY_MS: u64 = 25;
/// More than the longest frame on any wire: what does not fit the bucket would never pass. Larger
/// packets (GSO) are segmented by the kernel first.
const LEAST_BURST: u64 = 16 * 1024;
/// A tick of the packet scheduler is 64 ns.
const TICK_SHIFT: u32 = 6;

/// A token bucket in the kernel's units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBucket {
    /// Bytes per second.
    pub rate: u64,
    /// Bytes that may wait and burst together.
    pub limit: u32,
    /// The time that it takes to fill the bucket, in ticks of 64 ns, as the kernel counts: modulo
    /// 2^32.
    pub buffer: u32,
}

/// How many bytes a bucket holds.
fn burst_of(rate: Rate) -> u32 {
    u32::try_from((rate.burst / 8).max(LEAST_BURST)).unwrap_or(u32::MAX)
}

fn ticks(bytes: u64, rate: u64) -> u64 {
    let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
    u64::try_from(nanoseconds >> TICK_SHIFT).unwrap_or(u64::MAX)
}

impl TokenBucket {
    /// The bucket of a limit.
    pub fn of(rate: Rate) -> TokenBucket {
        let bytes = (rate.rate / 8).max(1);
        let burst = u64::from(burst_of(rate));
        let limit = (u128::from(bytes) * u128::from(LATENCY_MS) / 1000) + u128::from(burst);
        TokenBucket {
            rate: bytes,
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
            // The kernel shows the low bits.
            buffer: (ticks(burst, bytes) & u64::from(u32::MAX)) as u32,
        }
    }

    /// Whether a bucket that was asked for as this one is shown by the kernel as `found`. It
    /// calculates times with less precision.
    pub fn is_met_by(&self, found: &TokenBucket) -> bool {
        let apart = self.buffer.wrapping_sub(found.buffer);
        let apart = apart.min(apart.wrapping_neg());
        self.rate == found.rate && self.limit == found.limit && apart <= 2 + self.buffer / 1000
    }

    /// The limit that it is, as near as can be told.
    pub fn rate(&self) -> Rate {
        let nanoseconds = u128::from(self.buffer) << TICK_SHIFT;
        let burst = nanoseconds * u128::from(self.rate) / 1_000_000_000;
        Rate {
            rate: self.rate.saturating_mul(8),
            burst: u64::try_from(burst).unwrap_or(u64::MAX).saturating_mul(8),
        }
    }
}

/// A queue of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueInfo {
    /// The device's index.
    pub index: u32,
    /// Its kind, for example `tbf`.
    pub kind: String,
    /// It is the device's root queue.
    pub root: bool,
    /// What it is as a token bucket.
    pub bucket: Option<TokenBucket>,
    /// Bytes and packets that passed.
    pub passed: (u64, u32),
    /// Packets that it dropped, and how often one had to wait.
    pub dropped: (u32, u32),
}

impl QueueInfo {
    pub(super) fn of(message: &TcMessage) -> Option<QueueInfo> {
        let mut info = QueueInfo {
            index: u32::try_from(message.header.index).ok()?,
            kind: String::new(),
            root: message.header.parent == TcHandle::ROOT,
            bucket: None,
            passed: (0, 0),
            dropped: (0, 0),
        };
        for attribute in &message.attributes {
            match attribute {
                TcAttribute::Kind(kind) => info.kind.clone_from(kind),
                TcAttribute::Options(options) if info.kind == TBF => {
                    info.bucket = options.first().and_then(bucket_of);
                }
                TcAttribute::Stats2(parts) => {
                    for part in parts {
                        match part {
                            TcStats2::Basic(basic) => info.passed = (basic.bytes, basic.packets),
                            TcStats2::Queue(queue) => {
                                info.dropped = (queue.drops, queue.overlimits);
                            }
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        Some(info)
    }

    /// It is where filters of what arrives hang.
    pub fn takes_arriving(&self) -> bool {
        self.kind == INGRESS || self.kind == "clsact"
    }
}

/// Reads `TCA_OPTIONS` of a token bucket.
fn bucket_of(option: &TcOption) -> Option<TokenBucket> {
    let TcOption::Other(nested) = option else {
        return None;
    };
    let mut bytes = vec![0; nested.value_len()];
    nested.emit_value(&mut bytes);
    let (mut parameters, mut rate64) = (None, None);
    for attribute in NlasIterator::new(&bytes[..]) {
        let attribute = attribute.ok()?;
        match attribute.kind() {
            TCA_TBF_PARMS => parameters = Some(attribute.value().to_vec()),
            TCA_TBF_RATE64 => {
                rate64 = Some(u64::from_ne_bytes(attribute.value().try_into().ok()?));
            }
            _ => {}
        }
    }
    let parameters = parameters?;
    let word = |at: usize| {
        Some(u32::from_ne_bytes(
            parameters.get(at..at + 4)?.try_into().ok()?,
        ))
    };
    Some(TokenBucket {
        rate: rate64.unwrap_or(word(8)?.into()),
        limit: word(24)?,
        buffer: word(28)?,
    })
}

/// Writes the options of a token bucket.
fn bucket_options(rate: Rate) -> TcAttribute {
    let bucket = TokenBucket::of(rate);
    let mut parameters = [0; TBF_PARMS_LEN];
    parameters[1] = ETHERNET;
    let low = u32::try_from(bucket.rate).unwrap_or(u32::MAX);
    parameters[8..12].copy_from_slice(&low.to_ne_bytes());
    parameters[13] = ETHERNET;
    parameters[24..28].copy_from_slice(&bucket.limit.to_ne_bytes());
    parameters[28..32].copy_from_slice(&bucket.buffer.to_ne_bytes());
    let burst = burst_of(rate);
    let options = [
        (TCA_TBF_PARMS, parameters.to_vec()),
        (TCA_TBF_RATE64, bucket.rate.to_ne_bytes().to_vec()),
        (TCA_TBF_BURST, burst.to_ne_bytes().to_vec()),
    ];
    let options = options.map(|(kind, value)| TcOption::Other(DefaultNla::new(kind, value)));
    TcAttribute::Options(options.to_vec())
}

impl Request {
    /// Makes a token bucket the root queue of a device.
    pub fn limit_rate(index: u32, rate: Rate) -> Request {
        let mut message = on_device(index, TcHandle::ROOT);
        message.header.handle = HANDLE;
        message.attributes = vec![TcAttribute::Kind(TBF.to_owned()), bucket_options(rate)];
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        let message = RouteNetlinkMessage::NewQueueDiscipline(message);
        Request::new("limit the rate", flags, message)
    }

    /// Takes a token bucket of ours from the root of a device.
    pub fn unlimit_rate(index: u32) -> Request {
        let mut message = on_device(index, TcHandle::ROOT);
        message.header.handle = HANDLE;
        message.attributes = vec![TcAttribute::Kind(TBF.to_owned())];
        let message = RouteNetlinkMessage::DelQueueDiscipline(message);
        Request::new("free the rate", 0, message)
    }

    /// Makes the queue of a device on which filters of what arrives hang.
    pub fn take_arriving(index: u32) -> Request {
        let mut message = on_device(index, TcHandle::INGRESS);
        message.header.handle = INGRESS_HANDLE;
        message.attributes = vec![TcAttribute::Kind(INGRESS.to_owned())];
        let message = RouteNetlinkMessage::NewQueueDiscipline(message);
        Request::new("filter what arrives", NLM_F_CREATE | NLM_F_EXCL, message)
    }

    /// Deletes the queue of a device on which filters of what arrives hang, with all of them.
    pub fn leave_arriving(index: u32) -> Request {
        let mut message = on_device(index, TcHandle::INGRESS);
        message.header.handle = INGRESS_HANDLE;
        message.attributes = vec![TcAttribute::Kind(INGRESS.to_owned())];
        let message = RouteNetlinkMessage::DelQueueDiscipline(message);
        Request::new("filter no more what arrives", 0, message)
    }

    /// Redirects all that arrives by a device to another one.
    pub fn redirect(index: u32, to: u32) -> Request {
        let mut message = filter(index);
        let mut selector = TcU32Selector::default();
        selector.flags = TcU32SelectorFlags::Terminal;
        selector.nkeys = 1;
        // No bit of the first word is asked for.
        selector.keys = vec![TcU32Key::default()];
        let mut mirror = TcMirror::default();
        mirror.generic.action = TcActionType::Stolen;
        mirror.eaction = TcMirrorActionType::EgressRedir;
        mirror.ifindex = to;
        let mut action = TcAction::default();
        let parameters = TcActionOption::Mirror(TcActionMirrorOption::Parms(mirror));
        action.attributes = vec![
            TcActionAttribute::Kind(TcActionMirror::KIND.to_owned()),
            TcActionAttribute::Options(vec![parameters]),
        ];
        message.attributes = vec![
            TcAttribute::Kind(TcFilterU32::KIND.to_owned()),
            TcAttribute::Options(vec![
                TcOption::U32(TcFilterU32Option::Selector(selector)),
                TcOption::U32(TcFilterU32Option::Action(vec![action])),
            ]),
        ];
        let message = RouteNetlinkMessage::NewTrafficFilter(message);
        Request::new("redirect what arrives", NLM_F_CREATE | NLM_F_EXCL, message)
    }

    /// No longer redirects what arrives by a device.
    pub fn redirect_no_more(index: u32) -> Request {
        let message = RouteNetlinkMessage::DelTrafficFilter(filter(index));
        Request::new("redirect no more what arrives", 0, message)
    }
}

fn on_device(index: u32, parent: TcHandle) -> TcMessage {
    let index = i32::try_from(index).expect("the kernel's indexes are positive and of 31 bits");
    let mut message = TcMessage::with_index(index);
    message.header.parent = parent;
    message
}

/// A filter of ours.
fn filter(index: u32) -> TcMessage {
    let mut message = on_device(index, ARRIVING);
    message.header.info = u32::from(PREFERENCE) << 16 | u32::from(ETH_P_ALL.to_be());
    message
}

/// The request for our filters on a device.
pub(super) fn redirects_of(index: u32) -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetTrafficFilter(on_device(index, ARRIVING))
}

/// Whether a filter is ours.
pub(super) fn is_ours(message: &TcMessage) -> bool {
    message.header.info >> 16 == u32::from(PREFERENCE)
}

/// Where a filter of ours redirects everything to.
pub(super) fn redirect_target(message: &TcMessage) -> Option<u32> {
    if !is_ours(message) {
        return None;
    }
    let options = message.attributes.iter().find_map(|a| match a {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    })?;
    let everything = options.iter().any(|option| match option {
        TcOption::U32(TcFilterU32Option::Selector(s)) => s.keys.iter().all(|key| key.mask == 0),
        _ => false,
    });
    let actions = options.iter().find_map(|option| match option {
        TcOption::U32(TcFilterU32Option::Action(actions)) => Some(actions),
        _ => None,
    })?;
    let attributes = actions.iter().flat_map(|action| &action.attributes);
    let parameters = attributes.filter_map(|attribute| match attribute {
        TcActionAttribute::Options(options) => Some(options),
        _ => None,
    });
    let target = parameters.flatten().find_map(|option| match option {
        TcActionOption::Mirror(TcActionMirrorOption::Parms(p))
            if p.eaction == TcMirrorActionType::EgressRedir =>
        {
            Some(p.ifindex)
        }
        _ => None,
    });
    target.filter(|_| everything)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_read_as_it_was_written() {
        for (rate, burst) in [
            (10_000_000, 80_000),
            (1_000_000, 2_147_483_647),
            (100_000_000_000, 8_000_000),
            (8_000, 8),
        ] {
            let rate = Rate { rate, burst };
            let TcAttribute::Options(options) = bucket_options(rate) else {
                panic!("options");
            };
            let mut bytes = Vec::new();
            for option in &options {
                use netlink_packet_core::Emitable;
                let start = bytes.len();
                bytes.resize(start + option.buffer_len(), 0);
                option.emit(&mut bytes[start..]);
            }
            let nested = TcOption::Other(DefaultNla::new(2, bytes));
            assert_eq!(bucket_of(&nested), Some(TokenBucket::of(rate)));
        }
    }

    #[test]
    fn a_bucket_holds_a_frame_whatever_was_asked_for() {
        let rate = Rate {
            rate: 1_000_000,
            burst: 8,
        };
        assert!(burst_of(rate) > 9216);
        assert!(TokenBucket::of(rate).limit > burst_of(rate));
    }
}
