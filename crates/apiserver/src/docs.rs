//! Keeps the tables of `docs/api.md` true: they are made from discovery and from the default
//! limits, and compared with what the page says between two markers each.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::Limits;
use crate::discovery::{VERBS, parts};
use crate::handlers::wrap::api_version;
use crate::kinds::{self, Kind};

/// Set, it makes the test write the tables instead of comparing them.
const UPDATE: &str = "SEAWAY_UPDATE_DOCS";

fn code(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    words.join(" ")
}

fn row(kind: &'static Kind) -> String {
    let parts: Vec<String> = parts(kind)
        .iter()
        .map(|part| format!("`{}` ({})", part.name, part.verbs.join(", ")))
        .collect();
    let fields: Vec<&str> = kind.selectable.iter().map(|field| field.path).collect();
    format!(
        "| {} | {} | `{}` | {} | {} | {} | {} |",
        kind.kind,
        api_version(kind),
        kind.plural,
        code(kind.short_names),
        if kind.namespaced { "yes" } else { "no" },
        parts.join("; "),
        code(&fields),
    )
}

fn kinds_table() -> String {
    let mut lines = vec![
        format!("Every kind has all of {}.", code(&VERBS)),
        String::new(),
        "| kind | apiVersion | resource | short | namespaced | subresources (verbs) | field selectors |"
            .to_owned(),
        "|---|---|---|---|---|---|---|".to_owned(),
    ];
    lines.extend(kinds::all().iter().map(row));
    lines.join("\n")
}

fn bytes(number: usize) -> String {
    if number.is_multiple_of(1 << 20) {
        format!("{} MiB", number >> 20)
    } else {
        format!("{} KiB", number >> 10)
    }
}

fn time(duration: Duration) -> String {
    format!("{} s", duration.as_secs())
}

fn limits_table() -> String {
    let limits = Limits::default();
    let rows = [
        (
            "connections",
            limits.connections.to_string(),
            "the one that has been idle longest is closed for a new one; if all are busy, new ones wait",
        ),
        (
            "requests at once, without watches and logs",
            limits.requests.to_string(),
            "429 with Retry-After",
        ),
        ("a request body", bytes(limits.body_bytes), "413"),
        ("an object", bytes(limits.object_bytes), "413"),
        (
            "all objects",
            bytes(limits.stored_bytes),
            "507 for creations and growth; deleting goes on",
        ),
        (
            "changes of a kind that watches can go back to",
            format!("{}, {}", limits.log_events, bytes(limits.log_bytes)),
            "410 Expired for older ones",
        ),
        ("Events", limits.events.to_string(), "the oldest go"),
        ("an Event's life", time(limits.event_ttl), "it goes"),
        ("a TLS handshake", time(limits.handshake_timeout), "closed"),
        (
            "a connection without a whole request head",
            time(limits.idle_timeout),
            "closed",
        ),
        ("a body on its way", time(limits.body_timeout), "408"),
        (
            "a client that does not read",
            time(limits.write_timeout),
            "closed",
        ),
        (
            "between two bookmarks",
            time(limits.bookmark_interval),
            "up to a tenth more or less",
        ),
        (
            "a watch whose client does not say",
            time(limits.watch_timeout),
            "it ends, and its client starts another",
        ),
    ];
    let mut lines = vec![
        "| what | limit | beyond it |".to_owned(),
        "|---|---|---|".to_owned(),
    ];
    lines.extend(rows.map(|(what, limit, then)| format!("| {what} | {limit} | {then} |")));
    lines.join("\n")
}

/// The page with `table` between the markers of `name`.
fn with_table(page: &str, name: &str, table: &str) -> Option<String> {
    let (begin, end) = (
        format!("<!-- begin {name} -->\n"),
        format!("<!-- end {name} -->"),
    );
    let (head, rest) = page.split_once(&begin)?;
    let (_, tail) = rest.split_once(&end)?;
    Some(format!("{head}{begin}\n{table}\n\n{end}{tail}"))
}

#[test]
fn the_tables_of_the_page_are_true() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/api.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let mut wanted = page.clone();
    for (name, table) in [("kinds", kinds_table()), ("limits", limits_table())] {
        wanted = with_table(&wanted, name, &table)
            .unwrap_or_else(|| panic!("docs/api.md has no lines <!-- begin/end {name} -->"));
    }
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, wanted).unwrap();
        return;
    }
    assert!(
        page == wanted,
        "docs/api.md is not what the server is; update it with\n    {UPDATE}=1 cargo test -p \
         seaway-apiserver docs\nand look at the difference. It should say:\n{wanted}"
    );
}
