//! The columns of Events, for either of their two views.

use jiff::Timestamp;
use serde_json::Value;

use super::age;
use super::cells::{NAME, text, wide};
use crate::kinds::events::either;
use crate::kinds::{Column, read};

/// The columns.
pub(crate) const COLUMNS: &[Column] = &[
    text(
        "Last Seen",
        "When the event was last seen.",
        |event, now| age::since(last(event), now).into(),
    ),
    text(
        "Type",
        "Type of this event (Normal, Warning).",
        |event, _| read::text(event, "type").into(),
    ),
    text("Reason", "Why the action was taken.", |event, _| {
        read::text(event, "reason").into()
    }),
    text("Object", "The object that this event is about.", object),
    wide(
        "Subobject",
        "The part of the object that this event is about.",
        |event, _| read::text(about(event), "fieldPath").into(),
    ),
    wide("Source", "The component that reports this event.", source),
    text(
        "Message",
        "A human-readable description of the status of this operation.",
        |event, _| {
            either(event, "message", "note")
                .as_str()
                .unwrap_or_default()
                .trim()
                .into()
        },
    ),
    wide(
        "First Seen",
        "When the event was first seen.",
        |event, now| age::since(first(event), now).into(),
    ),
    wide(
        "Count",
        "The number of times this event has occurred.",
        |event, _| count(event).to_string().into(),
    ),
    Column {
        priority: 1,
        ..NAME
    },
];

fn about(event: &Value) -> &Value {
    either(event, "involvedObject", "regarding")
}

fn first(event: &Value) -> &str {
    let first = either(event, "firstTimestamp", "deprecatedFirstTimestamp");
    first
        .as_str()
        .unwrap_or_else(|| read::text(event, "eventTime"))
}

fn last(event: &Value) -> &str {
    let series = read::text(&event["series"], "lastObservedTime");
    if !series.is_empty() {
        return series;
    }
    let last = either(event, "lastTimestamp", "deprecatedLastTimestamp");
    last.as_str().unwrap_or_else(|| first(event))
}

fn count(event: &Value) -> i64 {
    let series = read::int(&event["series"], "count");
    let count = series.or_else(|| either(event, "count", "deprecatedCount").as_i64());
    count.filter(|count| *count > 0).unwrap_or(1)
}

fn object(event: &Value, _: Timestamp) -> Value {
    let (kind, name) = (
        read::text(about(event), "kind").to_lowercase(),
        read::text(about(event), "name"),
    );
    if name.is_empty() {
        kind.into()
    } else {
        format!("{kind}/{name}").into()
    }
}

fn source(event: &Value, _: Timestamp) -> Value {
    let source = either(event, "source", "deprecatedSource");
    let named = |field: &str, core: &str, new: &str| match read::text(source, field) {
        "" => either(event, core, new)
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        text => text.to_owned(),
    };
    let component = named("component", "reportingComponent", "reportingController");
    let host = named("host", "reportingInstance", "reportingInstance");
    if host.is_empty() {
        component.into()
    } else {
        format!("{component}, {host}").into()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_views_of_an_event_are_shown_alike() {
        let core = json!({
            "metadata": {"name": "p.1"}, "type": "Normal", "reason": "Started", "message": " Started it \n", "count": 3,
            "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{a}"},
            "firstTimestamp": "2026-11-27T14:00:00Z", "lastTimestamp": "2026-11-27T14:00:30Z",
            "source": {"component": "kubelet", "host": "n"},
        });
        let new = json!({
            "metadata": {"name": "p.1"}, "type": "Normal", "reason": "Started", "note": "Started it", "eventTime": "2026-11-27T14:00:00.5Z",
            "regarding": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{a}"},
            "series": {"count": 3, "lastObservedTime": "2026-11-27T14:00:30Z"},
            "reportingController": "kubelet", "reportingInstance": "n",
        });
        let now = "2026-11-27T14:01:00.500Z".parse().unwrap();
        for event in [core, new] {
            let cells: Value = COLUMNS
                .iter()
                .map(|column| (column.cell)(&event, now))
                .collect();
            assert_eq!(
                cells,
                json!([
                    "30s",
                    "Normal",
                    "Started",
                    "pod/p",
                    "spec.containers{a}",
                    "kubelet, n",
                    "Started it",
                    "60s",
                    "3",
                    "p.1"
                ])
            );
        }
    }
}
