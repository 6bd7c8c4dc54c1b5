//! What many more Pods change: the same work with a tenth of them and with all.
//!
//! What grows with the Pods is told for each of them, so that 1.0x is linear; what concerns one Pod
//! is told as it is, so that 1.0x means that the others cost it nothing.

use anyhow::Result;

use super::client::Request;
use super::fill::Fill;
use super::label;
use super::server::Server;
use super::watch::{Change, Numbers, deliver, watch};
use crate::Options;
use crate::report::Report;
use crate::stats::median;

/// Watchers of all Pods.
const WATCHERS: usize = 100;
/// Changes that all of them see.
const CHANGES: usize = 200;
/// Connections that make these.
const WRITERS: usize = 4;
const ALL: &str = "/api/v1/pods";
/// Shows one Pod of the newest state.
const ONE: &str = "/api/v1/pods?limit=1";

/// What was seen with so many Pods.
#[derive(Debug, Default)]
struct Figures {
    /// Bytes in memory a Pod.
    object: f64,
    /// CPU time of a list of all, a Pod.
    list: Vec<f64>,
    /// CPU time of a page of one Pod, of a state that nobody has asked for before.
    page: Vec<f64>,
    /// CPU time of an event of one watcher.
    event: Vec<f64>,
    /// Kilobytes in memory a watcher that stalls in its initial Pods, with a change between each two.
    stalled: f64,
}

/// What was seen with a tenth of the Pods.
#[derive(Debug)]
pub(crate) struct Scale {
    /// Megabytes in memory without Pods.
    empty: f64,
    tenth: Figures,
}

impl Scale {
    /// Makes a tenth of the Pods and looks.
    pub(crate) fn begin(
        fill: &mut Fill<'_>,
        count: usize,
        numbers: &mut Numbers,
        options: &Options,
    ) -> Result<Scale> {
        let empty = fill.empty();
        fill.reach(count / 10)?;
        let tenth = look(fill.server(), fill.made(), empty, numbers, options)?;
        fill.reconnect()?;
        Ok(Scale { empty, tenth })
    }

    /// Looks again with all Pods.
    pub(crate) fn end(
        &self,
        server: &Server<'_>,
        count: usize,
        numbers: &mut Numbers,
        options: &Options,
        report: &mut Report,
    ) -> Result<()> {
        let all = look(server, count, self.empty, numbers, options)?;
        let mut row = |case, metric, unit, all: &[f64], tenth: &[f64]| {
            let row = label(case, metric, unit);
            report.add(row.beside(&[median(all)], "a tenth of them", &[median(tenth)]))
        };
        let tenth = &self.tenth;
        row("object", "rss", "B", &[all.object], &[tenth.object])?;
        row("list/pod", "cpu", "us", &all.list, &tenth.list)?;
        row(
            "page-of-1 after a change",
            "cpu",
            "us",
            &all.page,
            &tenth.page,
        )?;
        row(
            "event of 100 watchers",
            "cpu",
            "us",
            &all.event,
            &tenth.event,
        )?;
        row(
            "stalled watcher",
            "rss",
            "kB",
            &[all.stalled],
            &[tenth.stalled],
        )?;
        report.print_table();
        Ok(())
    }
}

fn look(
    server: &Server<'_>,
    count: usize,
    empty: f64,
    numbers: &mut Numbers,
    options: &Options,
) -> Result<Figures> {
    let mut figures = Figures {
        object: (server.resident()? - empty) * 1e6 / count as f64,
        ..Figures::default()
    };
    figures.stalled = stalled(server, numbers)?;
    for _ in 0..options.rounds() {
        let mut reader = server.connect()?;
        let cost = server.spend(|| reader.ask(Request::get(ALL)).map(|_| ()))?;
        figures.list.push(cost.cpu * 1e6 / count as f64);
        let changes = changes(numbers);
        let patch = server.spend(|| changes.iter().try_for_each(|one| one.send(&mut reader)))?;
        figures
            .page
            .push(pages(server, numbers)? - patch.cpu * 1e6 / CHANGES as f64);
        figures.event.push(events(server, numbers, patch.cpu)?);
    }
    Ok(figures)
}

/// Changes of the first Pods, which are there in any case.
fn changes(numbers: &mut Numbers) -> Vec<Change> {
    let first = numbers.take(CHANGES);
    (0..CHANGES)
        .map(|i| Change::new(i % 20, first + i))
        .collect()
}

/// Microseconds of a change and a page behind it.
fn pages(server: &Server<'_>, numbers: &mut Numbers) -> Result<f64> {
    let (changes, mut connection) = (changes(numbers), server.connect()?);
    let cost = server.spend(|| {
        changes.iter().try_for_each(|change| {
            change.send(&mut connection)?;
            connection.ask(Request::get(ONE)).map(|_| ())
        })
    })?;
    Ok(cost.cpu * 1e6 / CHANGES as f64)
}

/// Microseconds of an event of a watcher, beyond what the changes cost alone.
fn events(server: &Server<'_>, numbers: &mut Numbers, patches: f64) -> Result<f64> {
    let first = numbers.take(CHANGES);
    let batch: Vec<Change> = (0..CHANGES)
        .map(|i| Change::new(i % 20, first + i))
        .collect();
    let revision = server.revision()?;
    let watchers = (0..WATCHERS)
        .map(|_| watch(server, &revision))
        .collect::<Result<Vec<_>>>()?;
    let mut writers = server.several(WRITERS)?;
    let cost = server.spend(|| deliver(watchers, &mut writers, first, &batch).map(|_| ()))?;
    Ok((cost.cpu - patches) * 1e6 / (CHANGES * WATCHERS) as f64)
}

/// Kilobytes of a watcher that does not read what is there at first.
fn stalled(server: &Server<'_>, numbers: &mut Numbers) -> Result<f64> {
    let mut writer = server.connect()?;
    let before = server.resident()?;
    let mut watchers = Vec::new();
    for change in changes(numbers).iter().take(WATCHERS) {
        watchers.push(
            server
                .connect()?
                .watch(&format!("{ALL}?watch=1&resourceVersion=0"))?,
        );
        change.send(&mut writer)?;
    }
    let with = server.resident()?;
    Ok((with - before) * 1e3 / watchers.len() as f64)
}
