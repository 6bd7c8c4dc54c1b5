//! Amounts as Kubernetes writes them: `500m`, `1.5`, `128Mi`, `2e3`.

/// The amount in thousandths, rounded up. None for what is no quantity or out of reach.
pub(crate) fn milli(text: &str) -> Option<i128> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-'))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.trim_start_matches(['+', '-']).is_empty() && fraction.is_empty() {
        return None;
    }
    let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
    let (factor, mut exponent) = unit(suffix)?;
    exponent += 3 - i32::try_from(fraction.len()).ok()?;
    let value = mantissa.checked_mul(factor)?;
    let power = 10i128.checked_pow(exponent.unsigned_abs())?;
    match exponent {
        0.. => value.checked_mul(power),
        _ => Some(value.div_euclid(power) + i128::from(value.rem_euclid(power) != 0)),
    }
}

/// A suffix as a binary factor and a decimal exponent.
fn unit(suffix: &str) -> Option<(i128, i32)> {
    let binary = |power: u32| Some((1i128 << (10 * power), 0));
    match suffix {
        "" => Some((1, 0)),
        "n" => Some((1, -9)),
        "u" => Some((1, -6)),
        "m" => Some((1, -3)),
        "k" => Some((1, 3)),
        "M" => Some((1, 6)),
        "G" => Some((1, 9)),
        "T" => Some((1, 12)),
        "P" => Some((1, 15)),
        "E" => Some((1, 18)),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            (exponent.abs() <= 18).then_some((1, exponent))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::milli;

    #[test]
    fn all_ways_to_write_an_amount() {
        let cases = [
            ("1", Some(1000)),
            ("500m", Some(500)),
            ("1.5", Some(1500)),
            ("0.0001", Some(1)),
            ("100u", Some(1)),
            ("1Ki", Some(1_024_000)),
            ("1.5Gi", Some(1_610_612_736_000)),
            ("2k", Some(2_000_000)),
            ("2e3", Some(2_000_000)),
            ("2E3", Some(2_000_000)),
            ("3E", Some(3_000_000_000_000_000_000_000)),
            (".5", Some(500)),
            ("", None),
            ("-", None),
            ("x", None),
            ("1Xi", None),
            ("1e99", None),
        ];
        for (text, expected) in cases {
            assert_eq!(milli(text), expected, "{text:?}");
        }
    }
}
