//! The streams of a session in one WebSocket: each message begins with a byte that says whose it is.

use bytes::{BufMut as _, Bytes, BytesMut};
use serde_json::{Value, json};

/// The newest subprotocol; it can close one stream alone.
pub(super) const V5: &str = "v5.channel.k8s.io";
/// The one before it.
pub(super) const V4: &str = "v4.channel.k8s.io";

pub(super) const INPUT: u8 = 0;
pub(super) const OUTPUT: u8 = 1;
pub(super) const ERRORS: u8 = 2;
pub(super) const OUTCOME: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// What a client says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The command is to read this.
    Input(Bytes),
    /// There is nothing more to read.
    InputEnds,
    /// The terminal is so large now.
    Size { rows: u16, columns: u16 },
    /// Nothing that means anything here.
    Nothing,
}

/// Reads a message; `closes` says whether the subprotocol can close streams.
pub(super) fn read(mut message: Bytes, closes: bool) -> Said {
    if message.is_empty() {
        return Said::Nothing;
    }
    let content = message.split_off(1);
    match (message[0], content.first()) {
        (INPUT, Some(_)) => Said::Input(content),
        (CLOSE, Some(&INPUT)) if closes => Said::InputEnds,
        (RESIZE, _) => size(&content).unwrap_or(Said::Nothing),
        _ => Said::Nothing,
    }
}

/// `{"Width":80,"Height":24}`; a side that is not there or no length is 0, which says nothing.
fn size(content: &[u8]) -> Option<Said> {
    let value: Value = serde_json::from_slice(content).ok()?;
    let side = |name: &str| value.get(name)?.as_u64()?.try_into().ok();
    let (columns, rows) = (side("Width")?, side("Height")?);
    Some(Said::Size { rows, columns })
}

/// A message of a stream.
pub(super) fn message(channel: u8, content: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(content.len() + 1);
    message.put_u8(channel);
    message.put_slice(content);
    message.freeze()
}

/// How it ended: a `Status` on the stream for that.
pub(super) fn outcome(end: &End) -> Bytes {
    message(OUTCOME, end.status().to_string().as_bytes())
}

/// How a session ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The command ended with this exit code.
    Code(u8),
    /// There was no command, or nobody knows what became of it.
    Failed(String),
}

impl End {
    fn status(&self) -> Value {
        match self {
            End::Code(0) => json!({ "metadata": {}, "status": "Success" }),
            End::Code(code) => json!({
                "metadata": {},
                "status": "Failure",
                "message": format!(
                    "command terminated with non-zero exit code: \
                     command terminated with exit code {code}"
                ),
                "reason": "NonZeroExitCode",
                "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
            }),
            End::Failed(reason) => json!({
                "metadata": {},
                "status": "Failure",
                "message": format!(
                    "Internal error occurred: error executing command in container: {reason}"
                ),
                "reason": "InternalError",
                "details": { "causes": [{ "message": reason }] },
                "code": 500,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(bytes: &'static [u8]) -> Said {
        read(Bytes::from_static(bytes), true)
    }

    #[test]
    fn messages_are_read_by_their_first_byte() {
        assert_eq!(said(b"\0ab"), Said::Input(Bytes::from_static(b"ab")));
        assert_eq!(said(b"\xff\0"), Said::InputEnds);
        let old = read(Bytes::from_static(b"\xff\0"), false);
        assert_eq!(old, Said::Nothing);
        let size = Said::Size {
            rows: 24,
            columns: 80,
        };
        assert_eq!(said(br#"{"Width":80,"Height":24}"#), Said::Nothing);
        assert_eq!(said(b"\x04{\"Width\":80,\"Height\":24}"), size);
        for nothing in [
            &b""[..],
            b"\0",
            b"\x01ab",
            b"\x04",
            b"\x04{}",
            b"\x04{\"Width\":-1,\"Height\":70000}",
            b"\xff",
            b"\xff\x01",
        ] {
            assert_eq!(said(nothing), Said::Nothing, "{nothing:?}");
        }
    }

    #[test]
    fn ends_are_told_as_kubectl_reads_them() {
        let text = |end: &End| String::from_utf8(outcome(end).to_vec()).expect("text");
        let well = text(&End::Code(0));
        assert_eq!(well, "\x03{\"metadata\":{},\"status\":\"Success\"}");
        let code = text(&End::Code(137));
        assert!(
            code.contains(r#"{"message":"137","reason":"ExitCode"}"#),
            "{code}"
        );
        assert!(code.contains("NonZeroExitCode"), "{code}");
        let failed = text(&End::Failed("no such program".to_owned()));
        assert!(failed.contains("container: no such program\""), "{failed}");
    }
}
