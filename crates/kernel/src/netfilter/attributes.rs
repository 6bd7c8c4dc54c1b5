//! Netlink attributes as netfilter uses them: numbers in network order, nests marked as such.

const HEADER: usize = 4;
const NESTED: u16 = 1 << 15;
const KIND: u16 = 0x3fff;

/// One attribute of a message that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attribute<'a> {
    pub(crate) kind: u16,
    pub(crate) value: &'a [u8],
}

/// The attributes in a buffer; stops at the first that is cut short.
pub(crate) fn attributes(mut buffer: &[u8]) -> impl Iterator<Item = Attribute<'_>> {
    std::iter::from_fn(move || {
        let half = |at: usize| Some(u16::from_ne_bytes(buffer.get(at..at + 2)?.try_into().ok()?));
        let length = half(0)? as usize;
        let attribute = Attribute {
            kind: half(2)? & KIND,
            value: buffer.get(HEADER..length)?,
        };
        buffer = buffer.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(attribute)
    })
}

/// The value of the first attribute of `kind` in a buffer.
pub(crate) fn find(buffer: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(buffer).find(|a| a.kind == kind).map(|a| a.value)
}

/// A value as a number of 32 bits in network order.
pub(crate) fn u32_be(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.get(..4)?.try_into().ok()?))
}

/// A value as a number of 16 bits in network order.
pub(crate) fn u16_be(value: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(value.get(..2)?.try_into().ok()?))
}

/// A value as text, without the final zero.
pub(crate) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// Writes attributes one after the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Adds an attribute with a value as it goes over the wire.
    pub(crate) fn put(&mut self, kind: u16, value: &[u8]) -> &mut Writer {
        self.put_kind(kind, value)
    }

    /// Adds an attribute that holds others.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Writer)) -> &mut Writer {
        // In place: what is inside is whole words, so no filling is needed behind it.
        let start = self.bytes.len();
        self.bytes.extend([0; HEADER]);
        fill(self);
        let length = self.bytes.len() - start;
        let short = u16::try_from(length).expect("requests here are far shorter than 64 KiB");
        let kind = kind | NESTED;
        self.bytes[start..start + 2].copy_from_slice(&short.to_ne_bytes());
        self.bytes[start + 2..start + HEADER].copy_from_slice(&kind.to_ne_bytes());
        self
    }

    /// Adds an attribute that holds others, as they were read.
    pub(crate) fn put_nest(&mut self, kind: u16, value: &[u8]) -> &mut Writer {
        self.put_kind(kind | NESTED, value)
    }

    /// Adds a text with its final zero.
    pub(crate) fn put_text(&mut self, kind: u16, value: &str) -> &mut Writer {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.put_kind(kind, &bytes)
    }

    /// What was written.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn put_kind(&mut self, kind: u16, value: &[u8]) -> &mut Writer {
        let length = HEADER + value.len();
        let short = u16::try_from(length).expect("requests here are far shorter than 64 KiB");
        self.bytes.extend(short.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        let padded = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(padded, 0);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::default();
        writer.put(1, &[7]).nest(2, |inner| {
            inner.put_text(3, "abc").put(4, &9u32.to_be_bytes());
        });
        let read: Vec<u16> = attributes(writer.bytes()).map(|a| a.kind).collect();
        assert_eq!(read, [1, 2]);
        let nest = find(writer.bytes(), 2).expect("written");
        assert_eq!(find(nest, 3).map(text), Some("abc".to_owned()));
        assert_eq!(find(nest, 4).and_then(u32_be), Some(9));
        assert_eq!(find(nest, 5), None);
    }

    #[test]
    fn a_cut_buffer_ends_the_reading() {
        let mut writer = Writer::default();
        writer.put(1, &[1; 8]).put(2, &[2; 8]);
        for length in 0..writer.bytes().len() {
            assert!(
                attributes(&writer.bytes()[..length]).count() <= 1,
                "{length}"
            );
        }
    }
}
