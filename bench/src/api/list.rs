//! Lists of all Pods: whole, in pages, selected and as tables, beside the list of a tenth of them.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::client::{Connection, Request, TABLE};
use super::label;
use super::pods;
use super::server::{Server, text_after};
use crate::Options;
use crate::report::Report;
use crate::rounds::{self, Plan, Series, Visits};
use crate::stats::median;

const ALL: &str = "/api/v1/pods";

/// Ways to ask, in the order of their visits.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Tenth,
    All,
    Pages,
    Selected,
    Table,
}

const WAYS: [Way; 5] = [Way::Tenth, Way::All, Way::Pages, Way::Selected, Way::Table];

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Tenth => "list-tenth",
            Way::All => "list-all",
            Way::Pages => "list-pages-500",
            Way::Selected => "list-selected-1%",
            Way::Table => "list-table",
        }
    }

    /// Asks and hands over each body.
    fn ask(self, connection: &mut Connection, mut body: impl FnMut(&[u8])) -> Result<()> {
        let path = match self {
            Way::Tenth => format!("/api/v1/namespaces/{}/pods", pods::TENTH),
            Way::Selected => format!("{ALL}?labelSelector={}", pods::ONE_PERCENT),
            Way::Pages => return pages(connection, body),
            Way::All | Way::Table => ALL.to_owned(),
        };
        let request = Request::get(&path);
        let table = self == Way::Table;
        body(connection.ask(if table {
            request.accepting(TABLE)
        } else {
            request
        })?);
        Ok(())
    }

    /// How many Pods of `all` it must give.
    fn expected(self, all: usize) -> usize {
        let matching = |part: fn(usize) -> bool| (0..all).filter(|i| part(*i)).count();
        match self {
            Way::Tenth => matching(|i| i % 10 == 9),
            Way::Selected => matching(|i| i % 100 == 7),
            Way::All | Way::Pages | Way::Table => all,
        }
    }
}

/// Page by page, as kubectl does.
fn pages(connection: &mut Connection, mut body: impl FnMut(&[u8])) -> Result<()> {
    let mut path = format!("{ALL}?limit=500");
    loop {
        let page = connection.ask(Request::get(&path))?;
        body(page);
        let Some(token) = text_after(page, "\"continue\":\"") else {
            return Ok(());
        };
        path = format!("{ALL}?limit=500&continue={token}");
    }
}

/// Metrics of a visit.
const WALL: usize = 0;
const CPU: usize = 1;
const BYTES: usize = 2;
const WIRE: usize = 3;

/// Lists so many Pods in every way.
pub(crate) fn measure(
    server: &Server<'_>,
    count: usize,
    options: &Options,
    report: &mut Report,
) -> Result<()> {
    let mut connection = server.connect()?;
    for way in WAYS {
        check(way, &mut connection, count)?;
    }
    let plan = Plan {
        rounds: options.rounds(),
        visits: Visits::Sweeps(1),
    };
    let series = rounds::run(plan, WAYS.len(), |subject| {
        visit(WAYS[subject], server, &mut connection)
    })?;
    report.note_noise("list", &series);
    rows(&series, count, report)
}

fn visit(way: Way, server: &Server<'_>, connection: &mut Connection) -> Result<Vec<f64>> {
    let (mut bytes, received) = (0, connection.received());
    let cost = server.spend(|| way.ask(connection, |body| bytes += body.len()))?;
    let wire = connection.received() - received;
    Ok(vec![
        cost.wall * 1e3,
        cost.cpu * 1e3,
        bytes as f64,
        wire as f64,
    ])
}

/// The items of a list or the rows of a table.
#[derive(Deserialize)]
struct Items {
    #[serde(alias = "rows")]
    items: Vec<IgnoredAny>,
}

/// What is measured must be what was asked for.
fn check(way: Way, connection: &mut Connection, count: usize) -> Result<()> {
    let mut bodies = Vec::new();
    way.ask(connection, |body| bodies.push(body.to_vec()))?;
    let mut found = 0;
    for body in bodies {
        let items: Items = serde_json::from_slice(&body).context("reading a list")?;
        found += items.items.len();
    }
    let expected = way.expected(count);
    ensure!(
        found == expected,
        "{} gave {found} Pods instead of {expected}",
        way.name()
    );
    Ok(())
}

fn rows(series: &Series, count: usize, report: &mut Report) -> Result<()> {
    let [tenth, all] = [Way::Tenth, Way::All].map(|way| way.expected(count) as f64);
    let scaled = |metric| series.each(|round| round.value(0, metric) * all / tenth);
    for (subject, way) in WAYS.into_iter().enumerate() {
        for (metric, name, unit) in [(WALL, "wall", "ms"), (CPU, "cpu", "ms")] {
            let (label, values) = (
                label(way.name(), name, unit),
                series.values(subject, metric),
            );
            report.add(match way {
                Way::Tenth => label.alone(median(&values), values.len()),
                Way::All => label.beside(&values, "list-tenth x10", &scaled(metric)),
                _ => label.beside(&values, "list-all", &series.values(1, metric)),
            })?;
        }
        let rate =
            series.each(|round| round.value(subject, BYTES) / 1e3 / round.value(subject, WALL));
        report.add(label(way.name(), "rate", "MB/s").alone(median(&rate), rate.len()))?;
        let megabytes = series.each(|round| round.value(subject, BYTES) / 1e6);
        let wire = series.each(|round| round.value(subject, WIRE) / 1e6);
        let row = label(way.name(), "wire", "MB").beside(&wire, "bodies", &megabytes);
        report.add(row)?;
    }
    report.print_table();
    Ok(())
}
