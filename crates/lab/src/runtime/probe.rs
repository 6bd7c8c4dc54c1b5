//! One try of a probe or a hook: from the node's network, or by a command in the container.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Container, ExecAction, GRPCAction, HTTPGetAction, LifecycleHandler, Probe, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::machine::{Machine, Place};
use crate::container::{self, Started};

/// How much of an HTTP answer is looked at.
const MOST_ANSWER: usize = 16 * 1024;
/// How much of a command's output an event quotes.
const MOST_QUOTED: usize = 1024;

/// Whom to ask.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) machine: Arc<Machine>,
    pub(crate) place: Arc<Place>,
    pub(crate) container: Container,
    pub(crate) started: Arc<Started>,
    /// The Pod's first address, as kubelet does.
    pub(crate) address: Option<IpAddr>,
}

/// The ways to ask.
#[derive(Default)]
struct Handler<'a> {
    exec: Option<&'a ExecAction>,
    http: Option<&'a HTTPGetAction>,
    tcp: Option<&'a TCPSocketAction>,
    grpc: Option<&'a GRPCAction>,
}

impl Target {
    /// Tries a probe once.
    pub(crate) async fn probe(&self, probe: &Probe, limit: Duration) -> Result<(), String> {
        let handler = Handler {
            exec: probe.exec.as_ref(),
            http: probe.http_get.as_ref(),
            tcp: probe.tcp_socket.as_ref(),
            grpc: probe.grpc.as_ref(),
        };
        self.run(handler, limit).await
    }

    /// Runs a hook.
    pub(crate) async fn hook(
        &self,
        hook: &LifecycleHandler,
        limit: Duration,
    ) -> Result<(), String> {
        if let Some(pause) = &hook.sleep {
            let pause = Duration::from_secs(pause.seconds.try_into().unwrap_or(0));
            sleep(pause.min(limit)).await;
            return Ok(());
        }
        let handler = Handler {
            exec: hook.exec.as_ref(),
            http: hook.http_get.as_ref(),
            tcp: hook.tcp_socket.as_ref(),
            grpc: None,
        };
        self.run(handler, limit).await
    }

    async fn run(&self, handler: Handler<'_>, limit: Duration) -> Result<(), String> {
        if let Some(exec) = handler.exec {
            return self
                .exec(exec.command.clone().unwrap_or_default(), limit)
                .await;
        }
        let late = || format!("no answer within {} s", limit.as_secs());
        let asked = async {
            if let Some(http) = handler.http {
                self.http(http).await
            } else if let Some(tcp) = handler.tcp {
                let to = self.address_of(tcp.host.as_deref(), &tcp.port)?;
                self.dial(to).await.map(drop)
            } else if handler.grpc.is_some() {
                Err("a lab has no gRPC probes; use exec, httpGet or tcpSocket".to_owned())
            } else {
                Err("it names no way to ask; use exec, httpGet or tcpSocket".to_owned())
            }
        };
        timeout(limit, asked).await.unwrap_or_else(|_| Err(late()))
    }

    async fn exec(&self, command: Vec<String>, limit: Duration) -> Result<(), String> {
        let (machine, started) = (self.machine.clone(), self.started.clone());
        let run = move || container::exec(&machine.config.reaper, &started, &command, &[], limit);
        let outcome = tokio::task::spawn_blocking(run)
            .await
            .map_err(|e| e.to_string())?;
        let outcome = outcome.map_err(|e| e.to_string())?;
        if outcome.exit.is_success() {
            return Ok(());
        }
        let output = &outcome.output[..outcome.output.len().min(MOST_QUOTED)];
        let output = String::from_utf8_lossy(output);
        match output.trim() {
            "" => Err(format!("the command ended with {}", outcome.exit)),
            output => Err(output.to_owned()),
        }
    }

    fn address_of(&self, host: Option<&str>, port: &IntOrString) -> Result<SocketAddr, String> {
        let port = port_number(&self.container, port)?;
        let address = match host.filter(|host| !host.is_empty()) {
            None => self.address.ok_or("the Pod has no address")?,
            Some(host) => host.parse().map_err(|_| {
                format!("the host \"{host}\" is no address, and a lab's probes ask no name server")
            })?,
        };
        Ok(SocketAddr::new(address, port))
    }

    async fn dial(&self, to: SocketAddr) -> Result<TcpStream, String> {
        let connected = self.machine.sockets.connect(&self.place.node, to).await;
        connected.map_err(|e| format!("dial tcp {to}: {e}"))
    }

    async fn http(&self, action: &HTTPGetAction) -> Result<(), String> {
        if action
            .scheme
            .as_deref()
            .is_some_and(|scheme| scheme != "HTTP")
        {
            return Err(
                "a lab's probes speak no HTTPS; use scheme HTTP, tcpSocket or exec".to_owned(),
            );
        }
        let to = self.address_of(action.host.as_deref(), &action.port)?;
        let request = request(action, to)?;
        let path = action.path.as_deref().unwrap_or("/");
        let asking = |reason: String| format!("Get \"http://{to}{path}\": {reason}");
        let mut stream = self.dial(to).await.map_err(asking)?;
        let sent = stream.write_all(request.as_bytes()).await;
        sent.map_err(|e| asking(e.to_string()))?;
        let answer = read_head(&mut stream)
            .await
            .map_err(|e| asking(e.to_string()))?;
        match status_code(&answer) {
            Some(200..=399) => Ok(()),
            Some(code) => Err(format!("HTTP probe failed with statuscode: {code}")),
            None => Err(asking("the answer is no HTTP".to_owned())),
        }
    }
}

async fn read_head(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut part = [0; 1024];
    while answer.len() < MOST_ANSWER && !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut part).await? {
            0 => break,
            length => answer.extend_from_slice(&part[..length]),
        }
    }
    Ok(answer)
}

fn status_code(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|b| *b == b'\r' || *b == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    words
        .next()
        .filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

/// The request; nothing that a Pod says can become more than one.
fn request(action: &HTTPGetAction, to: SocketAddr) -> Result<String, String> {
    let path = action
        .path
        .as_deref()
        .filter(|p| !p.is_empty())
        .unwrap_or("/");
    let slash = if path.starts_with('/') { "" } else { "/" };
    let headers = action.http_headers.as_deref().unwrap_or_default();
    let is_own = |name: &str| headers.iter().any(|h| h.name.eq_ignore_ascii_case(name));
    let mut request = format!("GET {slash}{path} HTTP/1.1\r\nConnection: close\r\n");
    let defaults = [
        ("Host", to.to_string()),
        ("User-Agent", "kube-probe/1.37".to_owned()),
        ("Accept", "*/*".to_owned()),
    ];
    for (name, value) in defaults.iter().filter(|(name, _)| !is_own(name)) {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    for header in headers {
        request.push_str(&format!("{}: {}\r\n", header.name, header.value));
    }
    let broken = |text: &str| text.contains(|c: char| c.is_control());
    if broken(path)
        || path.contains(' ')
        || headers.iter().any(|h| broken(&h.name) || broken(&h.value))
    {
        return Err("path and headers of the probe must have no spaces or control characters in the wrong places".to_owned());
    }
    request.push_str("\r\n");
    Ok(request)
}

/// The number of a port that is given by number or by name.
fn port_number(container: &Container, port: &IntOrString) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let ports = container.ports.iter().flatten();
            let mut named = ports.filter(|p| p.name.as_deref() == Some(name));
            named
                .next()
                .map(|p| p.container_port)
                .or_else(|| name.parse().ok())
        }
    };
    let number = number
        .and_then(|n| u16::try_from(n).ok())
        .filter(|n| *n > 0);
    number.ok_or_else(|| match port {
        IntOrString::Int(number) => format!("{number} is no port"),
        IntOrString::String(name) => format!("container {} has no port \"{name}\"", container.name),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_go_by_number_or_name() {
        let container: Container = serde_json::from_value(json!({"name": "c",
            "ports": [{"name": "http", "containerPort": 8080}]}))
        .expect("a container");
        let number = |port: IntOrString| port_number(&container, &port);
        let named = |name: &str| IntOrString::String(name.to_owned());
        assert_eq!(number(IntOrString::Int(80)), Ok(80));
        assert_eq!(number(named("http")), Ok(8080));
        assert_eq!(number(named("81")), Ok(81));
        assert!(number(named("x")).is_err() && number(IntOrString::Int(0)).is_err());
    }

    #[test]
    fn requests_are_one_whatever_a_pod_says() {
        let to = "[fd00::1]:80".parse().expect("an address");
        let action = |json| serde_json::from_value::<HTTPGetAction>(json).expect("an action");
        let plain = request(&action(json!({"port": 80, "path": "live?a=b"})), to).expect("made");
        assert_eq!(
            plain,
            "GET /live?a=b HTTP/1.1\r\nConnection: close\r\nHost: [fd00::1]:80\r\n\
                           User-Agent: kube-probe/1.37\r\nAccept: */*\r\n\r\n"
        );
        let named = json!({"port": 80, "httpHeaders": [{"name": "host", "value": "a.example"}]});
        let named = request(&action(named), to).expect("made");
        assert!(
            named.ends_with("Accept: */*\r\nhost: a.example\r\n\r\n") && !named.contains("Host:")
        );
        for bad in [
            json!({"port": 80, "path": "/a\r\nX: y"}),
            json!({"port": 80, "path": "/a b"}),
            json!({"port": 80, "httpHeaders": [{"name": "a", "value": "b\nc"}]}),
        ] {
            assert!(request(&action(bad.clone()), to).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_http_has_a_status() {
        for (answer, code) in [
            ("HTTP/1.1 204 No Content\r\n\r\n", Some(204)),
            ("HTTP/1.0 500\r\n", Some(500)),
            ("", None),
            ("SSH-2.0-x\r\n", None),
            ("HTTP/1.1\r\n", None),
        ] {
            assert_eq!(status_code(answer.as_bytes()), code, "{answer}");
        }
    }
}
