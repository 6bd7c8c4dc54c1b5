//! Bytes in, log lines out: `2026-11-27T14:00:00.123456789Z stdout F text`. A line that is longer than
//! the limit, or that the end cuts off, goes out in parts: `P` says that the line goes on.

/// The longest part of a line in one log line.
pub(super) const LONGEST: usize = 16 * 1024;

/// Which output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// Puts lines together.
#[derive(Debug)]
pub(super) struct Lines {
    stream: Stream,
    begun: Vec<u8>,
}

impl Lines {
    pub(super) fn new(stream: Stream) -> Lines {
        Lines {
            stream,
            begun: Vec::new(),
        }
    }

    /// Takes in what was read at `now` (a time stamp) and hands out each log line.
    pub(super) fn push(&mut self, mut bytes: &[u8], now: &str, mut line: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            let room = LONGEST - self.begun.len();
            let within = &bytes[..bytes.len().min(room)];
            let (part, rest, tag) = match within.iter().position(|byte| *byte == b'\n') {
                Some(end) => (&bytes[..end], &bytes[end + 1..], Some("F")),
                // The line may end right after the limit: then it is whole.
                None if bytes.len() > room && bytes[room] == b'\n' => {
                    (within, &bytes[room + 1..], Some("F"))
                }
                None if bytes.len() > room => (within, &bytes[room..], Some("P")),
                None => (within, &bytes[within.len()..], None),
            };
            self.begun.extend_from_slice(part);
            bytes = rest;
            if let Some(tag) = tag {
                self.emit(tag, now, &mut line);
            }
        }
    }

    /// Hands out what has no end.
    pub(super) fn finish(&mut self, now: &str, mut line: impl FnMut(&[u8])) {
        if !self.begun.is_empty() {
            self.emit("P", now, &mut line);
        }
    }

    fn emit(&mut self, tag: &str, now: &str, line: &mut impl FnMut(&[u8])) {
        let mut text = format!("{now} {} {tag} ", self.stream.name()).into_bytes();
        text.append(&mut self.begun);
        text.push(b'\n');
        line(&text);
        self.begun = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(parts: &[&[u8]]) -> Vec<(String, usize)> {
        let mut lines = Lines::new(Stream::Stdout);
        let mut out = Vec::new();
        let mut keep = |line: &[u8]| {
            let text = String::from_utf8_lossy(line).into_owned();
            let body = text.strip_prefix("T stdout ").expect("time and stream");
            let body = body.strip_suffix('\n').expect("an end");
            out.push((body.chars().take(7).collect(), body.len() - 2));
        };
        for part in parts {
            lines.push(part, "T", &mut keep);
        }
        lines.finish("T", &mut keep);
        out
    }

    fn line(text: &str, length: usize) -> (String, usize) {
        (text.to_owned(), length)
    }

    #[test]
    fn lines_are_put_together_and_an_unfinished_one_is_partial() {
        assert_eq!(
            lines(&[b"a", b"b\n\nc", b"d"]),
            [line("F ab", 2), line("F ", 0), line("P cd", 2)]
        );
        assert!(lines(&[]).is_empty());
    }

    #[test]
    fn long_lines_go_out_in_parts() {
        let mut long = vec![b'x'; 2 * LONGEST + 5];
        long.push(b'\n');
        let parts = [
            line("P xxxxx", LONGEST),
            line("P xxxxx", LONGEST),
            line("F xxxxx", 5),
        ];
        assert_eq!(lines(&[&long]), parts);
        assert_eq!(lines(&[&long[..LONGEST + 3], &long[LONGEST + 3..]]), parts);
        assert_eq!(lines(&[&long[LONGEST + 5..]]), [line("F xxxxx", LONGEST)]);
    }

    #[test]
    fn no_way_of_cutting_loses_a_byte() {
        let text: Vec<u8> = (0..50_000u32)
            .map(|n| if n % 9973 == 0 { b'\n' } else { b'y' })
            .collect();
        for size in [1, 7, 4096, LONGEST - 1, LONGEST, LONGEST + 1] {
            let parts: Vec<&[u8]> = text.chunks(size).collect();
            let total: usize = lines(&parts).iter().map(|(_, length)| length).sum();
            assert_eq!(total, text.iter().filter(|byte| **byte == b'y').count());
        }
    }
}
