//! A Pod of the tests: a namespace with a name in `/run/netns`, attached by the plugin.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use seaway_kernel::netns::{Netns, unpin};
use seaway_model::Family;
use serde_json::{Value, json};

use crate::plugin::{Answer, Call, addresses};
use crate::{Agent, Build};

/// A Pod: its namespace lives as long as this, or until [`Pod::destroy`].
#[derive(Debug)]
pub struct Pod {
    /// The container's id.
    pub container: String,
    /// Where the namespace is.
    pub path: PathBuf,
    /// The namespace itself.
    pub netns: Option<Netns>,
    /// Its addresses, once attached.
    pub addresses: Vec<IpAddr>,
    /// The result of its ADD.
    pub result: Value,
    /// What the runtime adds to the configuration (`runtimeConfig`), if anything.
    pub runtime_config: Value,
    /// The agent that serves it, when it is not at the usual place.
    pub socket: Option<PathBuf>,
    /// Which build of the plugin is called.
    pub build: Build,
}

impl Pod {
    /// Makes a namespace; nothing is attached.
    pub fn new(container: &str) -> Pod {
        let path = Path::new("/run/netns").join(container);
        let netns = Netns::create().expect("namespace");
        netns.pin(&path).expect("pinned");
        Pod {
            container: container.to_owned(),
            path,
            netns: Some(netns),
            addresses: Vec::new(),
            result: Value::Null,
            runtime_config: Value::Null,
            socket: None,
            build: Build::default(),
        }
    }

    /// Makes a namespace and attaches it.
    pub fn attached(container: &str) -> Pod {
        let mut pod = Pod::new(container);
        pod.add().expect("ADD");
        pod
    }

    /// Makes a namespace for a Pod of this node; nothing is attached.
    pub fn of(agent: &Agent, container: &str) -> Pod {
        let mut pod = Pod::new(container);
        pod.socket = Some(agent.socket());
        pod
    }

    /// The same Pod with a `runtimeConfig`.
    pub fn asking(mut self, runtime_config: Value) -> Pod {
        self.runtime_config = runtime_config;
        self
    }

    /// A call for this Pod.
    pub fn call(&self, command: &str) -> Call {
        let mut call = Call::new(command, &self.container).netns(&self.path);
        call.build = self.build;
        if let Some(socket) = &self.socket {
            call = call.config("socket", json!(socket));
        }
        if !self.runtime_config.is_null() {
            call = call.config("runtimeConfig", self.runtime_config.clone());
        }
        call
    }

    /// ADD.
    pub fn add(&mut self) -> Answer {
        let result = self.call("ADD").run()?;
        self.addresses = addresses(&result);
        self.result = result.clone();
        Ok(result)
    }

    /// DEL.
    pub fn del(&self) -> Answer {
        self.call("DEL").run()
    }

    /// CHECK with the result of the ADD.
    pub fn check(&self) -> Answer {
        self.call("CHECK")
            .config("prevResult", self.result.clone())
            .run()
    }

    /// Its address of a family.
    pub fn address(&self, family: Family) -> IpAddr {
        *self
            .addresses
            .iter()
            .find(|a| Family::of(**a) == family)
            .expect("dual stack")
    }

    /// Its namespace.
    pub fn netns(&self) -> &Netns {
        self.netns.as_ref().expect("alive")
    }

    /// Lets the namespace die.
    pub fn destroy(&mut self) {
        unpin(&self.path).expect("unpinned");
        self.netns = None;
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = unpin(&self.path);
    }
}
