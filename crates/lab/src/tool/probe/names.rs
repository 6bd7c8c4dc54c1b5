//! The probes of names. Each is told where the name must lead.

use std::net::{SocketAddr, ToSocketAddrs};

use super::super::lookup::{Data, Record, RecordKind, lookup};
use super::{Exchange, ProbeJob};

/// The name's records of the target's family hold the target's address.
pub(super) fn address(job: &ProbeJob) -> Result<Exchange, String> {
    let deadline = job.deadline();
    let records = ask(job, job.name()?, kind_of(job.target))?;
    let latency = deadline.elapsed();
    expect(job.name()?, job.target, &addresses(&records))?;
    Ok(Exchange::plain(latency))
}

/// The name's SRV records name the target's port, on a machine that has the target's address.
pub(super) fn srv(job: &ProbeJob) -> Result<Exchange, String> {
    let deadline = job.deadline();
    let name = job.name()?;
    let records = ask(job, name, RecordKind::Srv)?;
    let latency = deadline.elapsed();
    let places = records.iter().filter_map(|record| match &record.data {
        Data::Srv { port, target, .. } => Some((*port, target.as_str())),
        _ => None,
    });
    let places: Vec<(u16, &str)> = places.collect();
    let machine = places.iter().find(|(port, _)| *port == job.target.port());
    let (_, machine) = machine.ok_or_else(|| {
        let port = job.target.port();
        format!("{name} names {places:?}, and not port {port}")
    })?;
    let records = ask(job, machine, kind_of(job.target))?;
    expect(machine, job.target, &addresses(&records))?;
    Ok(Exchange::plain(latency))
}

/// What programs make of the job's name, if it has one, holds its target.
pub(super) fn check(job: &ProbeJob) -> Result<(), String> {
    let Some(name) = &job.name else {
        return Ok(());
    };
    let all = (name.as_str(), job.target.port()).to_socket_addrs();
    let all: Vec<SocketAddr> = all.map_err(|e| format!("resolve {name}: {e}"))?.collect();
    expect(name, job.target, &all)
}

fn ask(job: &ProbeJob, name: &str, kind: RecordKind) -> Result<Vec<Record>, String> {
    lookup(name, kind, job.timeout()).map_err(|e| e.to_string())
}

fn kind_of(target: SocketAddr) -> RecordKind {
    match target {
        SocketAddr::V4(_) => RecordKind::A,
        SocketAddr::V6(_) => RecordKind::Aaaa,
    }
}

fn addresses(records: &[Record]) -> Vec<SocketAddr> {
    let addresses = records.iter().filter_map(|record| match record.data {
        Data::A(address) => Some(address.into()),
        Data::Aaaa(address) => Some(address.into()),
        _ => None,
    });
    addresses.map(|ip| SocketAddr::new(ip, 0)).collect()
}

fn expect(name: &str, target: SocketAddr, found: &[SocketAddr]) -> Result<(), String> {
    if found.iter().any(|address| address.ip() == target.ip()) {
        return Ok(());
    }
    let found: Vec<_> = found.iter().map(|a| a.ip().to_string()).collect();
    let found = match found.is_empty() {
        true => "no address".to_owned(),
        false => found.join(", "),
    };
    Err(format!("{name} has {found}, and not {}", target.ip()))
}
