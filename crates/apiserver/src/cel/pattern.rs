//! Regular expressions as Kubernetes means them (RE2): classes such as `\d` are those of ASCII.

use regex::{Regex, RegexBuilder};

/// How large one may become.
const MOST_BYTES: usize = 512 << 10;
/// How large one may become that an object gives: the time of a match grows with it.
const MOST_BYTES_GIVEN: usize = 64 << 10;

/// Compiles a regular expression of a definition.
pub(crate) fn compile(text: &str) -> Result<Regex, regex::Error> {
    compile_to(text, MOST_BYTES)
}

/// Compiles a regular expression of an object.
pub(super) fn compile_given(text: &str) -> Result<Regex, regex::Error> {
    compile_to(text, MOST_BYTES_GIVEN)
}

fn compile_to(text: &str, most: usize) -> Result<Regex, regex::Error> {
    RegexBuilder::new(&ascii(text)).size_limit(most).build()
}

/// The expression with its classes spelt out; without it, a repeated `\w` would be all of Unicode
/// many times over.
fn ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match characters.next() {
            Some('d') => out.push_str("[0-9]"),
            Some('D') => out.push_str("[^0-9]"),
            Some('w') => out.push_str("[0-9A-Za-z_]"),
            Some('W') => out.push_str("[^0-9A-Za-z_]"),
            Some('s') => out.push_str(r"[\t\n\f\r ]"),
            Some('S') => out.push_str(r"[^\t\n\f\r ]"),
            Some('b') => out.push_str(r"(?-u:\b)"),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_ascii_and_stay_small() {
        for (pattern, good, bad) in [
            (r"^\d+$", "12", "\u{661}"),
            (r"^[\w.-]{1,1000}$", "a_1.-", "\u{e4}"),
            (r"^\S+$", "a", "a b"),
            (r"^a\\d$", r"a\d", "a1"),
            (r"^\.\/$", "./", "a/"),
            (r"(?i)^http$", "HTTP", "ftp"),
        ] {
            let compiled = compile(pattern).unwrap();
            assert!(
                compiled.is_match(good) && !compiled.is_match(bad),
                "{pattern}"
            );
        }
        assert!(compile(r"((a{100}){100}){100}").is_err());
    }
}
