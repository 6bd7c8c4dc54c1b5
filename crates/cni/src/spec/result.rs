//! Results: what an attachment consists of, as ADD answers it and `prevResult` hands it on.
//!
//! Inside there is one form, that of the newest version; [`CniResult::to_json`] writes the form of
//! any version. Fields that nobody of us knows are kept and passed on; those that a version does
//! not have are left out when it is written.

use std::net::IpAddr;

use ipnet::IpNet;
use seaway_model::Family;
use serde_json::{Map, Value, json};

use super::error::CniError;
use super::object::{FieldError, Object};
use super::version::{CniVersion, UnsupportedVersion};

/// A success result.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CniResult {
    /// The interfaces, host side and Pod side.
    pub interfaces: Vec<Interface>,
    /// The addresses.
    pub ips: Vec<IpConfig>,
    /// The routes inside the Pod.
    pub routes: Vec<Route>,
    /// DNS settings for the Pod.
    pub dns: Dns,
    /// Fields that are not of the specification.
    pub others: Map<String, Value>,
}

/// An interface of a result.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address; other plugins may have other kinds than Ethernet.
    pub mac: Option<String>,
    /// Its MTU (1.1.0).
    pub mtu: Option<u32>,
    /// The namespace's path; `None` on the host.
    pub sandbox: Option<String>,
    /// The socket of a user-space interface (1.1.0).
    pub socket_path: Option<String>,
    /// The PCI address of a device (1.1.0).
    pub pci_id: Option<String>,
    /// Fields that are not of the specification.
    pub others: Map<String, Value>,
}

/// An address of a result.
#[derive(Clone, Debug, PartialEq)]
pub struct IpConfig {
    /// The address with its prefix length.
    pub address: IpNet,
    /// The gateway of its subnet.
    pub gateway: Option<IpAddr>,
    /// On which interface, by index into [`CniResult::interfaces`].
    pub interface: Option<u32>,
    /// Fields that are not of the specification.
    pub others: Map<String, Value>,
}

/// A route of a result.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Where to.
    pub dst: IpNet,
    /// The next hop.
    pub gw: Option<IpAddr>,
    /// The path's MTU (1.1.0).
    pub mtu: Option<u32>,
    /// The largest TCP segment to announce (1.1.0).
    pub advmss: Option<u32>,
    /// The metric (1.1.0).
    pub priority: Option<u32>,
    /// The routing table (1.1.0).
    pub table: Option<u32>,
    /// The scope (1.1.0).
    pub scope: Option<u32>,
    /// Fields that are not of the specification.
    pub others: Map<String, Value>,
}

/// DNS settings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dns {
    /// Name servers.
    pub nameservers: Vec<String>,
    /// The local domain.
    pub domain: Option<String>,
    /// Domains to search.
    pub search: Vec<String>,
    /// Options of the resolver.
    pub options: Vec<String>,
}

impl CniResult {
    /// Reads the value of `prevResult`, in the form of any version.
    pub fn read(prev_result: &Value) -> Result<CniResult, CniError> {
        let root = Object::at("prevResult", prev_result)?;
        if let Some(version) = root.text("cniVersion")? {
            check_version(version)?;
        }
        Ok(CniResult::read_fields(&root)?)
    }

    fn read_fields(root: &Object<'_>) -> Result<CniResult, FieldError> {
        Ok(CniResult {
            interfaces: root.objects("interfaces", Interface::read)?,
            ips: root.objects("ips", IpConfig::read)?,
            routes: root.objects("routes", Route::read)?,
            dns: Dns::read(root)?,
            others: root.others(&["cniVersion", "interfaces", "ips", "routes", "dns"]),
        })
    }

    /// The result as `version` has it.
    pub fn to_json(&self, version: CniVersion) -> Value {
        let mut fields = Fields::after(&self.others);
        fields.set("cniVersion", Some(version.as_str()));
        fields.list("interfaces", &self.interfaces, |i| i.to_json(version));
        fields.list("ips", &self.ips, |ip| ip.to_json(version));
        fields.list("routes", &self.routes, |r| r.to_json(version));
        fields.set("dns", self.dns.to_json());
        fields.done()
    }
}

fn check_version(version: &str) -> Result<(), CniError> {
    match version.parse::<CniVersion>() {
        Ok(_) => Ok(()),
        Err(error @ UnsupportedVersion(_)) => {
            let CniError { code, msg, details } = error.into();
            let msg = format!("prevResult: {msg}");
            Err(CniError { code, msg, details })
        }
    }
}

impl Interface {
    fn read(object: &Object<'_>) -> Result<Interface, FieldError> {
        let text = |key| Ok(object.text(key)?.map(str::to_owned));
        Ok(Interface {
            name: object.required("name")?.to_owned(),
            mac: text("mac")?,
            mtu: object.number("mtu")?,
            sandbox: text("sandbox")?,
            socket_path: text("socketPath")?,
            pci_id: text("pciID")?,
            others: object.others(&["name", "mac", "mtu", "sandbox", "socketPath", "pciID"]),
        })
    }

    fn to_json(&self, version: CniVersion) -> Value {
        let mut fields = Fields::after(&self.others);
        fields.set("name", Some(self.name.as_str()));
        fields.set("mac", self.mac.as_deref());
        fields.set("sandbox", self.sandbox.as_deref());
        if version >= CniVersion::V1_1_0 {
            fields.set("mtu", self.mtu);
            fields.set("socketPath", self.socket_path.as_deref());
            fields.set("pciID", self.pci_id.as_deref());
        }
        fields.done()
    }
}

impl IpConfig {
    fn read(object: &Object<'_>) -> Result<IpConfig, FieldError> {
        let missing = || object.error("address", "is missing or empty");
        Ok(IpConfig {
            address: object.parsed("address", CIDR)?.ok_or_else(missing)?,
            gateway: object.parsed("gateway", ADDRESS)?,
            interface: object.number("interface")?,
            others: object.others(&["version", "address", "gateway", "interface"]),
        })
    }

    fn to_json(&self, version: CniVersion) -> Value {
        let mut fields = Fields::after(&self.others);
        if version < CniVersion::V1_0_0 {
            fields.set("version", Some(family_digit(&self.address)));
        }
        fields.set("address", Some(self.address.to_string()));
        fields.set("gateway", self.gateway.map(|g| g.to_string()));
        fields.set("interface", self.interface);
        fields.done()
    }
}

const CIDR: &str = "an address with its prefix length such as 10.244.1.2/32";
const ADDRESS: &str = "an IP address";

fn family_digit(net: &IpNet) -> &'static str {
    match Family::of_net(net) {
        Family::V4 => "4",
        Family::V6 => "6",
    }
}

impl Route {
    /// A route with nothing but its destination and next hop.
    pub fn to(dst: IpNet, gw: Option<IpAddr>) -> Route {
        Route {
            dst,
            gw,
            mtu: None,
            advmss: None,
            priority: None,
            table: None,
            scope: None,
            others: Map::new(),
        }
    }

    fn read(object: &Object<'_>) -> Result<Route, FieldError> {
        let missing = || object.error("dst", "is missing or empty");
        Ok(Route {
            dst: object.parsed("dst", CIDR)?.ok_or_else(missing)?,
            gw: object.parsed("gw", ADDRESS)?,
            mtu: object.number("mtu")?,
            advmss: object.number("advmss")?,
            priority: object.number("priority")?,
            table: object.number("table")?,
            scope: object.number("scope")?,
            others: object.others(&["dst", "gw", "mtu", "advmss", "priority", "table", "scope"]),
        })
    }

    fn to_json(&self, version: CniVersion) -> Value {
        let mut fields = Fields::after(&self.others);
        fields.set("dst", Some(self.dst.to_string()));
        fields.set("gw", self.gw.map(|g| g.to_string()));
        if version >= CniVersion::V1_1_0 {
            fields.set("mtu", self.mtu);
            fields.set("advmss", self.advmss);
            fields.set("priority", self.priority);
            fields.set("table", self.table);
            fields.set("scope", self.scope);
        }
        fields.done()
    }
}

impl Dns {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Dns::default()
    }

    /// Reads the field `dns` of `parent`.
    pub(crate) fn read(parent: &Object<'_>) -> Result<Dns, FieldError> {
        let Some(object) = parent.object("dns")? else {
            return Ok(Dns::default());
        };
        Ok(Dns {
            nameservers: object.texts("nameservers")?,
            domain: object.text("domain")?.map(str::to_owned),
            search: object.texts("search")?,
            options: object.texts("options")?,
        })
    }

    fn to_json(&self) -> Option<Value> {
        let mut fields = Fields::after(&Map::new());
        fields.list("nameservers", &self.nameservers, |s| json!(s));
        fields.set("domain", self.domain.as_deref());
        fields.list("search", &self.search, |s| json!(s));
        fields.list("options", &self.options, |s| json!(s));
        (!self.is_empty()).then(|| fields.done())
    }
}

/// A JSON object in the making; what is absent or empty is left out.
struct Fields(Map<String, Value>);

impl Fields {
    fn after(others: &Map<String, Value>) -> Fields {
        Fields(others.clone())
    }

    fn set(&mut self, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.0.insert(key.to_owned(), value.into());
        }
    }

    fn list<T>(&mut self, key: &str, items: &[T], write: impl Fn(&T) -> Value) {
        let list = || items.iter().map(write).collect::<Vec<Value>>();
        self.set(key, (!items.is_empty()).then(list));
    }

    fn done(self) -> Value {
        Value::Object(self.0)
    }
}

#[cfg(test)]
#[path = "result_tests.rs"]
mod tests;
