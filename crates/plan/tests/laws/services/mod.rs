//! The laws of Services: rows agree with the reference, slots do not remember, one change touches
//! its own; and the rules of the specification that are no behaviour of packets, by their numbers.

mod choice;
mod evaluation;
pub(crate) mod inputs;
mod places;
mod refused;
mod scene;
mod told;
mod whole;
