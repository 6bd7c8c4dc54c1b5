//! What the published API says of its types and fields, for `kubectl explain`: the words of the
//! `k8s-openapi` crate's documentation (Apache 2.0), kept small and unpacked for as long as a
//! document is made.
//!
//! A line that begins with a type's published name has its description; the lines below it, indented,
//! have those of its fields. `\n` is a line's end.

use std::collections::HashMap;
use std::io::Read as _;

use flate2::read::GzDecoder;

static PACKED: &[u8] = include_bytes!("descriptions.txt.gz");

/// The unpacked text.
pub(super) struct Text(String);

/// Descriptions, by type and field.
pub(super) struct Descriptions<'a>(HashMap<(&'a str, &'a str), &'a str>);

impl Text {
    pub(super) fn unpack() -> Text {
        let mut text = String::new();
        let unpacked = GzDecoder::new(PACKED).read_to_string(&mut text);
        debug_assert!(unpacked.is_ok(), "it is part of the program");
        Text(text)
    }

    pub(super) fn descriptions(&self) -> Descriptions<'_> {
        let mut found = HashMap::new();
        let mut of = "";
        for line in self.0.lines() {
            let (field, line) = match line.strip_prefix(' ') {
                Some(line) => (true, line),
                None => (false, line),
            };
            let (name, words) = line.split_once(' ').unwrap_or((line, ""));
            if !field {
                of = name;
            }
            found.insert((of, if field { name } else { "" }), words);
        }
        Descriptions(found)
    }
}

impl Descriptions<'_> {
    /// What a type is.
    pub(super) fn of_type(&self, name: &str) -> Option<String> {
        self.find(name, "")
    }

    /// What a field of a type is.
    pub(super) fn of_field(&self, name: &str, field: &str) -> Option<String> {
        self.find(name, field)
    }

    fn find(&self, name: &str, field: &str) -> Option<String> {
        let words = self.0.get(&(name, field))?;
        (!words.is_empty()).then(|| words.replace("\\n", "\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_fields_have_their_words() {
        let text = Text::unpack();
        let descriptions = text.descriptions();
        let pod = descriptions.of_type("io.k8s.api.core.v1.Pod").unwrap();
        assert!(
            pod.starts_with("Pod is a collection of containers"),
            "{pod}"
        );
        let name = "io.k8s.api.core.v1.PodSpec";
        let field = descriptions.of_field(name, "dnsPolicy").unwrap();
        assert!(field.starts_with("Set DNS policy for the pod"), "{field}");
        assert_eq!(descriptions.of_field(name, "none"), None);
        assert_eq!(descriptions.of_type("none"), None);
    }
}
