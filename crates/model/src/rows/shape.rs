//! Limits of a device's rate.

use std::fmt;

use serde::Serialize;

use super::{Device, Row};
use crate::{AttachmentId, Rate};

/// The limit of what leaves by a device: a token bucket (`tbf`) as its root queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShapeRow {
    /// The device.
    pub device: Device,
    /// The limit.
    pub rate: Rate,
}

impl Row for ShapeRow {
    type Key = Device;
    const TABLE: &'static str = "shapes";

    fn attachment(&self) -> Option<&AttachmentId> {
        self.device.attachment()
    }

    fn key(&self) -> Device {
        self.device.clone()
    }
}

impl fmt::Display for ShapeRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dev {} {}", self.device, self.rate)
    }
}

/// What arrives by one device passes through another before anything else happens to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RedirectRow {
    /// Where it arrives.
    pub from: Device,
    /// What it passes through.
    pub through: Device,
}

impl Row for RedirectRow {
    type Key = Device;
    const TABLE: &'static str = "redirects";

    fn attachment(&self) -> Option<&AttachmentId> {
        self.from.attachment()
    }

    fn key(&self) -> Device {
        self.from.clone()
    }
}

impl fmt::Display for RedirectRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from {} through {}", self.from, self.through)
    }
}
