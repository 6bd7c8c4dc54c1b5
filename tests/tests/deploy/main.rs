//! What brings Seaway into a cluster: the manifest and the chart are taken by an API server, from the
//! real kubectl and the real Helm, and agents and controller need exactly the rights that they get.

mod apply;
mod controllers;
mod force;
mod rights;
mod trail;
