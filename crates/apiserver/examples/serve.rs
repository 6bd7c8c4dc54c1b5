//! Runs the API server on loopback with fresh certificates and writes a kubeconfig for it:
//! `cargo run -p seaway-apiserver --example serve -- DIRECTORY [PORT]`.
//!
//! For trying things out; the lab runs the server by itself.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use seaway_apiserver::{Config, Limits, TlsFiles};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().ok_or("usage: serve DIRECTORY [PORT]")?);
    let port: u16 = arguments.next().map_or(Ok(0), |port| port.parse())?;
    std::fs::create_dir_all(&directory)?;
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let address = listener.local_addr()?;
    let tls = certificate(&directory)?;
    let tokens = directory.join("tokens.csv");
    std::fs::write(&tokens, "example,admin,1,\"system:masters\"\n")?;
    let kubeconfig = directory.join("kubeconfig");
    std::fs::write(&kubeconfig, self::kubeconfig(&tls.cert, address.port())?)?;
    let config = Config {
        listeners: vec![listener],
        tls,
        tokens,
        service_cidrs: vec!["10.96.0.0/16".parse()?, "fd00:5ea:96::/112".parse()?],
        node_ports: 30000..=32767,
        advertise: vec![([192, 0, 2, 1], address.port()).into()],
        pod_logs: Some(directory.join("pods")),
        namespaces: Vec::new(),
        objects: None,
        audit_log: None,
        containers: None,
        limits: Limits::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(seaway_apiserver::serve(config, std::future::pending()))?;
    Ok(())
}

fn certificate(directory: &Path) -> Result<TlsFiles, Box<dyn std::error::Error>> {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names)?;
    let files = TlsFiles {
        cert: directory.join("server.crt"),
        key: directory.join("server.key"),
    };
    std::fs::write(&files.cert, made.cert.pem())?;
    std::fs::write(&files.key, made.signing_key.serialize_pem())?;
    Ok(files)
}

fn kubeconfig(certificate: &Path, port: u16) -> Result<String, Box<dyn std::error::Error>> {
    let encoded = base64::engine::general_purpose::STANDARD.encode(std::fs::read(certificate)?);
    Ok(format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: example\n\
         clusters:\n- name: example\n  cluster:\n    server: https://127.0.0.1:{port}\n    \
         certificate-authority-data: {encoded}\n\
         users:\n- name: example\n  user:\n    token: example\n\
         contexts:\n- name: example\n  context:\n    cluster: example\n    user: example\n"
    ))
}
