//! Which test proves which line of the semantics, and where each of Kubernetes' own end-to-end tests
//! is found: lists held against the tests and cases that there are.
