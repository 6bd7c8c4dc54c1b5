//! How people name the two ends of a packet's way. Only the words are read here; whether anybody
//! has that name is [`super::resolve`]'s to say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Who sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// The node itself.
    Node,
    /// Anybody outside the cluster.
    Outside,
    /// Who has this address.
    Address(IpAddr),
    /// A Pod of this node, by namespace and name.
    Pod(String, String),
}

/// Where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Receiver {
    /// What it is.
    pub(super) what: What,
    /// At which port, if one was named.
    pub(super) port: Option<Port>,
}

/// What a receiver is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// An address.
    Address(IpAddr),
    /// Both loopback addresses.
    Localhost,
    /// A node, by name.
    Node(String),
    /// A Service or a Pod: of these, the first that there is.
    Object(Vec<Object>),
}

/// A Service or a Pod by namespace and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Object {
    /// A Service.
    Service(String, String),
    /// A Pod.
    Pod(String, String),
}

/// A port, by number or by its name in the Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Port {
    /// By number.
    Number(u16),
    /// By name.
    Name(String),
}

/// Reads FROM.
pub(super) fn sender(text: &str) -> Result<Sender, String> {
    let text = text.trim();
    if let Ok(address) = bare(text).parse() {
        return Ok(Sender::Address(address));
    }
    match text {
        "" => Err("FROM is empty".to_owned()),
        "node" => Ok(Sender::Node),
        "outside" => Ok(Sender::Outside),
        name => {
            let name = name.strip_prefix("pod/").unwrap_or(name);
            let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
            Ok(Sender::Pod(namespace.to_owned(), name.to_owned()))
        }
    }
}

/// Reads TO; a name without namespace is looked for in `namespace`.
pub(super) fn receiver(text: &str, namespace: &str) -> Result<Receiver, String> {
    let text = text.trim();
    if let Ok(address) = bare(text).parse() {
        let what = What::Address(address);
        return Ok(Receiver { what, port: None });
    }
    if let Ok(at) = text.parse::<SocketAddr>() {
        let port = Some(Port::Number(at.port()));
        let what = What::Address(at.ip());
        return Ok(Receiver { what, port });
    }
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, Some(read_port(port)?)),
        None => (text, None),
    };
    if let Ok(address) = bare(name).parse() {
        let what = What::Address(address);
        return Ok(Receiver { what, port });
    }
    match name {
        "" => Err("TO names nobody, only a port".to_owned()),
        "localhost" => Ok(Receiver {
            what: What::Localhost,
            port,
        }),
        name => Ok(Receiver {
            what: object(name, namespace)?,
            port,
        }),
    }
}

fn bare(text: &str) -> &str {
    let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    inner.unwrap_or(text)
}

fn read_port(text: &str) -> Result<Port, String> {
    match text.parse::<u32>() {
        Ok(number) => match u16::try_from(number) {
            Ok(number) if number > 0 => Ok(Port::Number(number)),
            _ => Err(format!("there is no port {number}: they are 1 to 65535")),
        },
        Err(_) if text.is_empty() => Err("TO ends in `:` without a port".to_owned()),
        Err(_) => Ok(Port::Name(text.to_owned())),
    }
}

/// A name: `svc/NAME`, `pod/NAME`, `node/NAME`, `NAMESPACE/NAME`, `NAME.NAMESPACE.svc…` or `NAME`.
fn object(name: &str, namespace: &str) -> Result<What, String> {
    let owned = |(namespace, name): (&str, &str)| (namespace.to_owned(), name.to_owned());
    let within = |name| -> (String, String) {
        let split: Option<(&str, &str)> = str::split_once(name, '/');
        owned(split.unwrap_or((namespace, name)))
    };
    let service = |(namespace, name)| Object::Service(namespace, name);
    let pod = |(namespace, name)| Object::Pod(namespace, name);
    for kind in ["svc/", "service/", "services/"] {
        if let Some(rest) = name.strip_prefix(kind) {
            return Ok(What::Object(vec![service(within(rest))]));
        }
    }
    if let Some(rest) = name.strip_prefix("pod/") {
        return Ok(What::Object(vec![pod(within(rest))]));
    }
    if let Some(rest) = name.strip_prefix("node/") {
        return Ok(What::Node(rest.to_owned()));
    }
    let labels: Vec<&str> = name.trim_end_matches('.').split('.').collect();
    match labels[..] {
        [name, namespace, "svc", ..] => Ok(What::Object(vec![service(owned((namespace, name)))])),
        [_, _, _, "svc", ..] => Err(format!(
            "{name} names an endpoint of a Service: give the Pod's own name or address"
        )),
        [first, second] if !name.contains('/') => Ok(What::Object(vec![
            service(owned((second, first))),
            pod(within(name)),
        ])),
        _ => Ok(What::Object(vec![service(within(name)), pod(within(name))])),
    }
}

/// The loopback addresses.
pub(super) const LOOPBACK: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

/// Stand-ins for anybody outside the cluster: addresses of documentation (RFC 5737, RFC 3849).
pub(super) const SOMEBODY: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

/// The known names that are most like one that nobody has, the nearest first.
pub(super) fn near<'a>(wanted: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    const SHOWN: usize = 5;
    let mut all: Vec<(usize, &str)> = known.map(|name| (distance(wanted, name), name)).collect();
    all.sort_unstable();
    all.dedup();
    all.into_iter().take(SHOWN).map(|(_, name)| name).collect()
}

/// How many letters must change to make one word of the other (Levenshtein); a word that holds the
/// other is near whatever it has beside.
fn distance(a: &str, b: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, x) in left.iter().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in right.iter().enumerate() {
            let change = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(corner + 1);
        }
    }
    let last = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    match last(b).contains(&last(a)) {
        true => row[right.len()].min(1),
        false => row[right.len()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(parts: &[(&str, &str, &str)]) -> What {
        let object = |(kind, namespace, name): &(&str, &str, &str)| match *kind {
            "svc" => Object::Service((*namespace).to_owned(), (*name).to_owned()),
            _ => Object::Pod((*namespace).to_owned(), (*name).to_owned()),
        };
        What::Object(parts.iter().map(object).collect())
    }

    #[test]
    fn senders_are_read_as_people_write_them() {
        let pod = |namespace: &str, name: &str| Sender::Pod(namespace.to_owned(), name.to_owned());
        for (text, wanted) in [
            ("node", Sender::Node),
            ("outside", Sender::Outside),
            ("10.0.0.1", Sender::Address("10.0.0.1".parse().expect("v4"))),
            ("[fd00::1]", Sender::Address("fd00::1".parse().expect("v6"))),
            ("web-0", pod("default", "web-0")),
            ("shop/web-0", pod("shop", "web-0")),
            ("pod/shop/web-0", pod("shop", "web-0")),
        ] {
            assert_eq!(sender(text), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn receivers_are_read_as_people_write_them() {
        let number = |n| Some(Port::Number(n));
        let either = named(&[("svc", "shop", "web"), ("pod", "shop", "web")]);
        for (text, what, port) in [
            (
                "10.0.0.1",
                What::Address("10.0.0.1".parse().expect("v4")),
                None,
            ),
            (
                "10.0.0.1:80",
                What::Address("10.0.0.1".parse().expect("v4")),
                number(80),
            ),
            (
                "fd00::1",
                What::Address("fd00::1".parse().expect("v6")),
                None,
            ),
            (
                "[fd00::1]:80",
                What::Address("fd00::1".parse().expect("v6")),
                number(80),
            ),
            ("127.0.0.1:30080", What::Address(LOOPBACK[0]), number(30080)),
            ("localhost:30080", What::Localhost, number(30080)),
            ("web", either.clone(), None),
            ("shop/web:http", either, Some(Port::Name("http".to_owned()))),
            ("svc/web:80", named(&[("svc", "shop", "web")]), number(80)),
            ("svc/x/web", named(&[("svc", "x", "web")]), None),
            ("pod/x/web:80", named(&[("pod", "x", "web")]), number(80)),
            ("web.x.svc:80", named(&[("svc", "x", "web")]), number(80)),
            (
                "web.x.svc.cluster.local.",
                named(&[("svc", "x", "web")]),
                None,
            ),
            (
                "web.x",
                named(&[("svc", "x", "web"), ("pod", "shop", "web.x")]),
                None,
            ),
            ("node/a:10250", What::Node("a".to_owned()), number(10250)),
        ] {
            assert_eq!(
                receiver(text, "shop"),
                Ok(Receiver { what, port }),
                "{text}"
            );
        }
    }

    #[test]
    fn nonsense_is_refused_with_what_to_do() {
        for (text, words) in [
            ("web:", "without a port"),
            (":80", "names nobody"),
            ("web:0", "1 to 65535"),
            ("web:70000", "1 to 65535"),
            ("web-0.web.x.svc.cluster.local:80", "the Pod's own name"),
        ] {
            let error = receiver(text, "x").expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn near_names_come_first() {
        let known = ["shop/cart-1", "shop/web-0", "default/dns", "shop/web-1"];
        assert_eq!(
            near("shop/web-2", known.into_iter())[..2],
            ["shop/web-0", "shop/web-1"]
        );
        assert_eq!(near("default/web-1", known.into_iter())[0], "shop/web-1");
        assert_eq!(distance("", "abc"), 1, "everything holds nothing");
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
