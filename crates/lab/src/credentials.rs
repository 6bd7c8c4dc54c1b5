//! Who may speak to a lab's API server and how: a certificate authority, the server's certificate,
//! a bearer token for each kind of caller, and the kubeconfig files that carry them.
//!
//! ```text
//! NAME/credentials/ca.crt          the authority; its key is never written
//! NAME/credentials/server.{crt,key}
//! NAME/credentials/tokens.csv      token,user,uid,"groups", as kube-apiserver's --token-auth-file
//! NAME/credentials/rights.json     their roles, which the API server has from the start
//! NAME/kubeconfig                  for the user: over the machine's loopback, as an administrator
//! NAME/credentials/USER.kubeconfig for the lab's daemons: over the underlay
//! ```
//!
//! Everything is made anew for each lab, is 0600, and goes with the lab's folder. A lab's API server
//! can be killed and started again: it finds the same files.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde_json::{Value, json};

use crate::error::{Context, LabError};
use crate::rights;
use crate::supervisor::ids;

/// The names under which Pods know the API server.
const SERVICE_NAMES: [&str; 5] = [
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
];

/// A caller of the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// The user with kubectl.
    Admin,
    /// The controllers.
    Controller,
    /// The sandbox runtime, which speaks for every node's kubelet.
    Runtime,
    /// The node agents.
    Agent,
    /// Seaway's controller, as in a cluster that has all others.
    Network,
}

impl Caller {
    const ALL: [Caller; 5] = [
        Caller::Admin,
        Caller::Controller,
        Caller::Runtime,
        Caller::Agent,
        Caller::Network,
    ];

    /// The name of its role.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Caller::Admin => "admin",
            Caller::Controller => "controllers",
            Caller::Runtime => "kubelets",
            Caller::Agent => "agent",
            Caller::Network => "network",
        }
    }

    /// The name by which the API server knows it.
    pub(crate) fn user(self) -> &'static str {
        match self {
            Caller::Admin => "admin",
            Caller::Controller => "system:kube-controller-manager",
            Caller::Runtime => "system:node:lab",
            Caller::Agent => "system:serviceaccount:seaway-system:seaway-agent",
            Caller::Network => "system:serviceaccount:seaway-system:seaway-controller",
        }
    }

    fn groups(self) -> &'static str {
        match self {
            Caller::Admin => "system:masters",
            Caller::Controller => "system:controllers",
            Caller::Runtime => "system:nodes",
            Caller::Agent | Caller::Network => {
                "system:serviceaccounts,system:serviceaccounts:seaway-system"
            }
        }
    }

    fn file(self) -> &'static str {
        match self {
            Caller::Admin => "admin.kubeconfig",
            Caller::Controller => "controller.kubeconfig",
            Caller::Runtime => "runtime.kubeconfig",
            Caller::Agent => "agent.kubeconfig",
            Caller::Network => "network.kubeconfig",
        }
    }
}

/// Where a lab's API server is reached.
#[derive(Clone, Debug)]
pub(crate) struct Endpoints {
    /// From the machine itself.
    pub(crate) loopback: SocketAddr,
    /// From the nodes.
    pub(crate) underlay: SocketAddr,
    /// Every address that the server's certificate must name.
    pub(crate) all: Vec<IpAddr>,
}

/// The files of one lab.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    lab: PathBuf,
}

impl Credentials {
    /// The files below the lab's folder, which need not exist yet.
    pub(crate) fn below(lab: &Path) -> Credentials {
        Credentials {
            lab: lab.to_owned(),
        }
    }

    /// Makes all of them.
    pub(crate) fn create(&self, lab_name: &str, at: &Endpoints) -> Result<(), LabError> {
        fs::create_dir_all(self.folder()).on("create", &self.folder())?;
        let authority = self.write_certificates(lab_name, at)?;
        let mut tokens = String::new();
        for caller in Caller::ALL {
            let token = ids::token()?;
            let (user, groups) = (caller.user(), caller.groups());
            tokens.push_str(&format!("{token},{user},{user},\"{groups}\"\n"));
            let server = match caller {
                Caller::Admin | Caller::Runtime => at.loopback,
                Caller::Controller | Caller::Agent | Caller::Network => at.underlay,
            };
            let config = kubeconfig(lab_name, server, &authority, caller.user(), &token);
            write_private(&self.kubeconfig(caller), config.to_string().as_bytes())?;
        }
        write_private(&self.tokens(), tokens.as_bytes())?;
        write_private(&self.rights(), rights::objects().to_string().as_bytes())
    }

    /// The kubeconfig of a caller. The one for the user lies in the lab's folder itself.
    pub(crate) fn kubeconfig(&self, caller: Caller) -> PathBuf {
        match caller {
            Caller::Admin => self.lab.join("kubeconfig"),
            other => self.folder().join(other.file()),
        }
    }

    /// The authority's certificate.
    pub(crate) fn authority(&self) -> PathBuf {
        self.folder().join("ca.crt")
    }

    /// The server's certificate, followed by the authority's.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder().join("server.crt")
    }

    /// The server's private key.
    pub(crate) fn key(&self) -> PathBuf {
        self.folder().join("server.key")
    }

    /// The tokens that the server takes.
    pub(crate) fn tokens(&self) -> PathBuf {
        self.folder().join("tokens.csv")
    }

    /// The roles of the callers, which the server has from the start.
    pub(crate) fn rights(&self) -> PathBuf {
        self.folder().join("rights.json")
    }

    fn folder(&self) -> PathBuf {
        self.lab.join("credentials")
    }

    /// Gives the authority's certificate as PEM. Its key is dropped: it signs nothing more.
    fn write_certificates(&self, lab_name: &str, at: &Endpoints) -> Result<String, LabError> {
        let made = certificates(lab_name, &at.all)
            .map_err(|e| LabError::Request(format!("make the API server's certificate: {e}")))?;
        write_private(&self.authority(), made.authority.as_bytes())?;
        let chain = format!("{}{}", made.server, made.authority);
        write_private(&self.certificate(), chain.as_bytes())?;
        write_private(&self.key(), made.key.as_bytes())?;
        Ok(made.authority)
    }
}

/// PEM texts.
struct Certificates {
    authority: String,
    server: String,
    key: String,
}

fn certificates(lab_name: &str, addresses: &[IpAddr]) -> Result<Certificates, rcgen::Error> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let name = format!("seaway lab {lab_name}");
    authority.distinguished_name.push(DnType::CommonName, name);
    let authority_key = KeyPair::generate()?;
    let authority_certificate = authority.self_signed(&authority_key)?;
    let issuer = Issuer::new(authority, authority_key);

    let names = SERVICE_NAMES.map(str::to_owned).to_vec();
    let mut server = CertificateParams::new(names)?;
    let addresses = addresses.iter().map(|a| SanType::IpAddress(*a));
    server.subject_alt_names.extend(addresses);
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let common_name = &mut server.distinguished_name;
    common_name.push(DnType::CommonName, "kube-apiserver");
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &issuer)?;
    Ok(Certificates {
        authority: authority_certificate.pem(),
        server: certificate.pem(),
        key: key.serialize_pem(),
    })
}

/// A kubeconfig. JSON is YAML, so that it needs no second writer.
fn kubeconfig(lab: &str, server: SocketAddr, ca: &str, user: &str, token: &str) -> Value {
    let name = format!("seaway-{lab}");
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {
            "server": format!("https://{server}"),
            "certificate-authority-data": base64(ca.as_bytes()),
        }}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
        "current-context": name,
    })
}

fn base64(bytes: &[u8]) -> String {
    // Kubernetes' own type for bytes is written as base64.
    let bytes = k8s_openapi::ByteString(bytes.to_vec());
    match serde_json::to_value(&bytes) {
        Ok(Value::String(text)) => text,
        _ => String::new(),
    }
}

fn write_private(path: &Path, text: &[u8]) -> Result<(), LabError> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).write(true).mode(0o600);
    options
        .open(path)
        .and_then(|mut file| file.write_all(text))
        .on("write", path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn made() -> (PathBuf, Credentials) {
        let folder = std::env::temp_dir().join(format!("seaway-cred-{}", std::process::id()));
        let credentials = Credentials::below(&folder);
        let at = Endpoints {
            loopback: ([127, 0, 0, 1], 16443).into(),
            underlay: "[fd00:5ea::ffff:1]:6443".parse().expect("valid"),
            all: vec![[127, 0, 0, 1].into(), "fd00::1".parse().expect("valid")],
        };
        credentials.create("demo", &at).expect("writes");
        (folder, credentials)
    }

    #[test]
    fn every_caller_has_a_token_of_its_own_and_files_are_private() {
        let (folder, credentials) = made();
        let tokens = fs::read_to_string(credentials.tokens()).expect("tokens");
        let mut seen = std::collections::BTreeSet::new();
        for caller in Caller::ALL {
            let path = credentials.kubeconfig(caller);
            let text = fs::read_to_string(&path).expect("kubeconfig");
            let config: Value = serde_json::from_str(&text).expect("JSON");
            let token = config["users"][0]["user"]["token"]
                .as_str()
                .expect("a token");
            assert!(token.len() >= 32 && seen.insert(token.to_owned()));
            let line = tokens.lines().find(|line| line.starts_with(token));
            assert!(line.expect("its line").contains(caller.groups()));
            let mode = fs::metadata(&path).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let key = fs::metadata(credentials.key()).expect("there");
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn six_is_written_in_brackets() {
        let at = "[fd00::1]:6443".parse().expect("valid");
        let config = kubeconfig("a", at, "ca", "u", "t");
        let cluster = &config["clusters"][0]["cluster"];
        assert_eq!(cluster["server"], "https://[fd00::1]:6443");
        assert_eq!(cluster["certificate-authority-data"], "Y2E=");
    }
}
