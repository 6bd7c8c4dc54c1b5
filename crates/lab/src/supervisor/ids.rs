//! Random names, as a container runtime makes them, and tokens.

use std::fmt::Write;
use std::fs::File;
use std::io::Read;

use crate::error::{Context, LabError};

/// A container id: 64 hexadecimal digits.
pub(crate) fn container_id() -> Result<String, LabError> {
    Ok(hex(&random::<32>()?))
}

/// A bearer token: 64 hexadecimal digits.
pub(crate) fn token() -> Result<String, LabError> {
    Ok(hex(&random::<32>()?))
}

/// A random UUID (version 4).
pub(crate) fn uuid() -> Result<String, LabError> {
    let mut bytes = random::<16>()?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let parts = [
        &bytes[..4],
        &bytes[4..6],
        &bytes[6..8],
        &bytes[8..10],
        &bytes[10..],
    ];
    Ok(parts.map(hex).join("-"))
}

fn random<const N: usize>() -> Result<[u8; N], LabError> {
    const SOURCE: &str = "/dev/urandom";
    let mut bytes = [0; N];
    File::open(SOURCE)
        .and_then(|mut source| source.read_exact(&mut bytes))
        .during("read", || SOURCE.to_owned())?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_look_like_those_of_a_runtime_and_differ() {
        let (one, two) = (
            container_id().expect("random"),
            container_id().expect("random"),
        );
        assert_ne!(one, two);
        assert!(one.len() == 64 && one.bytes().all(|b| b.is_ascii_hexdigit()));
        let uuid = uuid().expect("random");
        let lengths: Vec<_> = uuid.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(&uuid[14..15], "4");
    }
}
