//! The address of an API server, as people and the cluster write it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use hyper::Uri;
use hyper::http::uri::Authority;
use thiserror::Error;

/// An API server's URL: scheme, host and port, no more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerUrl(Uri);

/// A text that is no API server's URL.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "\"{text}\" {problem}; want for example https://192.0.2.1:6443 or https://[2001:db8::1]:6443"
)]
pub struct BadServerUrl {
    text: String,
    problem: &'static str,
}

impl ServerUrl {
    /// A server that is reached through TLS.
    pub fn https(address: IpAddr, port: u16) -> ServerUrl {
        let authority = std::net::SocketAddr::new(address, port);
        let text = format!("https://{authority}");
        ServerUrl(text.parse().expect("an address and a port make a URL"))
    }

    /// A URL that a kubeconfig holds; it may have a path.
    pub(super) fn of_kubeconfig(uri: Uri) -> Result<ServerUrl, BadServerUrl> {
        let problem = problem(&uri);
        problem.map_or(Ok(ServerUrl(uri.clone())), |problem| {
            let text = uri.to_string();
            Err(BadServerUrl { text, problem })
        })
    }

    /// As requests need it.
    pub(super) fn uri(&self) -> &Uri {
        &self.0
    }

    /// Whether the server is reached through TLS.
    pub fn is_secure(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }
}

fn problem(uri: &Uri) -> Option<&'static str> {
    let scheme = uri.scheme_str().unwrap_or_default();
    if !matches!(scheme, "http" | "https") || uri.host().is_none_or(str::is_empty) {
        return Some("is no URL of a server");
    }
    None
}

impl FromStr for ServerUrl {
    type Err = BadServerUrl;

    fn from_str(text: &str) -> Result<ServerUrl, BadServerUrl> {
        let bad = |problem| BadServerUrl {
            text: text.to_owned(),
            problem,
        };
        let uri: Uri = text
            .trim()
            .parse()
            .map_err(|_| bad("is no URL of a server"))?;
        if let Some(problem) = problem(&uri) {
            return Err(bad(problem));
        }
        if uri
            .path_and_query()
            .is_some_and(|path| path.as_str() != "/")
        {
            return Err(bad("has a path, which an API server has not"));
        }
        let authority = uri.authority().map(Authority::as_str).unwrap_or_default();
        if authority.contains('@') {
            return Err(bad("names a user; credentials come from elsewhere"));
        }
        // `Uri` takes a port that is none, and says that there is no port.
        let host = uri.host().unwrap_or_default();
        let rest = authority.strip_prefix(host).unwrap_or_default();
        let port = rest.strip_prefix(':').map(str::parse::<u16>);
        if port.is_some_and(|port| !matches!(port, Ok(1..))) {
            return Err(bad("has no valid port"));
        }
        Ok(ServerUrl(uri))
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        f.write_str(text.trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_scheme_host_and_port() {
        for (text, shown) in [
            ("https://192.0.2.1:6443", "https://192.0.2.1:6443"),
            (
                " https://[2001:db8::1]:6443/ ",
                "https://[2001:db8::1]:6443",
            ),
            ("https://api.example", "https://api.example"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ] {
            let url: ServerUrl = text.parse().expect(text);
            assert_eq!(url.to_string(), shown);
        }
        let learned = ServerUrl::https("2001:db8::1".parse().expect("valid"), 6443);
        assert_eq!(Ok(learned), "https://[2001:db8::1]:6443".parse());
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, words) in [
            ("", "is no URL"),
            ("192.0.2.1:6443", "is no URL"),
            ("tcp://192.0.2.1:6443", "is no URL"),
            ("https://", "is no URL"),
            ("https://2001:db8::1:6443", "is no"),
            ("https://192.0.2.1:66443", "no valid port"),
            ("https://192.0.2.1:0", "no valid port"),
            ("https://192.0.2.1:", "no valid port"),
            ("https://192.0.2.1:6443/k8s/x", "has a path"),
            ("https://me:secret@192.0.2.1", "names a user"),
        ] {
            let error = text.parse::<ServerUrl>().expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
            assert!(error.contains("want for example https://"), "{error}");
        }
    }
}
