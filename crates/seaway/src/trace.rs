//! `seaway trace`: asking the agent of this node where a packet goes, and showing its answer.

use std::process::ExitCode;

use clap::Args;
use seaway_cni::request::{Request, TraceRequest};
use seaway_model::Protocol;
use serde_json::Value;

use crate::inspect::{Format, InspectArgs, ask, list, text};
use crate::table::{Tone, paint};

/// Whose packet, and where to.
#[derive(Args)]
pub(crate) struct TraceArgs {
    #[command(flatten)]
    inspect: InspectArgs,
    /// Who sends it: a Pod of this node (NAME or NAMESPACE/NAME), `node`, `outside`, or an address.
    from: String,
    /// Where to, with :PORT if need be: a Service (svc/NAME, NAMESPACE/NAME, NAME.NAMESPACE.svc), a
    /// Pod, node/NAME, an address, or 127.0.0.1.
    to: String,
    /// The protocol: tcp, udp or sctp; otherwise it follows from the port.
    #[arg(short, long)]
    protocol: Option<Protocol>,
}

/// Asks and shows; succeeds if every packet gets where it should, and the kernel is as planned.
pub(crate) fn run(args: &TraceArgs) -> anyhow::Result<ExitCode> {
    let request = Request::Trace(TraceRequest {
        from: args.from.clone(),
        to: args.to.clone(),
        protocol: args.protocol,
    });
    let report = ask(&args.inspect, &request)?;
    match args.inspect.output {
        Format::Json => println!("{report}"),
        Format::Table => {
            for line in lines(&report) {
                println!("{}", paint(&line.text, line.tone));
            }
        }
    }
    let fine = |path: &Value| {
        path["arrives"] == true && path["planned"].is_null() && path["services"]["agree"] == true
    };
    Ok(match list(&report["paths"]).iter().all(fine) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// A line for people.
struct Line {
    text: String,
    tone: Tone,
}

/// The answer, line by line.
fn lines(report: &Value) -> Vec<Line> {
    let mut page = Page::default();
    for (i, path) in list(&report["paths"]).iter().enumerate() {
        if i > 0 {
            page.say("", Tone::Plain);
        }
        let title = format!(
            "{} to {}, {} {}, on node {}",
            text(&report["from"]),
            text(&report["to"]),
            text(&path["protocol"]),
            place(&path["to"]),
            text(&report["node"])
        );
        page.say(&title, Tone::Plain);
        page.path(path);
    }
    for note in list(&report["notes"]) {
        page.say(&format!("note: {}", text(note)), Tone::Warn);
    }
    page.0
}

/// An address and port; without the port where none was named.
fn place(at: &Value) -> String {
    let at = text(at);
    match at.strip_suffix(":0") {
        Some(address) => address.trim_matches(['[', ']']).to_owned(),
        None => at,
    }
}

/// What the agent says of a packet that no Service has to do with.
const NOT_A_SERVICE: &str = "not for a Service";

#[derive(Default)]
struct Page(Vec<Line>);

impl Page {
    fn say(&mut self, text: &str, tone: Tone) {
        let text = text.to_owned();
        self.0.push(Line { text, tone });
    }

    fn path(&mut self, path: &Value) {
        self.walk(&path["kernel"]);
        let services = &path["services"];
        if services["agree"] == true && services["specified"] != NOT_A_SERVICE {
            let line = format!(
                "  Services, as specified, as planned and as in the kernel: {}",
                text(&services["specified"])
            );
            self.say(&line, Tone::Dim);
        }
        if services["agree"] != true {
            let line = format!(
                "  ! Services: it must be {}; planned is {}; in the kernel it is {}",
                text(&services["specified"]),
                text(&services["planned"]),
                text(&services["kernel"])
            );
            self.say(&line, Tone::Bad);
        }
        if !path["planned"].is_null() {
            let line =
                "  ! The kernel is not as planned (see `seaway tables --drift`). By the plan:";
            self.say(line, Tone::Bad);
            self.walk(&path["planned"]);
        }
    }

    fn walk(&mut self, walk: &Value) {
        let steps = list(&walk["steps"]);
        for (i, step) in steps.iter().enumerate() {
            self.step(&(i + 1).to_string(), step);
        }
        if !walk["end"].is_null() {
            self.end(&walk["end"], None);
        }
        let ways = list(&walk["ways"]);
        for (i, way) in ways.iter().enumerate() {
            let letter = match ways.len() {
                1 => String::new(),
                _ => letter(i),
            };
            if ways.len() > 1 {
                let who = way["who"].as_str();
                let who = who.map_or(String::new(), |who| format!("  {who}"));
                self.say(
                    &format!("  {letter}: {}{who}", place(&way["to"])),
                    Tone::Plain,
                );
            }
            for (j, step) in list(&way["steps"]).iter().enumerate() {
                self.step(&format!("{}{letter}", steps.len() + j + 1), step);
            }
            self.end(&way["end"], way["source"].as_str());
        }
        let more = walk["more"].as_u64().unwrap_or_default();
        if more > 0 {
            self.say(&format!("  and {more} more backends"), Tone::Plain);
        }
    }

    fn step(&mut self, number: &str, step: &Value) {
        let stage = text(&step["stage"]);
        let line = format!("  {number:>3} {stage:<9} {}", brief(&text(&step["text"])));
        self.say(&line, Tone::Plain);
        for row in list(&step["rows"]) {
            let (state, tone) = match row["state"].as_str() {
                Some("in-force") => ("", Tone::Dim),
                Some("missing") => (" MISSING in the kernel", Tone::Bad),
                Some("differs") => (" DIFFERS in the kernel", Tone::Bad),
                Some(_) => (" UNPLANNED", Tone::Warn),
                None => (" is not there", Tone::Warn),
            };
            let (table, key) = (text(&row["table"]), brief(&text(&row["key"])));
            self.say(&format!("                [{table}] {key}{state}"), tone);
        }
    }

    /// What becomes of a packet, and how to ask on where it goes on with this source.
    fn end(&mut self, end: &Value, source: Option<&str>) {
        let tone = match end["kind"].as_str() {
            Some("refused" | "dropped" | "lost") => Tone::Bad,
            _ => Tone::Good,
        };
        self.say(&format!("    => {}", words(end)), tone);
        let node = end["who"]
            .as_str()
            .and_then(|who| who.strip_prefix("node "));
        if let (Some(node), Some(source)) = (node, source) {
            let line = format!(
                "       on {node}: seaway trace {source} {}",
                place(&end["to"])
            );
            self.say(&line, Tone::Dim);
        }
    }
}

/// What becomes of a packet in the end.
fn words(end: &Value) -> String {
    let to = place(&end["to"]);
    match end["kind"].as_str() {
        Some("pod") => format!("a Pod of this node gets it, at {to}"),
        Some("node") => format!("a process of this node gets it, if one listens at {to}"),
        Some("peer") => match end["who"].as_str() {
            Some(who) => format!("it leaves for {who}, which is to get it to {to}"),
            None => format!("it leaves by {}, for {to}", text(&end["by"])),
        },
        Some("beyond") => format!("it leaves for {to}, by no way of Seaway's"),
        Some("refused") => "it is refused: the sender is told at once".to_owned(),
        Some("dropped") => format!("it is dropped, and counted as {}", text(&end["reason"])),
        _ => format!("it gets no further: {}", text(&end["why"])),
    }
}

/// The same with container ids as short as people know them.
fn brief(text: &str) -> String {
    const SHORT: usize = 12;
    let is_id = |part: &str| part.len() == 64 && part.bytes().all(|b| b.is_ascii_hexdigit());
    let parts = text.split_inclusive([' ', '/']).map(|part| {
        let id = part.trim_end_matches([' ', '/']);
        match is_id(id) {
            true => format!("{}{}", &id[..SHORT], &part[id.len()..]),
            false => part.to_owned(),
        }
    });
    parts.collect()
}

/// a, b, … z, a2, b2, …
fn letter(i: usize) -> String {
    let letter = char::from(b'a' + u8::try_from(i % 26).unwrap_or_default());
    match i / 26 {
        0 => letter.to_string(),
        turn => format!("{letter}{}", turn + 1),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report() -> Value {
        let row = json!({"table": "frontends", "key": "tcp 10.96.0.10:80", "state": "in-force"});
        let way = |to: &str, end: Value| {
            json!({"to": to, "who": "Pod shop/web", "end": end, "source": "10.0.0.4",
            "steps": [{"stage": "route", "text": "by a route", "rows": []}]})
        };
        json!({"node": "a", "from": "Pod shop/cart", "to": "Service shop/web", "notes": ["words"],
        "paths": [{"to": "10.96.0.10:80", "protocol": "tcp", "arrives": true, "planned": null,
            "services": {"agree": true, "specified": "refused"}, "kernel": {"end": null, "more": 3,
                "steps": [{"stage": "frontend", "text": "it is one", "rows": [row]}],
                "ways": [
                    way("10.0.0.5:80", json!({"kind": "pod", "to": "10.0.0.5:80"})),
                    way("10.0.1.5:80", json!({"kind": "peer", "by": "192.0.2.2",
                        "who": "node b", "to": "10.0.1.5:80"})),
                ]}}]})
    }

    fn shown(report: &Value) -> Vec<String> {
        lines(report).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn steps_are_numbered_and_ways_have_letters() {
        assert_eq!(
            shown(&report()),
            [
                "Pod shop/cart to Service shop/web, tcp 10.96.0.10:80, on node a",
                "    1 frontend  it is one",
                "                [frontends] tcp 10.96.0.10:80",
                "  a: 10.0.0.5:80  Pod shop/web",
                "   2a route     by a route",
                "    => a Pod of this node gets it, at 10.0.0.5:80",
                "  b: 10.0.1.5:80  Pod shop/web",
                "   2b route     by a route",
                "    => it leaves for node b, which is to get it to 10.0.1.5:80",
                "       on b: seaway trace 10.0.0.4 10.0.1.5:80",
                "  and 3 more backends",
                "  Services, as specified, as planned and as in the kernel: refused",
                "note: words",
            ]
        );
    }

    #[test]
    fn drift_is_told_with_the_way_that_is_planned() {
        let mut report = report();
        let path = &mut report["paths"][0];
        path["planned"] = path["kernel"].clone();
        path["kernel"]["ways"] = json!([]);
        path["kernel"]["end"] = json!({"kind": "dropped", "reason": "service-unknown"});
        path["kernel"]["steps"][0]["rows"][0]["state"] = json!("missing");
        path["services"] = json!({"agree": false, "specified": "to 10.0.0.5:80",
            "planned": "to 10.0.0.5:80", "kernel": "refused"});
        let all = shown(&report).join("\n");
        for words in [
            "tcp 10.96.0.10:80 MISSING in the kernel",
            "dropped, and counted as service-unknown",
            "it must be to 10.0.0.5:80; planned is to 10.0.0.5:80; in the kernel it is refused",
            "The kernel is not as planned",
            "   2b route",
        ] {
            assert!(all.contains(words), "{words} in\n{all}");
        }
    }

    #[test]
    fn container_ids_are_short() {
        let id = "0123456789ab".repeat(6)[..64].to_owned();
        assert_eq!(
            brief(&format!("10.0.0.5 dev pod {id}/eth0")),
            "10.0.0.5 dev pod 0123456789ab/eth0"
        );
        assert_eq!(
            brief("tcp 10.96.0.1:80 in 10.0.0.0/24"),
            "tcp 10.96.0.1:80 in 10.0.0.0/24"
        );
    }

    #[test]
    fn letters_go_on_after_z() {
        assert_eq!([0, 25, 26, 63].map(letter), ["a", "z", "a2", "l3"]);
    }
}
