//! API servers of one cluster: relays before the scripted server, which holds what they share. Each
//! can refuse, say nothing, answer 503, or die with its connections.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::mock::Mock;

/// What a front does with connections; those that are open end with each change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Works,
    /// Nobody listens.
    Refuses,
    /// Connections are taken, and open ones stay; nothing is said.
    Silent,
    /// Every request is answered 503.
    Unavailable,
}

/// One server.
#[derive(Clone)]
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    mode: watch::Sender<Mode>,
    accepted: Arc<AtomicUsize>,
    secure: bool,
}

impl Front {
    pub(crate) async fn of(mock: &Mock, address: &str) -> Front {
        Front::start(mock, address, None).await
    }

    /// With a certificate of this authority for these names.
    pub(crate) async fn secured(
        mock: &Mock,
        address: &str,
        authority: &Authority,
        names: &[&str],
    ) -> Front {
        Front::start(mock, address, Some(authority.acceptor(names))).await
    }

    async fn start(mock: &Mock, address: &str, tls: Option<TlsAcceptor>) -> Front {
        let listener = TcpListener::bind(address).await.expect("bound");
        let front = Front {
            address: listener.local_addr().expect("bound"),
            mode: watch::channel(Mode::Works).0,
            accepted: Arc::default(),
            secure: tls.is_some(),
        };
        tokio::spawn(front.clone().serve(listener, mock.address, tls));
        front
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// How many connections were taken.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    async fn serve(self, listener: TcpListener, to: SocketAddr, tls: Option<TlsAcceptor>) {
        let mut listener = Some(listener);
        let mut mode = self.mode.subscribe();
        loop {
            if *mode.borrow_and_update() == Mode::Refuses {
                listener = None;
                mode.changed().await.expect("kept");
                continue;
            }
            let open = match listener.take() {
                Some(open) => open,
                None => TcpListener::bind(self.address).await.expect("bound again"),
            };
            tokio::select! {
                stream = open.accept() => {
                    let stream = stream.expect("accepted").0;
                    self.accepted.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(connection(stream, to, tls.clone(), self.mode.subscribe()));
                    listener = Some(open);
                }
                _ = mode.changed() => listener = Some(open),
            }
        }
    }
}

async fn connection(
    mut stream: TcpStream,
    to: SocketAddr,
    tls: Option<TlsAcceptor>,
    mut mode: watch::Receiver<Mode>,
) {
    loop {
        let now = *mode.borrow_and_update();
        let work = async {
            match (now, &tls) {
                (Mode::Silent, _) => std::future::pending().await,
                (_, None) => serve(&mut stream, now, to).await,
                // A client may refuse the certificate.
                (_, Some(tls)) => {
                    if let Ok(mut secured) = tls.accept(&mut stream).await {
                        serve(&mut secured, now, to).await;
                    }
                }
            }
        };
        tokio::select! {
            () = work => return,
            changed = mode.changed() => {
                // What is open when the silence begins stays open.
                if changed.is_err() || *mode.borrow() != Mode::Silent {
                    return;
                }
            }
        }
    }
}

async fn serve(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), mode: Mode, to: SocketAddr) {
    // Either side may go away at any time.
    if mode == Mode::Unavailable {
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await;
        let answer = "HTTP/1.1 503 Gone\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let _ = stream.write_all(answer.as_bytes()).await;
    } else if let Ok(mut behind) = TcpStream::connect(to).await {
        let _ = copy_bidirectional(stream, &mut behind).await;
    }
}

/// Who signs the servers' certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Authority(CertifiedIssuer::self_signed(params, key).expect("signed"))
    }

    /// A folder as a Pod has it.
    pub(crate) fn service_account(&self, name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("seaway-sa-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("made");
        std::fs::write(folder.join("ca.crt"), self.0.pem()).expect("written");
        std::fs::write(folder.join("token"), "secret\n").expect("written");
        folder
    }

    fn acceptor(&self, names: &[&str]) -> TlsAcceptor {
        seaway_api::install_crypto();
        let mut params = CertificateParams::default();
        for name in names {
            params.subject_alt_names.push(match name.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName((*name).try_into().expect("a name")),
            });
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("signed");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("they belong together");
        TlsAcceptor::from(Arc::new(config))
    }
}
