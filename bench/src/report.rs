//! What a benchmark says: rows, as a table for people or as one JSON object a line.

use std::io::Write;

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::rounds::Series;
use crate::stats::{confidence, median, ratios};

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Row {
    /// Which benchmark.
    pub(crate) bench: &'static str,
    /// What was done.
    pub(crate) case: String,
    /// What was measured of it.
    pub(crate) metric: &'static str,
    /// In what.
    pub(crate) unit: &'static str,
    /// The median over the rounds.
    pub(crate) value: f64,
    /// What it is compared with.
    pub(crate) baseline: Option<String>,
    /// The median over the rounds of value / baseline of the same round.
    pub(crate) ratio: Option<f64>,
    /// The ratio's 95 % confidence interval.
    pub(crate) ci: Option<[f64; 2]>,
    /// How many rounds (or samples, for what has no rounds) the figure stands on.
    pub(crate) rounds: usize,
    /// What is aimed at, and whether it is reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) aim: Option<String>,
    /// How many Services there were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) services: Option<usize>,
}

/// What a figure is to reach. Nothing fails when it does not: it is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Aim {
    /// It, or its ratio where it has one, is to be no less.
    AtLeast(f64),
    /// It, or its ratio where it has one, is to be no more.
    AtMost(f64),
}

impl Aim {
    fn is_met(self, value: f64) -> bool {
        match self {
            Aim::AtLeast(bound) => value >= bound,
            Aim::AtMost(bound) => value <= bound,
        }
    }

    /// The verdict in words; a miss that the interval does not bear out is called open.
    fn judge(self, value: f64, ci: Option<[f64; 2]>) -> String {
        let could_be = ci.is_some_and(|ci| ci.iter().any(|end| self.is_met(*end)));
        let verdict = match (self.is_met(value), could_be) {
            (true, _) => "met",
            (false, true) => "open",
            (false, false) => "missed",
        };
        match self {
            Aim::AtLeast(bound) => format!(">= {bound}: {verdict}"),
            Aim::AtMost(bound) => format!("<= {bound}: {verdict}"),
        }
    }
}

impl Row {
    /// The row of a measurement among so many Services.
    pub(crate) fn of_services(self, services: usize) -> Row {
        let services = Some(services);
        Row { services, ..self }
    }

    /// The row with what its value is to reach, whatever its ratio.
    pub(crate) fn judged_by_value(self, aim: Aim) -> Row {
        let verdict = aim.judge(self.value, None);
        Row {
            aim: Some(verdict),
            ..self
        }
    }

    /// The row with what is aimed at.
    pub(crate) fn judged(self, aim: Aim) -> Row {
        let verdict = aim.judge(self.ratio.unwrap_or(self.value), self.ci);
        Row {
            aim: Some(verdict),
            ..self
        }
    }
}

/// What a figure is of.
#[derive(Clone, Debug)]
pub(crate) struct Label {
    /// Which benchmark.
    pub(crate) bench: &'static str,
    /// What was done.
    pub(crate) case: String,
    /// What was measured of it.
    pub(crate) metric: &'static str,
    /// In what.
    pub(crate) unit: &'static str,
}

impl Label {
    /// A figure that is compared with nothing.
    pub(crate) fn alone(self, value: f64, rounds: usize) -> Row {
        Row {
            bench: self.bench,
            case: self.case,
            metric: self.metric,
            unit: self.unit,
            value: rounded(value),
            baseline: None,
            ratio: None,
            ci: None,
            rounds,
            aim: None,
            services: None,
        }
    }

    /// A figure beside a baseline of the same rounds.
    pub(crate) fn beside(self, values: &[f64], name: &str, baseline: &[f64]) -> Row {
        let ratios = ratios(values, baseline);
        Row {
            baseline: Some(name.to_owned()),
            ratio: Some(rounded(median(&ratios))),
            ci: Some(confidence(&ratios).map(rounded)),
            ..self.alone(median(values), values.len())
        }
    }
}

/// Five significant digits: more than any of this is worth.
fn rounded(value: f64) -> f64 {
    format!("{value:.4e}").parse().unwrap_or(value)
}

/// Where the rows go.
#[derive(Debug)]
pub(crate) struct Report {
    json: bool,
    rows: Vec<Row>,
}

impl Report {
    /// A report, as JSON or for people.
    pub(crate) fn new(json: bool) -> Report {
        Report {
            json,
            rows: Vec::new(),
        }
    }

    /// Tells people what goes on; not part of the result.
    pub(crate) fn note(&self, text: &str) {
        eprintln!("{text}");
    }

    /// Says so if the rounds of a series were noisy.
    pub(crate) fn note_noise(&self, what: &str, series: &Series) {
        if series.noisy {
            self.note(&format!(
                "{what}: the machine was busy, the least noisy rounds were taken"
            ));
        } else if series.thrown > 0 {
            let thrown = series.thrown;
            self.note(&format!("{what}: {thrown} noisy rounds thrown away"));
        }
    }

    /// Takes a row; JSON is out at once.
    pub(crate) fn add(&mut self, row: Row) -> Result<()> {
        if self.json {
            let line = serde_json::to_string(&row).context("writing a row as JSON")?;
            let mut out = std::io::stdout().lock();
            writeln!(out, "{line}")
                .and_then(|()| out.flush())
                .context("writing to stdout")?;
        }
        self.rows.push(row);
        Ok(())
    }

    /// Prints the rows since the last table for people.
    pub(crate) fn print_table(&mut self) {
        if !self.json && !self.rows.is_empty() {
            println!("{}\n", table(&self.rows));
        }
        self.rows.clear();
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_BORDERS_ONLY_CONDENSED);
    table.set_header([
        "case", "metric", "value", "", "baseline", "ratio", "95 % CI", "rounds", "aim",
    ]);
    for row in rows {
        table.add_row(cells(row));
    }
    for column in [2, 5, 7] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn cells(row: &Row) -> [String; 9] {
    [
        match row.services {
            Some(services) => format!("{}, {services} Services", row.case),
            None => row.case.clone(),
        },
        row.metric.to_owned(),
        short(row.value),
        row.unit.to_owned(),
        row.baseline.clone().unwrap_or_default(),
        row.ratio
            .map(|r| format!("{}x", short(r)))
            .unwrap_or_default(),
        row.ci
            .map(|[low, high]| format!("{} .. {}", short(low), short(high)))
            .unwrap_or_default(),
        row.rounds.to_string(),
        row.aim.clone().unwrap_or_default(),
    ]
}

/// Three significant digits, whole numbers whole.
fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 || v == v.trunc() => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label() -> Label {
        Label {
            bench: "cni",
            case: "add-serial".to_owned(),
            metric: "wall",
            unit: "ms",
        }
    }

    #[test]
    fn a_row_is_the_median_of_ratios_not_the_ratio_of_medians() {
        let row = label().beside(&[1.0, 2.0, 30.0], "bridge", &[10.0, 10.0, 100.0]);
        assert_eq!((row.value, row.ratio), (2.0, Some(0.2)));
        assert_eq!((row.baseline.as_deref(), row.rounds), (Some("bridge"), 3));
        let [low, high] = row.ci.expect("it has one");
        assert!(low <= 0.2 && 0.2 <= high);
    }

    #[test]
    fn json_has_the_promised_fields_in_order() {
        let text = serde_json::to_string(&label().alone(1.234_567_8, 7)).expect("plain data");
        assert_eq!(
            text,
            r#"{"bench":"cni","case":"add-serial","metric":"wall","unit":"ms","value":1.2346,"baseline":null,"ratio":null,"ci":null,"rounds":7}"#
        );
    }

    #[test]
    fn the_table_shows_every_row() {
        let text = table(&[label().beside(&[1.0; 3], "ptp", &[4.0; 3])]).to_string();
        for part in ["add-serial", "ptp", "0.250x", "0.250 .. 0.250"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn an_aim_is_met_missed_or_open() {
        let judged = |ratios: [f64; 3], aim| {
            let row = label().beside(&ratios, "bare", &[1.0; 3]).judged(aim);
            row.aim.expect("it was judged")
        };
        assert_eq!(judged([0.98; 3], Aim::AtLeast(0.97)), ">= 0.97: met");
        assert_eq!(judged([0.9; 3], Aim::AtLeast(0.97)), ">= 0.97: missed");
        assert_eq!(
            judged([0.9, 0.95, 0.99], Aim::AtLeast(0.97)),
            ">= 0.97: open"
        );
        assert_eq!(judged([1.1; 3], Aim::AtMost(1.05)), "<= 1.05: missed");
        let alone = label().alone(0.4, 1).judged(Aim::AtMost(1.0));
        assert_eq!(alone.aim.as_deref(), Some("<= 1: met"));
    }

    #[test]
    fn numbers_are_short() {
        let numbers = [12345.6, 42.0, 12.34, 1.234, 0.1234].map(short);
        assert_eq!(numbers, ["12346", "42", "12.3", "1.23", "0.123"]);
    }
}
