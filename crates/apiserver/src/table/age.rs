//! Durations as kubectl users read them: two units at most, fewer the longer it is.

use jiff::Timestamp;

/// What is shown where there is no time.
const UNKNOWN: &str = "<unknown>";

/// How long ago `time` (RFC 3339) was.
pub(crate) fn since(time: &str, now: Timestamp) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) => between(time, now),
        Err(_) => UNKNOWN.to_owned(),
    }
}

/// The time from one moment to another.
pub(crate) fn between(from: Timestamp, to: Timestamp) -> String {
    human((to.as_microsecond() - from.as_microsecond()) / 1000)
}

/// A duration of so many milliseconds.
fn human(millis: i64) -> String {
    let seconds = millis / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let two = |large: i64, unit: &str, small: i64, part: &str| match small {
        0 => format!("{large}{unit}"),
        small => format!("{large}{unit}{small}{part}"),
    };
    match () {
        () if seconds < -1 => "<invalid>".to_owned(),
        () if seconds < 0 => "0s".to_owned(),
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => two(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 24 * 8 => two(days, "d", hours % 24, "h"),
        () if hours < 24 * 365 * 2 => format!("{days}d"),
        () if hours < 24 * 365 * 8 => two(days / 365, "y", days % 365, "d"),
        () => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_in_kubectl() {
        let (minute, hour, day) = (60, 3600, 86400);
        let cases = [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (9 * minute + 59, "9m59s"),
            (10 * minute + 5, "10m"),
            (179 * minute, "179m"),
            (180 * minute, "3h"),
            (3 * hour + 5 * minute, "3h5m"),
            (8 * hour + 5 * minute, "8h"),
            (47 * hour, "47h"),
            (48 * hour, "2d"),
            (49 * hour, "2d1h"),
            (8 * day + hour, "8d"),
            (729 * day, "729d"),
            (730 * day, "2y"),
            (731 * day, "2y1d"),
            (8 * 365 * day + day, "8y"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(human(seconds * 1000), expected, "{seconds}");
        }
        assert_eq!(human(-999), "0s");
    }

    #[test]
    fn no_time_is_unknown() {
        let now: Timestamp = "2026-11-27T14:00:05Z".parse().unwrap();
        assert_eq!(since("2026-11-27T14:00:00Z", now), "5s");
        assert_eq!(since("2026-11-27T14:00:00.000001Z", now), "4s");
        assert_eq!(since("", now), "<unknown>");
    }
}
