//! What values may be: the checks, and what they tell people. The chart's schema holds the same
//! rules as far as a schema can.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde_json::Value;

use crate::settings::{Kind, Setting};

/// What a text has to look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// The name of an image without its tag.
    Repository,
    /// An image's tag, or nothing.
    Tag,
    /// A filter of log lines.
    Log,
    /// An absolute path.
    Path,
    /// The name of a link, or nothing.
    Link,
    /// The URL of an API server.
    Url,
    /// A network.
    Network,
    /// A network, or nothing.
    NetworkOrNone,
    /// A network and the prefix length of a node's part.
    ClusterNetwork,
    /// `primary`, or a network.
    NodePortAddress,
    /// An address with or without port, or `none`.
    NameServer,
    /// An address with port, `off`, or nothing.
    Bind,
}

/// Says how a value has to be, unless it is so.
pub(crate) fn check(setting: &Setting, value: &Value) -> Result<(), String> {
    let fits = match (setting.kind, value) {
        (Kind::Text(check), Value::String(text)) => return check.text(text),
        (Kind::OneOf(choices), Value::String(text)) => {
            if choices.contains(&text.as_str()) {
                return Ok(());
            }
            return Err(no_choice(setting.path, choices));
        }
        (Kind::Switch, Value::Bool(_))
        | (Kind::Number { optional: true, .. }, Value::Null)
        | (Kind::Map, Value::Object(_)) => true,
        (Kind::Number { min, max, .. }, Value::Number(_)) => {
            value.as_i64().is_some_and(|n| (min..=max).contains(&n))
        }
        (Kind::Share, Value::Number(_)) => value.as_i64().is_some_and(|n| n > 0),
        (Kind::Share, Value::String(text)) => {
            let number = text.strip_suffix('%').and_then(|n| n.parse::<u8>().ok());
            number.is_some_and(|n| (1..=100).contains(&n))
        }
        (Kind::Texts(check), Value::Array(items)) => {
            for item in items {
                let Value::String(text) = item else {
                    return Err(form(setting.kind));
                };
                check.text(text)?;
            }
            return check.together(items);
        }
        (Kind::Maps, Value::Array(items)) => items.iter().all(Value::is_object),
        _ => false,
    };
    fits.then_some(()).ok_or_else(|| form(setting.kind))
}

fn no_choice(path: &str, choices: &[&str]) -> String {
    if path == "serviceBackend" {
        return "give nftables; eBPF is not there yet, and iptables and IPVS never will be: where they \
                are wanted, keep kube-proxy and set kubeProxyReplacement=false"
            .to_owned();
    }
    let choices: Vec<&str> = choices
        .iter()
        .map(|choice| if choice.is_empty() { "nothing" } else { choice })
        .collect();
    format!("give one of {}", choices.join(", "))
}

/// How a value of a kind looks.
pub(crate) fn form(kind: Kind) -> String {
    match kind {
        Kind::Text(check) => check.form().to_owned(),
        Kind::OneOf(choices) => format!("give one of {}", choices.join(", ")),
        Kind::Switch => "give true or false".to_owned(),
        Kind::Number { min, max, optional } => {
            let or = if optional { ", or null" } else { "" };
            format!("give a number from {min} to {max}{or}")
        }
        Kind::Share => "give a number above 0, or a part such as 10%".to_owned(),
        Kind::Texts(check) => format!("give a list; of each: {}", check.form()),
        Kind::Map => "give a map, such as {a: b}".to_owned(),
        Kind::Maps => "give a list of maps, such as [{a: b}]".to_owned(),
    }
}

impl Check {
    fn form(self) -> &'static str {
        match self {
            Check::Repository => "give an image without its tag, such as registry.example/seaway",
            Check::Tag => "give a tag, such as 1.2.3, or nothing",
            Check::Log => {
                "give error, warn, info, debug or trace, or such of modules: info,seaway_agent=debug"
            }
            Check::Path => "give an absolute path without .. in it",
            Check::Link => "give the name of a network device, such as eth0, or nothing",
            Check::Url => "give a URL, such as https://192.0.2.10:6443",
            Check::Network => "give a network, such as 192.0.2.0/24",
            Check::NetworkOrNone => "give a network, such as 192.0.2.0/24, or nothing",
            Check::ClusterNetwork => {
                "give a network and the prefix length of a node's part, such as 10.244.0.0/16=24"
            }
            Check::NodePortAddress => "give primary, or networks such as 192.0.2.0/24",
            Check::NameServer => {
                "give an address, such as 192.0.2.53 or [2001:db8::53]:5353, or none"
            }
            Check::Bind => {
                "give an address with its port, such as 127.0.0.1:10249, or off, or nothing"
            }
        }
    }

    /// A regular expression that says about the same.
    pub(crate) fn pattern(self) -> &'static str {
        match self {
            Check::Repository => r"^[a-z0-9][a-zA-Z0-9._:/-]*$",
            Check::Tag => r"^([A-Za-z0-9_][A-Za-z0-9._-]{0,127})?$",
            Check::Log => r"^[A-Za-z0-9_:=,\[\]{}.-]+$",
            Check::Path => r"^/[A-Za-z0-9_./-]+$",
            Check::Link => r"^[^/\s]{0,15}$",
            Check::Url => r"^https?://[^\s,]+$",
            Check::Network => r"^[0-9a-fA-F:.]+/[0-9]{1,3}$",
            Check::NetworkOrNone => r"^([0-9a-fA-F:.]+/[0-9]{1,3})?$",
            Check::ClusterNetwork => r"^[0-9a-fA-F:.]+/[0-9]{1,3}=[0-9]{1,3}$",
            Check::NodePortAddress => r"^(primary|[0-9a-fA-F:.]+/[0-9]{1,3})$",
            Check::NameServer => r"^(none|[0-9a-fA-F:.]+|\[[0-9a-fA-F:.]+\]:[0-9]{1,5})$",
            Check::Bind => r"^(off|([0-9.]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5})?$",
        }
    }

    fn text(self, text: &str) -> Result<(), String> {
        let fine = match self {
            Check::Repository => is_repository(text),
            Check::Tag => text.is_empty() || is_tag(text),
            Check::Log => {
                let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_:=,[]{}.-".contains(&b);
                !text.is_empty() && text.bytes().all(allowed)
            }
            Check::Path => is_path(text),
            Check::Link => {
                let strange = |c: char| c == '/' || c.is_whitespace();
                text.len() <= 15 && !text.contains(strange)
            }
            Check::Url => {
                let rest = ["https://", "http://"]
                    .iter()
                    .find_map(|scheme| text.strip_prefix(scheme));
                let strange = |c: char| c == ',' || c.is_whitespace();
                rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(strange))
            }
            Check::Network => return network(text).map(|_| ()),
            Check::NetworkOrNone if text.is_empty() => true,
            Check::NetworkOrNone => return network(text).map(|_| ()),
            Check::ClusterNetwork => return cluster_network(text),
            Check::NodePortAddress if text == "primary" => true,
            Check::NodePortAddress => {
                return network(text)
                    .map(|_| ())
                    .map_err(|error| format!("give primary, or networks: {error}"));
            }
            Check::NameServer => text == "none" || name_server(text),
            Check::Bind => {
                let at = text.parse::<SocketAddr>().ok();
                text.is_empty() || text == "off" || at.is_some_and(|at| at.port() != 0)
            }
        };
        fine.then_some(()).ok_or_else(|| self.form().to_owned())
    }

    /// What the texts of a list have to be together.
    fn together(self, items: &[Value]) -> Result<(), String> {
        let alone = match self {
            Check::NodePortAddress => "primary",
            Check::NameServer => "none",
            _ => return Ok(()),
        };
        if items.len() > 1 && items.iter().any(|item| item == alone) {
            return Err(format!("{alone} stands for itself; leave the rest out"));
        }
        Ok(())
    }
}

fn is_repository(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:/-".contains(&b);
    let starts = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    // A colon behind the last slash would be a tag.
    let last = text.rsplit('/').next().unwrap_or_default();
    text.bytes().next().is_some_and(starts) && text.bytes().all(allowed) && !last.contains(':')
}

fn is_tag(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    text.len() <= 128 && text.bytes().all(allowed) && !text.starts_with(['.', '-'])
}

fn is_path(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_./-".contains(&b);
    let up = text.split('/').any(|part| part == "..");
    text.len() > 1 && text.starts_with('/') && text.bytes().all(allowed) && !up
}

fn name_server(text: &str) -> bool {
    let alone = text.parse::<IpAddr>().ok().map(|address| (address, 53));
    let at = text.parse::<SocketAddr>().ok();
    alone
        .or(at.map(|at| (at.ip(), at.port())))
        .is_some_and(|(address, port)| port != 0 && !address.is_unspecified())
}

fn network(text: &str) -> Result<IpNet, String> {
    let net: IpNet = text.parse().map_err(|_| Check::Network.form().to_owned())?;
    match net.trunc() {
        whole if whole == net => Ok(net),
        whole => Err(format!("it has host bits set; the network is {whole}")),
    }
}

fn cluster_network(text: &str) -> Result<(), String> {
    let form = || Check::ClusterNetwork.form().to_owned();
    let (net, bits) = text.split_once('=').ok_or_else(form)?;
    let net = network(net).map_err(|error| match error.contains("host bits") {
        true => error,
        false => form(),
    })?;
    let bits: u8 = bits.parse().map_err(|_| form())?;
    if (net.prefix_len()..=net.max_prefix_len()).contains(&bits) {
        return Ok(());
    }
    Err(format!(
        "a node's part of {net} has a prefix length of {} to {}",
        net.prefix_len(),
        net.max_prefix_len()
    ))
}
