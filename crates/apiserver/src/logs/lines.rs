//! Lines in CRI format, `TIME STREAM TAG TEXT`, and how they are shown. Pure.

use jiff::Timestamp;

/// How lines are shown.
#[derive(Debug)]
pub(super) struct Format {
    since: Option<Timestamp>,
    /// The only stream that is shown.
    only: Option<&'static str>,
    timestamps: bool,
    /// Bytes that may still be shown.
    left: Option<u64>,
    /// The last line shown has not ended.
    continues: bool,
}

impl Format {
    pub(super) fn new(since: Option<Timestamp>, timestamps: bool, limit: Option<u64>) -> Self {
        Self {
            since,
            only: None,
            timestamps,
            left: limit,
            continues: false,
        }
    }

    /// Everything that one stream carries, as it was written.
    pub(super) fn only(stream: &'static str) -> Self {
        Self {
            only: Some(stream),
            ..Self::new(None, false, None)
        }
    }

    /// Whether nothing more may be shown.
    pub(super) fn is_full(&self) -> bool {
        self.left == Some(0)
    }

    /// Shows one line (without its newline); what is not in CRI format is left out.
    pub(super) fn show(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let (Some(time), Some(stream), Some(tag)) = (parts.next(), parts.next(), parts.next())
        else {
            return;
        };
        let text = parts.next().unwrap_or(b"");
        let Some(written) = std::str::from_utf8(time)
            .ok()
            .and_then(|time| time.parse::<Timestamp>().ok())
        else {
            return;
        };
        if self.only.is_some_and(|only| only.as_bytes() != stream) {
            return;
        }
        if self.since.is_some_and(|since| written < since) {
            return;
        }
        if self.timestamps && !self.continues {
            self.put(time, out);
            self.put(b" ", out);
        }
        self.put(text, out);
        // The tag is a list separated by colons; the first says whether the line is whole.
        self.continues = tag.first() == Some(&b'P');
        if !self.continues {
            self.put(b"\n", out);
        }
    }

    fn put(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let length = match &mut self.left {
            None => bytes.len(),
            Some(left) => {
                let length = bytes
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= length as u64;
                length
            }
        };
        out.extend_from_slice(&bytes[..length]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(format: &mut Format, lines: &[&str]) -> String {
        let mut out = Vec::new();
        for line in lines {
            format.show(line.as_bytes(), &mut out);
        }
        String::from_utf8(out).unwrap()
    }

    const LINES: [&str; 4] = [
        "2026-11-27T14:00:00.000000001Z stdout F one",
        "2026-11-27T14:00:01Z stderr P tw",
        "2026-11-27T14:00:02Z stderr F o",
        "not a line",
    ];

    #[test]
    fn parts_of_a_line_are_joined() {
        assert_eq!(
            show(&mut Format::new(None, false, None), &LINES),
            "one\ntwo\n"
        );
    }

    #[test]
    fn timestamps_stand_before_whole_lines() {
        assert_eq!(
            show(&mut Format::new(None, true, None), &LINES),
            "2026-11-27T14:00:00.000000001Z one\n2026-11-27T14:00:01Z two\n"
        );
    }

    #[test]
    fn older_lines_are_left_out() {
        let since = "2026-11-27T14:00:01Z".parse().unwrap();
        assert_eq!(
            show(&mut Format::new(Some(since), false, None), &LINES),
            "two\n"
        );
    }

    #[test]
    fn no_more_bytes_than_asked_for() {
        let mut format = Format::new(None, false, Some(5));
        assert_eq!(show(&mut format, &LINES), "one\nt");
        assert!(format.is_full());
    }
}
