//! NetworkPolicies that nobody enforces: each is told so by an Event, once a day and whenever it
//! changes, and all are counted.
//!
//! `Telling` is pure: which Event a policy should have at a time. Its name follows from the policy and
//! the day of its life, so that a controller that starts anew is told by the server that the Event is
//! there, and needs no right to read Events. `Pace` is pure too: how many Events may be written.
//! The driver is `Unenforced`. All this ends when policies are enforced:
//! `ControlConfig::policies_enforced`.

mod driver;
mod pace;
mod telling;

pub(crate) use driver::Unenforced;
