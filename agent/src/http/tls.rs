//! Where the API is served over TCP: connections that may be encrypted.

use super::{BindError, caller::Caller, connection::Door};
use crate::config::ApiSettings;
use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::ring,
        pki_types::{
            CertificateDer, PrivateKeyDer,
            pem::{self, PemObject as _},
        },
    },
    server::TlsStream,
};
use tokio_util::either::Either;
use tracing::debug;

/// For all that is said before the first request.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Where more are at it, whoever has been at it the longest is cut off.
const HANDSHAKES_MAX: usize = 64;

#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("cannot read certificates from api_tls_cert_file {path}")]
    Cert {
        path: PathBuf,
        #[source]
        err: pem::Error,
    },
    #[error("api_tls_cert_file {path} has no certificate in PEM")]
    NoCert { path: PathBuf },
    #[error("cannot read a private key from api_tls_key_file {path}")]
    Key {
        path: PathBuf,
        #[source]
        err: pem::Error,
    },
    #[error("the certificate in {cert} and the private key in {key} cannot be used together")]
    Pair {
        cert: PathBuf,
        key: PathBuf,
        #[source]
        err: rustls::Error,
    },
    #[error(transparent)]
    Bind(#[from] BindError),
}

pub(crate) struct ApiListener {
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    handshakes: JoinSet<io::Result<TlsStream<TcpStream>>>,
    /// The same, in the order in which they began; some of them have ended.
    begun: VecDeque<AbortHandle>,
}

impl ApiListener {
    pub(crate) async fn bind(settings: &ApiSettings) -> Result<Self, TlsError> {
        let tls = settings.tls.as_ref();
        let acceptor = tls.map(|(cert, key)| acceptor(cert, key)).transpose()?;
        let address = settings.listen;
        let bound = TcpListener::bind(address).await;
        Ok(Self {
            listener: bound.map_err(|err| BindError::Api { address, err })?,
            acceptor,
            handshakes: JoinSet::new(),
            begun: VecDeque::new(),
        })
    }
}

fn acceptor(cert: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let unread = |err| TlsError::Cert {
        path: cert.to_owned(),
        err,
    };
    let certs = CertificateDer::pem_file_iter(cert).map_err(unread)?;
    let certs: Vec<_> = certs.collect::<Result<_, _>>().map_err(unread)?;
    if certs.is_empty() {
        return Err(TlsError::NoCert {
            path: cert.to_owned(),
        });
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|err| TlsError::Key {
        path: key.to_owned(),
        err,
    })?;
    let unfit = |err| TlsError::Pair {
        cert: cert.to_owned(),
        key: key.to_owned(),
        err,
    };
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unfit)?
        .with_no_client_auth()
        .with_single_cert(certs, private)
        .map_err(unfit)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

impl Door for ApiListener {
    type Io = Either<TcpStream, TlsStream<TcpStream>>;

    async fn open(&mut self) -> io::Result<(Self::Io, Caller)> {
        loop {
            tokio::select! {
                Some(shaken) = self.handshakes.join_next() => match shaken {
                    Ok(Ok(io)) => return Ok((Either::Right(io), Caller::Signer)),
                    Ok(Err(err)) => debug!(%err, "A connection to the API failed."),
                    Err(err) => debug!(%err, "A connection to the API was given up."),
                },
                accepted = self.listener.accept() => {
                    let (io, _) = accepted?;
                    let Some(acceptor) = self.acceptor.clone() else {
                        return Ok((Either::Left(io), Caller::Signer));
                    };
                    self.begun.retain(|begun| !begun.is_finished());
                    if self.begun.len() >= HANDSHAKES_MAX
                        && let Some(oldest) = self.begun.pop_front()
                    {
                        oldest.abort();
                    }
                    self.begun.push_back(self.handshakes.spawn(async move {
                        let shaking = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(io));
                        shaking.await.map_err(|_| io::ErrorKind::TimedOut)?
                    }));
                }
            }
        }
    }
}
