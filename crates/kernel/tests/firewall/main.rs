//! The firewall against a real kernel, with real packets, each test in namespaces of its own.

mod forgery;
mod life;
mod ports;
mod rig;
mod services;
mod vtep;
mod way_out;
