//! The versions of the specification that are spoken.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use thiserror::Error;

use super::error::{CniError, code};

/// A version of the CNI specification that Seaway speaks, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CniVersion {
    /// Rich results, chains.
    V0_3_1,
    /// CHECK; prevResult on DEL.
    V0_4_0,
    /// Lists only; addresses no longer carry their family.
    V1_0_0,
    /// GC and STATUS; MTU and more in results.
    V1_1_0,
}

/// A version that is not spoken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("cniVersion \"{0}\" is not supported, set it to one of {list}", list = CniVersion::listed())]
pub struct UnsupportedVersion(pub String);

impl CniVersion {
    /// Every version, oldest first.
    pub const ALL: [CniVersion; 4] = [
        CniVersion::V0_3_1,
        CniVersion::V0_4_0,
        CniVersion::V1_0_0,
        CniVersion::V1_1_0,
    ];

    /// The newest version: what is spoken when nobody asks for another.
    pub const NEWEST: CniVersion = CniVersion::V1_1_0;

    /// The version as it stands in `cniVersion`.
    pub const fn as_str(self) -> &'static str {
        match self {
            CniVersion::V0_3_1 => "0.3.1",
            CniVersion::V0_4_0 => "0.4.0",
            CniVersion::V1_0_0 => "1.0.0",
            CniVersion::V1_1_0 => "1.1.0",
        }
    }

    /// All versions as people read them: `0.3.1, 0.4.0, 1.0.0, 1.1.0`.
    pub fn listed() -> String {
        CniVersion::ALL.map(CniVersion::as_str).join(", ")
    }
}

impl fmt::Display for CniVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for CniVersion {
    type Err = UnsupportedVersion;

    fn from_str(text: &str) -> Result<CniVersion, UnsupportedVersion> {
        CniVersion::ALL
            .into_iter()
            .find(|v| v.as_str() == text)
            .ok_or_else(|| UnsupportedVersion(text.to_owned()))
    }
}

impl Serialize for CniVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl From<UnsupportedVersion> for CniError {
    fn from(error: UnsupportedVersion) -> CniError {
        CniError::new(code::INCOMPATIBLE_VERSION, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_print_parse_and_are_ordered() {
        for version in CniVersion::ALL {
            assert_eq!(version.to_string().parse(), Ok(version));
        }
        assert!(CniVersion::ALL.is_sorted());
        assert_eq!(CniVersion::ALL.last(), Some(&CniVersion::NEWEST));
    }

    #[test]
    fn k2_unknown_versions_are_code_1_and_list_the_known_ones() {
        for bad in ["", "0.2.0", "1.1", "1.1.0 ", "2.0.0", "v1.0.0"] {
            let error = CniError::from(bad.parse::<CniVersion>().expect_err(bad));
            assert_eq!(error.code, 1);
            assert!(error.msg.contains("0.3.1, 0.4.0, 1.0.0, 1.1.0"), "{error}");
        }
    }
}
