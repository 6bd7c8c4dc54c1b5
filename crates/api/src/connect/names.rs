//! Whom a server's certificate is to name.

use std::error::Error;
use std::sync::Arc;

use hyper::Uri;
use hyper_rustls::{DefaultServerNameResolver, ResolveServerName};
use rustls::pki_types::ServerName;

use super::failover::Shared;
use super::learned;

/// A server that was given is to prove the host of its URL, one that was learned the name by which
/// all Pods know the API, and any server the name that a kubeconfig asks for.
pub(super) struct Names {
    fixed: Option<String>,
    shared: Arc<Shared>,
}

impl Names {
    pub(super) fn new(fixed: Option<String>, shared: Arc<Shared>) -> Names {
        Names { fixed, shared }
    }
}

impl ResolveServerName for Names {
    fn resolve(&self, uri: &Uri) -> Result<ServerName<'static>, Box<dyn Error + Sync + Send>> {
        if let Some(name) = &self.fixed {
            return Ok(ServerName::try_from(name.clone())?);
        }
        let is_it = |server: &super::ServerUrl| server.uri().authority() == uri.authority();
        match self.shared.lock().is_given(is_it) {
            true => DefaultServerNameResolver::default().resolve(uri),
            false => Ok(ServerName::try_from(learned::NAME)?),
        }
    }
}
