//! What the server keeps in memory: bytes an object beside its JSON, watchers, and what is left
//! when everything has been deleted.

use anyhow::{Result, ensure};

use super::client::Request;
use super::fill::{Fill, Full};
use super::server::Server;
use super::watch::{WATCHERS, watch};
use super::{label, pods};
use crate::report::Report;

/// Tells what a server held when it was `full`, looks at it now, deletes all Pods and makes as many
/// again: what has been freed once must serve again.
pub(crate) fn measure(
    server: &Server<'_>,
    count: usize,
    full: Full,
    report: &mut Report,
) -> Result<()> {
    let Full {
        empty,
        full,
        each,
        json,
    } = full;
    let made = pods::manifest(0).len() as f64;
    let one = |case, unit, value: f64| label(case, "rss", unit).alone(value, 1);
    report.add(one("empty", "MB", empty))?;
    report.add(one("full", "MB", full))?;
    report.add(label("manifest", "size", "B").alone(made, 1))?;
    report.add(label("object", "json", "B").alone(json, 1))?;
    report.add(label("object", "rss", "B").beside(&[each], "its json", &[json]))?;
    let now = server.resident()?;
    report.add(label("after the cases", "rss", "MB").beside(&[now], "full", &[full]))?;
    for namespace in [pods::MOST, pods::TENTH] {
        let path = format!("/api/v1/namespaces/{namespace}/pods?gracePeriodSeconds=0");
        server.connect()?.ask(Request::delete(&path))?;
    }
    let mut connection = server.connect()?;
    let left = connection.ask(Request::get("/api/v1/pods"))?;
    ensure!(left.len() < 1024, "there are Pods left after the deletion");
    let rest = server.resident()?;
    report.add(label("all deleted", "rss", "MB").beside(&[rest], "full", &[full]))?;
    let again = Fill::new(server, count)?.complete()?.full;
    report.add(label("filled again", "rss", "MB").beside(&[again], "all deleted", &[rest]))?;
    report.print_table();
    Ok(())
}

/// Idle watchers, which have just begun. To be called while nothing has been freed yet: what one
/// takes would go where something else has been.
pub(crate) fn watchers(server: &Server<'_>, report: &mut Report) -> Result<()> {
    let [.., many] = WATCHERS;
    let before = server.resident()?;
    let revision = server.revision()?;
    let watchers = (0..many)
        .map(|_| watch(server, &revision))
        .collect::<Result<Vec<_>>>()?;
    let with = server.resident()?;
    let each = (with - before) * 1e3 / watchers.len() as f64;
    report.add(label(&format!("{many} watchers"), "rss", "MB").alone(with, 1))?;
    report.add(label("watcher", "rss", "kB").alone(each, 1))?;
    report.print_table();
    Ok(())
}
