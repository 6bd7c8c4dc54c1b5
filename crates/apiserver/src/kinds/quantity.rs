//! Kubernetes quantities: `500m`, `1.5Gi`, `2e3`.
//!
//! Values are exact in billionths, which is also the finest that Kubernetes keeps. It is only for
//! reading, comparing and the canonical form; nothing is scheduled by it.

/// What Kubernetes says about a quantity that cannot be read.
pub(crate) const SYNTAX: &str = "quantities must match the regular expression \
    '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

const NANO: i128 = 1_000_000_000;
const DECIMAL: [(&str, i128); 10] = [
    ("E", 1_000_000_000_000_000_000 * NANO),
    ("P", 1_000_000_000_000_000 * NANO),
    ("T", 1_000_000_000_000 * NANO),
    ("G", 1_000_000_000 * NANO),
    ("M", 1_000_000 * NANO),
    ("k", 1_000 * NANO),
    ("", NANO),
    ("m", 1_000_000),
    ("u", 1_000),
    ("n", 1),
];
const BINARY: [(&str, i128); 6] = [
    ("Ei", (1 << 60) * NANO),
    ("Pi", (1 << 50) * NANO),
    ("Ti", (1 << 40) * NANO),
    ("Gi", (1 << 30) * NANO),
    ("Mi", (1 << 20) * NANO),
    ("Ki", (1 << 10) * NANO),
];

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Decimal,
    Binary,
    Exponent,
}

/// The quantity in billionths, or nothing if it cannot be read.
pub(crate) fn nanos(text: &str) -> Option<i128> {
    parse(text).map(|(value, _)| value)
}

/// The quantity as Kubernetes writes it: the largest unit that leaves no fraction.
pub(crate) fn canonical(text: &str) -> Option<String> {
    let (value, form) = parse(text)?;
    Some(match form {
        Form::Binary if value.abs() >= 1024 * NANO => {
            let whole = value.div_euclid(NANO) + i128::from(value.rem_euclid(NANO) != 0);
            unit(whole * NANO, &BINARY).unwrap_or_else(|| whole.to_string())
        }
        Form::Exponent => exponent(value),
        Form::Decimal | Form::Binary => unit(value, &DECIMAL).unwrap_or_else(|| value.to_string()),
    })
}

fn unit(value: i128, units: &[(&str, i128)]) -> Option<String> {
    if value == 0 {
        return Some("0".to_owned());
    }
    let (suffix, size) = units.iter().find(|(_, size)| value % size == 0)?;
    Some(format!("{}{suffix}", value / size))
}

fn exponent(value: i128) -> String {
    let decimal = unit(value, &DECIMAL).unwrap_or_else(|| value.to_string());
    let (digits, power) = match decimal.split_at(decimal.len() - 1) {
        (digits, "E") => (digits, 18),
        (digits, "P") => (digits, 15),
        (digits, "T") => (digits, 12),
        (digits, "G") => (digits, 9),
        (digits, "M") => (digits, 6),
        (digits, "k") => (digits, 3),
        (digits, "m") => (digits, -3),
        (digits, "u") => (digits, -6),
        (digits, "n") => (digits, -9),
        _ => return decimal,
    };
    format!("{digits}e{power}")
}

fn parse(text: &str) -> Option<(i128, Form)> {
    let (negative, body) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let end = body
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(body.len());
    let (number, suffix) = body.split_at(end);
    let (size, form) = scale(suffix)?;
    let value = magnitude(number, size)?;
    Some((if negative { -value } else { value }, form))
}

/// What one of the unit is, in billionths; a power of ten below that is a divisor.
enum Scale {
    Times(i128),
    Power(i32),
}

fn scale(suffix: &str) -> Option<(Scale, Form)> {
    if let Some((_, size)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Some((Scale::Times(*size), Form::Decimal));
    }
    if let Some((_, size)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        return Some((Scale::Times(*size), Form::Binary));
    }
    let power = suffix.strip_prefix(['e', 'E'])?;
    let power: i32 = power.parse().ok()?;
    (-30..=18)
        .contains(&power)
        .then_some((Scale::Power(power), Form::Exponent))
}

/// `number` times the scale, in billionths, rounded up as Kubernetes does.
fn magnitude(number: &str, scale: Scale) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    if whole.len() > 19 || fraction.len() > 18 {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let below = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let (times, divide) = match scale {
        Scale::Times(size) => (size, 1),
        Scale::Power(power) if power >= 0 => (
            NANO.checked_mul(10_i128.checked_pow(power.unsigned_abs())?)?,
            1,
        ),
        Scale::Power(power) => (NANO, 10_i128.checked_pow(power.unsigned_abs())?),
    };
    // What is above 2^63-1 is capped by Kubernetes; no resource of a lab comes near.
    let product = digits.checked_mul(times)?;
    let divisor = below.checked_mul(divide)?;
    Some(product / divisor + i128::from(product % divisor != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_written_in_their_largest_whole_unit() {
        let cases = [
            ("1", "1"),
            ("1000m", "1"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("1.5Gi", "1536Mi"),
            ("1024Mi", "1Gi"),
            ("2048", "2048"),
            ("1000", "1k"),
            ("100Ki", "100Ki"),
            ("0.1Ki", "102400m"),
            ("1e3", "1e3"),
            ("12E6", "12e6"),
            ("0", "0"),
            ("0Mi", "0"),
            ("-1500m", "-1500m"),
            ("+2", "2"),
            ("1E", "1E"),
            ("1e-3", "1e-3"),
            ("64Mi", "64Mi"),
            ("0.1n", "1n"),
        ];
        for (given, expected) in cases {
            assert_eq!(canonical(given).as_deref(), Some(expected), "{given}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for given in [
            "", "m", "1x", "1 Gi", "..", "1.2.3", "1e", "1e99", "--1", "ä", "1Gib",
        ] {
            assert_eq!(canonical(given), None, "{given}");
        }
    }
}
