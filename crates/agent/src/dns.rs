//! Names, answered on the node where that is wanted: the zone is told what the keeper is told, and the
//! server has a thread of its own. How names are answered is `seaway-dns`'s business.

use std::net::IpAddr;

use seaway_dns::{Names, ServerConfig, Upstreams, ZoneConfig, serve};
use seaway_model::{Family, dns_address};

use crate::error::AgentError;
use crate::run::{AgentConfig, spawn};
use crate::shared::Shared;

/// Starts the server in the calling thread's network namespace, before the source tells anything.
pub(crate) fn start(shared: &Shared, config: &AgentConfig) -> Result<(), AgentError> {
    let settings = config.settings.services.as_ref();
    let Some(settings) = settings.filter(|settings| settings.dns) else {
        return Ok(());
    };
    let servers: Vec<IpAddr> = Family::ALL.map(dns_address).into();
    let names = Names::new(&ZoneConfig {
        servers,
        service_cidrs: settings.service_cidrs.clone(),
        ..ZoneConfig::default()
    });
    let names = shared.names.get_or_init(|| names).clone();
    let mut server = ServerConfig::default();
    if let Some(given) = &config.name_servers {
        server.upstreams = Upstreams::Given(given.clone());
    }
    spawn("names", move || {
        if let Err(error) = serve(names, &server) {
            tracing::error!(%error, "names are not answered on this node");
        }
    })
}
