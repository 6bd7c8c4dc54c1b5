//! Services: what is known of them, and the rows that balance them.

mod view;

pub use view::{FlowTruth, HealthCheck, Programming, ServiceView};
