//! What an unsuccessful request means: whether to try again, and words for a person.

use std::error::Error;
use std::time::Duration;

use kube::core::Status;

/// What follows from a failed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// 410: the version asked for is no longer known; list again.
    Expired,
    /// 404: there is no such object.
    Absent,
    /// 409: somebody else changed the object, or it is another one of the same name.
    Conflict,
    /// The request itself is wrong or not allowed; the same request fails again.
    Refused,
    /// The server or the way to it: try again, after this long at least.
    Passing(Duration),
}

impl Failure {
    /// Judges an error of the client.
    pub fn of(error: &kube::Error) -> Failure {
        match error {
            kube::Error::Api(status) => Failure::of_status(status),
            _ => Failure::Passing(Duration::ZERO),
        }
    }

    /// Judges a `Status` that a server sent, as an answer or in a watch.
    pub fn of_status(status: &Status) -> Failure {
        match status.code {
            410 => Failure::Expired,
            404 => Failure::Absent,
            409 => Failure::Conflict,
            400 | 401 | 403 | 405 | 406 | 413 | 415 | 422 => Failure::Refused,
            _ if status.reason == "Expired" || status.reason == "Gone" => Failure::Expired,
            _ => Failure::Passing(retry_after(status)),
        }
    }
}

/// The pause that a server asks for, within reason.
fn retry_after(status: &Status) -> Duration {
    let seconds = status.details.as_ref().map(|d| d.retry_after_seconds);
    Duration::from_secs(u64::from(seconds.unwrap_or_default()).min(60))
}

/// An error of the client in words, its causes included, none twice.
pub fn describe(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return describe_status(status);
    }
    let mut text = match error {
        // Its own words are those of its cause.
        kube::Error::Service(_) | kube::Error::HyperError(_) | kube::Error::ReadEvents(_) => {
            String::new()
        }
        other => other.to_string(),
    };
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        // These say no more than that there is a cause.
        let empty = words.starts_with("client error (") || words == "tcp connect error";
        let empty = empty && error.source().is_some();
        if !empty && !text.contains(&words) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

/// A server's `Status` in words.
pub(crate) fn describe_status(status: &Status) -> String {
    let reason = match status.reason.as_str() {
        "" => "no reason given",
        reason => reason,
    };
    match status.message.as_str() {
        "" => format!("the server answers {} {reason}", status.code),
        message => format!("the server answers {} {reason}: {message}", status.code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, reason: &str) -> Status {
        Status::failure("words", reason).with_code(code)
    }

    #[test]
    fn answers_lead_to_the_right_thing() {
        for (code, reason, failure) in [
            (410, "Expired", Failure::Expired),
            (410, "Gone", Failure::Expired),
            (0, "Expired", Failure::Expired),
            (404, "NotFound", Failure::Absent),
            (409, "Conflict", Failure::Conflict),
            (403, "Forbidden", Failure::Refused),
            (422, "Invalid", Failure::Refused),
            (429, "TooManyRequests", Failure::Passing(Duration::ZERO)),
            (500, "InternalError", Failure::Passing(Duration::ZERO)),
            (504, "Timeout", Failure::Passing(Duration::ZERO)),
        ] {
            assert_eq!(Failure::of_status(&status(code, reason)), failure, "{code}");
        }
    }

    #[test]
    fn words_name_code_reason_and_message_once() {
        let error = kube::Error::Api(status(403, "Forbidden").boxed());
        assert_eq!(describe(&error), "the server answers 403 Forbidden: words");
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = kube::Error::Service(Box::new(refused));
        assert_eq!(describe(&error), "connection refused");
    }
}
