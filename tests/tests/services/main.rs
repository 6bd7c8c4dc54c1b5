//! The truth about Services: cases as data (`cases/*.yaml`), each tried against the reference
//! evaluator and, with real packets, in a small cluster; and beside them what no single probe shows:
//! changes, errors, fragments, forged objects, an exposed host.
//!
//! `semantics.yaml` says which test proves which line of the semantics (S1 to S45), `e2e.yaml` where
//! each of Kubernetes' own end-to-end tests is found; `coverage` holds both against what there is.

#![expect(clippy::expect_used, reason = "a test fails by panic")]
#![expect(clippy::print_stdout, reason = "what is measured and not asserted")]

mod affinity;
mod common;
mod coverage;
mod exposure;
mod flows;
mod hijack;
mod mutation;
mod packets;
mod reference;
mod table;
