//! `/etc/resolv.conf`: whom to ask, and what a short name may stand for. Reads the lines that matter
//! to a client and skips the rest, as resolvers do.

use std::net::{IpAddr, SocketAddr};

use super::PORT;

/// As many servers as resolvers look at.
const SERVERS: usize = 3;

/// How names are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conf {
    pub(super) servers: Vec<SocketAddr>,
    pub(super) search: Vec<String>,
    /// A name with so many dots is tried as it is first.
    pub(super) dots: usize,
}

/// Reads a file; one that is not there says nothing.
pub(super) fn read(path: &str) -> Conf {
    parse(&std::fs::read_to_string(path).unwrap_or_default())
}

fn parse(text: &str) -> Conf {
    let mut conf = Conf {
        servers: Vec::new(),
        search: Vec::new(),
        dots: 1,
    };
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => {
                let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                conf.servers
                    .extend(address.map(|address| SocketAddr::new(address, PORT)));
            }
            Some("search" | "domain") => conf.search = words.map(str::to_owned).collect(),
            Some("options") => {
                let dots = words.find_map(|word| word.strip_prefix("ndots:")?.parse().ok());
                conf.dots = dots.unwrap_or(conf.dots);
            }
            _ => {}
        }
    }
    conf.servers.truncate(SERVERS);
    conf
}

impl Conf {
    /// The names to try for one, in order. All end with a dot.
    pub(super) fn candidates(&self, name: &str) -> Vec<String> {
        let whole = format!("{}.", name.trim_end_matches('.'));
        if name.ends_with('.') {
            return vec![whole];
        }
        let longer = |domain: &String| format!("{name}.{}.", domain.trim_end_matches('.'));
        let longer = self.search.iter().map(longer);
        let is_whole_first = name.matches('.').count() >= self.dots;
        match is_whole_first {
            true => [whole].into_iter().chain(longer).collect(),
            false => longer.chain([whole]).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_matter_are_read() {
        let conf = parse(
            "# a comment\nnameserver 169.254.83.53\nnameserver fd5e:a83::53\nnameserver nonsense\n\
             search default.svc.cluster.local svc.cluster.local cluster.local\noptions edns0 ndots:5\n",
        );
        let servers: Vec<_> = conf.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["169.254.83.53:53", "[fd5e:a83::53]:53"]);
        assert_eq!((conf.search.len(), conf.dots), (3, 5));
    }

    #[test]
    fn few_dots_mean_the_search_path_first() {
        let conf = parse("search a.b b\noptions ndots:2");
        assert_eq!(conf.candidates("x"), ["x.a.b.", "x.b.", "x."]);
        assert_eq!(
            conf.candidates("x.y.z"),
            ["x.y.z.", "x.y.z.a.b.", "x.y.z.b."]
        );
        assert_eq!(conf.candidates("x."), ["x."]);
    }
}
