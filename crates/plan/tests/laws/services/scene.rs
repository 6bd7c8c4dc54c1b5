//! One node of three, and a Service with an endpoint on each of two.

use std::collections::BTreeSet;

use seaway_model::{
    Endpoint, EndpointSlice, FrontendAction, FrontendKey, Protocol, Service, ServiceKind,
    ServicePort, ServiceSettings, Settings, View,
};
use seaway_plan::Planner;

use super::inputs::{endpoint, port, simple_service, simple_slice, upsert_service, upsert_slice};
use crate::inputs::{cluster, ip};

/// Node 0 of three with these Services and slices.
pub(crate) fn planner(services: &[Service], slices: &[EndpointSlice]) -> Planner {
    with_settings(ServiceSettings::default(), services, slices)
}

pub(crate) fn with_settings(
    settings: ServiceSettings,
    services: &[Service],
    slices: &[EndpointSlice],
) -> Planner {
    let settings = Settings {
        services: Some(settings),
        ..Settings::default()
    };
    let mut planner = cluster(settings, 3);
    for service in services {
        planner.apply(upsert_service(service.clone()));
    }
    for slice in slices {
        planner.apply(upsert_slice(slice.clone()));
    }
    planner
}

/// Where a frontend leads to: the targets, or what becomes of traffic otherwise.
pub(crate) fn at(planner: &Planner, address: &str, number: u16, view: View) -> Vec<String> {
    at_by(planner, address, Protocol::Tcp, number, view)
}

pub(crate) fn at_by(
    planner: &Planner,
    address: &str,
    protocol: Protocol,
    port: u16,
    view: View,
) -> Vec<String> {
    let key = FrontendKey {
        address: ip(address),
        protocol,
        port,
        view,
    };
    let Some(row) = planner.rows().frontends.get(&key) else {
        return vec!["nowhere".to_owned()];
    };
    match row.action {
        FrontendAction::Refuse => vec!["refused".to_owned()],
        FrontendAction::Drop => vec!["dropped".to_owned()],
        FrontendAction::Balance { group, .. } => {
            let rows = planner.rows().backends.iter();
            let rows = rows.filter(|row| row.key.group == group);
            let all: BTreeSet<_> = rows.map(|row| row.target).collect();
            all.iter().map(ToString::to_string).collect()
        }
    }
}

pub(crate) fn everyone(planner: &Planner, address: &str, number: u16) -> Vec<String> {
    at(planner, address, number, View::Everyone)
}

pub(crate) fn web() -> Service {
    simple_service("d/web", "10.96.0.1")
}

pub(crate) fn web_slice(endpoints: Vec<Endpoint>) -> EndpointSlice {
    simple_slice("d/web-1", "d/web", endpoints)
}

pub(crate) fn two() -> EndpointSlice {
    web_slice(vec![endpoint("10.244.0.5", 0), endpoint("10.244.1.5", 1)])
}

pub(crate) fn balancer() -> Service {
    Service {
        kind: ServiceKind::LoadBalancer,
        load_balancer_ips: vec![ip("192.0.2.1")],
        ports: vec![ServicePort {
            node_port: Some(30080),
            ..port("", Protocol::Tcp, 80)
        }],
        ..web()
    }
}
