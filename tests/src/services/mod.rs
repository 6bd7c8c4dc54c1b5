//! Services in a small cluster: cases as data, the objects that they stand for, the servers behind
//! them, and clients that ask and say what came of it.
//!
//! It knows nothing of how Services are made to work; it looks at them from the clients' places.

pub mod ask;
pub mod case;
pub mod cast;
pub mod crowd;
pub mod load;
pub mod objects;
pub mod stage;
pub mod truth;

pub use ask::{Outcome, ask};
pub use case::{Case, Expect, Probe, Seen, Table};
pub use cast::Cast;
pub use crowd::{Crowd, Server};
pub use load::{Load, Tally};
pub use objects::{Objects, Target};
pub use stage::Stage;
pub use truth::at;
