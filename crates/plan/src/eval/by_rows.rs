//! What the rows make of a packet: the datapath, in words.

use super::{Packet, Verdict};
use crate::table::Tables;

/// What becomes of a packet by the rows of the node at which it enters.
pub fn by_rows(_rows: &Tables, _packet: &Packet) -> Verdict {
    Verdict::NotAService
}
