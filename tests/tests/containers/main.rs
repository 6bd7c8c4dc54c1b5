//! Containers as the lab makes them, tried from inside and from outside: each promise by a real
//! process that tries to break it. No Pod and no supervisor is needed, only the shim.

mod harness;
mod isolation;
mod lifetime;
mod privileges;
mod volumes;
