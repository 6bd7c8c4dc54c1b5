//! CustomResourceDefinitions: from a definition to kinds that are served.
//!
//! `definition` reads a definition and says what is wrong with it, `custom` makes a kind of each of
//! its versions, `names` decides who is called what, `establish` is the loop that serves what is defined and empties what is deleted.

pub(crate) mod check;
pub(crate) mod columns;
mod compile;
pub(crate) mod custom;
pub(crate) mod definition;
mod establish;
mod formats;
mod names;
pub(crate) mod openapi;
pub(crate) mod prune;
pub(crate) mod schema;
#[cfg(test)]
mod tests;

pub(crate) use establish::establish;

/// What holds a definition until its objects are gone.
pub(crate) const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";
