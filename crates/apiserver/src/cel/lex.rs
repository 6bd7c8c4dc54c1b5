//! Words of an expression.

use super::ParseError;

/// A word.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Word {
    Name(String),
    Int(i64),
    Double(f64),
    Text(String),
    /// An operator or a bracket.
    Sign(&'static str),
}

/// Operators and brackets, longer ones first.
const SIGNS: [&str; 24] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", ".", ",",
    "(", ")", "[", "]", "{", "}",
];

/// The longest expression, in bytes.
const LONGEST: usize = 16 << 10;

/// The words of an expression, each with where it begins.
pub(super) fn words(text: &str) -> Result<Vec<(usize, Word)>, ParseError> {
    if text.len() > LONGEST {
        return Err(ParseError::TooLarge);
    }
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        if text[at..].starts_with("//") {
            at += text[at..].find('\n').unwrap_or(text.len() - at);
            continue;
        }
        let (word, length) = word(text, at)?;
        found.push((at, word));
        at += length;
    }
    Ok(found)
}

fn wrong(at: usize, what: impl Into<String>) -> ParseError {
    ParseError::Syntax {
        at,
        what: what.into(),
    }
}

fn word(text: &str, at: usize) -> Result<(Word, usize), ParseError> {
    let rest = &text[at..];
    let raw = rest.strip_prefix(['r', 'R']);
    if let Some(quoted) = raw.filter(|rest| rest.starts_with(['\'', '"'])) {
        let (text, length) = string(quoted, at, true)?;
        return Ok((Word::Text(text), length + 1));
    }
    if rest.starts_with(['\'', '"']) {
        let (text, length) = string(rest, at, false)?;
        return Ok((Word::Text(text), length));
    }
    let first = rest.as_bytes()[0];
    if first.is_ascii_digit() {
        return number(rest, at);
    }
    if first.is_ascii_alphabetic() || first == b'_' {
        let ends = |character: char| !character.is_ascii_alphanumeric() && character != '_';
        let name = &rest[..rest.find(ends).unwrap_or(rest.len())];
        return Ok((Word::Name(name.to_owned()), name.len()));
    }
    let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
    let sign = sign.ok_or_else(|| wrong(at, "a character that means nothing here"))?;
    Ok((Word::Sign(sign), sign.len()))
}

fn number(rest: &str, at: usize) -> Result<(Word, usize), ParseError> {
    let bytes = rest.as_bytes();
    let digits = |from: usize| {
        let tail = bytes.get(from..).unwrap_or_default();
        from + tail.iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    let mut end = digits(0);
    let mut double = false;
    if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
        double = true;
        end = digits(end + 1);
    }
    if bytes.get(end).is_some_and(u8::is_ascii_alphabetic) {
        return Err(wrong(at, "only plain decimal numbers are known"));
    }
    let text = &rest[..end];
    let word = match double {
        true => text.parse().map(Word::Double).ok(),
        false => text.parse().map(Word::Int).ok(),
    };
    word.map(|word| (word, end))
        .ok_or_else(|| wrong(at, "a number that is too large"))
}

/// A text between quotes, and how long it is with them.
fn string(rest: &str, at: usize, raw: bool) -> Result<(String, usize), ParseError> {
    let one = &rest[..1];
    let three = one.repeat(3);
    let quote = if rest.starts_with(&three) {
        three.as_str()
    } else {
        one
    };
    let (mut text, mut place) = (String::new(), quote.len());
    loop {
        let tail = &rest[place..];
        if tail.starts_with(quote) {
            return Ok((text, place + quote.len()));
        }
        let mut characters = tail.chars();
        let first = characters
            .next()
            .ok_or_else(|| wrong(at, "a text without an end"))?;
        place += first.len_utf8();
        if first != '\\' || raw {
            text.push(first);
            continue;
        }
        let escaped = characters
            .next()
            .ok_or_else(|| wrong(at, "a text without an end"))?;
        place += escaped.len_utf8();
        text.push(match escaped {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            '\\' | '\'' | '"' | '`' | '?' => escaped,
            _ => return Err(wrong(at, format!("the escape \\{escaped} is not known"))),
        });
    }
}
