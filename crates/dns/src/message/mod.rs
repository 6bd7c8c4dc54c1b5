//! Questions read and answers written: the codec's types stop here. Pure.

#[cfg(test)]
mod property;
mod query;
mod reply;

pub(crate) use query::{MAX_UDP, Query, Reading, labels, read};
pub(crate) use reply::{Answer, Soa, absolute};
