//! Errors as the specification wants them: a code, one sentence, details.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::version::CniVersion;

/// The error codes of the specification, and our own from 100 up.
pub mod code {
    /// The version of the configuration is not spoken, or does not have the command.
    pub const INCOMPATIBLE_VERSION: u32 = 1;
    /// The configuration asks for something that is not supported.
    pub const UNSUPPORTED_FIELD: u32 = 2;
    /// The container is not known.
    pub const UNKNOWN_CONTAINER: u32 = 3;
    /// An environment variable is missing or not valid.
    pub const INVALID_ENVIRONMENT: u32 = 4;
    /// Reading or writing failed.
    pub const IO_FAILURE: u32 = 5;
    /// The content is not JSON.
    pub const DECODING_FAILURE: u32 = 6;
    /// The configuration is JSON, but not valid.
    pub const INVALID_CONFIG: u32 = 7;
    /// It may work later: the runtime should try again.
    pub const TRY_AGAIN_LATER: u32 = 11;
    /// STATUS: an ADD cannot be served now.
    pub const PLUGIN_UNAVAILABLE: u32 = 50;
    /// STATUS: an ADD cannot be served now, and running Pods may be cut off too.
    pub const LIMITED_CONNECTIVITY: u32 = 51;
    /// Ours: the kernel or the agent failed in a way that has no code of its own.
    pub const INTERNAL: u32 = 100;
    /// Ours: plugin and agent do not understand each other.
    pub const PROTOCOL: u32 = 101;
}

/// An error result. The `cniVersion` that it must carry is that of the request: see
/// [`CniError::to_json`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
#[error("{msg} (CNI error {code})")]
pub struct CniError {
    /// One of [`code`].
    pub code: u32,
    /// What failed, on which object, and what to do about it: one sentence.
    pub msg: String,
    /// What a reader may want beyond the sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    cni_version: CniVersion,
    #[serde(flatten)]
    error: &'a CniError,
}

impl CniError {
    /// An error without details.
    pub fn new(code: u32, msg: impl Into<String>) -> CniError {
        let (msg, details) = (msg.into(), String::new());
        CniError { code, msg, details }
    }

    /// The same error with details.
    pub fn with_details(self, details: impl Into<String>) -> CniError {
        let details = details.into();
        CniError { details, ..self }
    }

    /// The text for stdout.
    pub fn to_json(&self, version: CniVersion) -> String {
        let report = Report {
            cni_version: version,
            error: self,
        };
        serde_json::to_string(&report).expect("numbers and strings are always JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k2_error_results_carry_version_code_msg_and_details() {
        let error = CniError::new(code::TRY_AGAIN_LATER, "no \"agent\"").with_details("start it");
        assert_eq!(
            error.to_json(CniVersion::V0_4_0),
            r#"{"cniVersion":"0.4.0","code":11,"msg":"no \"agent\"","details":"start it"}"#
        );
        assert_eq!(
            CniError::new(7, "m").to_json(CniVersion::NEWEST),
            r#"{"cniVersion":"1.1.0","code":7,"msg":"m"}"#
        );
    }

    #[test]
    fn k2_codes_are_those_of_the_specification() {
        let codes = [
            code::INCOMPATIBLE_VERSION,
            code::UNSUPPORTED_FIELD,
            code::UNKNOWN_CONTAINER,
            code::INVALID_ENVIRONMENT,
            code::IO_FAILURE,
            code::DECODING_FAILURE,
            code::INVALID_CONFIG,
            code::TRY_AGAIN_LATER,
            code::PLUGIN_UNAVAILABLE,
            code::LIMITED_CONNECTIVITY,
        ];
        assert_eq!(codes, [1, 2, 3, 4, 5, 6, 7, 11, 50, 51]);
        assert_eq!([code::INTERNAL, code::PROTOCOL], [100, 101]);
    }
}
