//! An error as a user reads it: what failed, then why, each said once.
//!
//! Some errors name their cause in their own words, others leave it to the chain; `{error:#}` says the
//! former twice.

use anyhow::Error;

/// The error and its causes in one line, without those that have been said already.
pub(crate) fn told(error: &Error) -> String {
    let mut line = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !line.contains(&cause) {
            line.push_str(": ");
            line.push_str(&cause);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_is_said_once() {
        let cause = || Error::msg("no such file");
        let telling = cause().context("read a: no such file").context("no client");
        assert_eq!(told(&telling), "no client: read a: no such file");
        let plain = cause().context("read b").context("no client");
        assert_eq!(told(&plain), "no client: read b: no such file");
    }
}
