//! The agent's servers (the unix socket, which takes everything; ECS's API over TCP for whoever has
//! a key; read-only introspection; ECS's metadata endpoint for containers) and the client that
//! reaches them.
//!
//! No server knows anything of the cluster: they ask the driver through a `Handle` and
//! answer with what `api` makes of it.

mod access;
mod address;
pub(crate) mod client;
pub(crate) mod imds;
mod connection;
mod caller;
mod discovery;
mod guard;
mod hearing;
mod home;
mod ecs;
mod images;
mod keys;
mod values;
mod leave;
mod metadata;
mod recordings;
mod runs;
mod schedules;
mod sigv4;
mod tls;
pub(crate) mod frames;
mod tasks;
mod v1;
mod stream;
mod answer;
mod readers;
#[cfg(test)]
mod tests;

pub(crate) use access::{Access, KeysError, Role};
pub(crate) use address::{Address, SOCKET_DEFAULT};
pub(crate) use sigv4::hex;
pub(crate) use tasks::Reach;
pub(crate) use tls::{ApiListener, TlsError};

use crate::{
    api::{context::ApiContext, remembered::Remembered},
    gossip::{Incoming, Tunnels},
    handle::Handle,
    metadata::MetadataPaths,
    recordings::Recordings,
    runtime::{facts::Facts, images::Images},
    systemd,
    vault::Vault,
};
use readers::Readers;
use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, UnixListener, UnixStream},
    sync::{Mutex, Semaphore},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Streams of events at the same time, over both servers; they hold their connections for long.
const STREAMS_MAX: usize = 24;
/// For what was asked to be answered when the agent ends. Streams of events are cut off then.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// What every request needs.
#[derive(Clone, Debug)]
pub(crate) struct App {
    handle: Handle,
    context: Arc<ApiContext>,
    /// The members of this group may deploy, as root may.
    deploy_group: Arc<str>,
    streams: Arc<Semaphore>,
    readers: Readers,
    remembered: Arc<Remembered>,
    recordings: Recordings,
    images: Images,
    reach: Reach,
    /// Of whoever comes over TCP; `None` where nobody does.
    access: Option<Access>,
    task_streams: Arc<Semaphore>,
    vault: Vault,
    /// One is made at a time: each is as large as the board.
    recording: Arc<Mutex<()>>,
    closing: CancellationToken,
}

/// The servers of one agent, for as long as it runs.
#[derive(Debug)]
pub(crate) struct Servers {
    workers: JoinSet<()>,
    closing: CancellationToken,
}

/// A server could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    #[error("cannot serve on {path}: another agent answers there; stop it first")]
    Taken { path: PathBuf },
    #[error(
        "cannot serve on {path}: systemd holds a socket for the agent at {at}; name the same path \
         by api_socket and by ListenStream= in a drop-in of holdfast.socket"
    )]
    Elsewhere { path: PathBuf, at: String },
    #[error("cannot serve on {path}: it is there already and is not a socket; remove it first")]
    NotASocket { path: PathBuf },
    #[error(
        "cannot serve on {path}: check that its directory exists and that root may write there"
    )]
    Local {
        path: PathBuf,
        #[source]
        err: io::Error,
    },
    #[error(
        "introspection must be on a loopback address, and {address} is not: whoever reaches it may \
         read the whole cluster"
    )]
    NotLoopback { address: SocketAddr },
    #[error(
        "cannot serve the API on {address}: check api_listen, and that nothing else listens there"
    )]
    Api {
        address: SocketAddr,
        #[source]
        err: io::Error,
    },
    #[error("cannot serve introspection on {address}: check that nothing else listens there")]
    Introspection {
        address: SocketAddr,
        #[source]
        err: io::Error,
    },
}

impl App {
    pub(crate) fn new(
        handle: Handle,
        context: ApiContext,
        deploy_group: &str,
        recordings: Recordings,
        images: Images,
        vault: Vault,
    ) -> Self {
        Self {
            handle,
            context: Arc::new(context),
            deploy_group: deploy_group.into(),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            readers: Readers::default(),
            remembered: Arc::default(),
            recordings,
            reach: Reach {
                containers: images.containers(),
                tunnels: Tunnels::default(),
                denies_exec: false,
            },
            access: None,
            task_streams: Arc::new(Semaphore::new(tasks::TASK_STREAMS_MAX)),
            images,
            vault,
            recording: Arc::default(),
            closing: CancellationToken::new(),
        }
    }

    /// Serves whoever has a key, too.
    pub(crate) fn keyed(mut self, access: Option<Access>) -> Self {
        self.access = access;
        self
    }

    /// Reaches other hosts' containers, too. Without, an agent serves its own and denies nothing.
    pub(crate) fn reaching(mut self, reach: Reach) -> Self {
        self.reach = reach;
        self
    }
}

impl Servers {
    pub(crate) fn start(
        app: &App,
        local: UnixListener,
        introspection: Option<TcpListener>,
    ) -> Self {
        let mut workers = JoinSet::new();
        workers.spawn(serve_local(local, app.clone()));
        if let Some(listener) = introspection {
            workers.spawn(serve_introspection(listener, app.clone()));
        }
        let closing = app.closing.clone();
        Self { workers, closing }
    }

    /// Also answers whoever signs what they ask.
    pub(crate) fn serve_api(&mut self, app: &App, listener: ApiListener) {
        self.workers.spawn(serve_api(listener, app.clone()));
    }

    /// Also answers what peers ask.
    pub(crate) fn serve_peers(&mut self, app: &App, incoming: Incoming) {
        self.workers.spawn(serve_peers(incoming, app.clone()));
    }

    /// Also tells containers of this host what they are.
    pub(crate) fn serve_containers(&mut self, app: &App, paths: MetadataPaths, facts: Facts) {
        let endpoint = metadata::Endpoint::new(app.clone(), paths, facts);
        self.workers.spawn(endpoint.serve(app.closing.clone()));
    }

    /// Takes no more requests, and waits until those in progress are answered, within a bound.
    pub(crate) async fn close(mut self) {
        self.closing.cancel();
        let ended = async { while self.workers.join_next().await.is_some() {} };
        timeout(CLOSE_TIMEOUT, ended).await.ok();
    }
}

/// The socket of this path that systemd holds for the agent, if it does. It stays while the agent
/// is replaced, so that whoever asks meanwhile waits and is answered.
pub(crate) fn take_local(path: &Path) -> Result<Option<UnixListener>, BindError> {
    let failed = |err| BindError::Local {
        path: path.to_owned(),
        err,
    };
    let Some(listener) = systemd::unix_listener().map_err(failed)? else {
        return Ok(None);
    };
    let at = listener.local_addr().map_err(failed)?;
    match at.as_pathname() == Some(path) {
        true => Ok(Some(UnixListener::from_std(listener).map_err(failed)?)),
        false => Err(BindError::Elsewhere {
            path: path.to_owned(),
            at: format!("{at:?}"),
        }),
    }
}

/// Makes the socket. Everybody on the host may connect, since everybody may read: who may write
/// is decided for each request, by the credentials that the kernel vouches for. A stricter mode
/// of the directory above narrows that further.
pub(crate) async fn bind_local(path: &Path) -> Result<UnixListener, BindError> {
    let failed = |err| BindError::Local {
        path: path.to_owned(),
        err,
    };
    match fs::symlink_metadata(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => {}
        Err(err) => return Err(failed(err)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(BindError::NotASocket {
                path: path.to_owned(),
            });
        }
        // An agent that was killed leaves its socket behind, and nobody answers there.
        Ok(_) => match UnixStream::connect(path).await {
            Ok(_) => {
                return Err(BindError::Taken {
                    path: path.to_owned(),
                });
            }
            Err(_) => fs::remove_file(path).map_err(failed)?,
        },
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).map_err(failed)?;
    Ok(listener)
}

pub(crate) async fn bind_introspection(address: SocketAddr) -> Result<TcpListener, BindError> {
    if !address.ip().is_loopback() {
        return Err(BindError::NotLoopback { address });
    }
    let bound = TcpListener::bind(address).await;
    bound.map_err(|err| BindError::Introspection { address, err })
}

/// Serves until the servers are closed; or dropped, which ends all connections.
async fn serve_local(listener: UnixListener, app: App) {
    let router = v1::routes()
        .merge(discovery::routes())
        .merge(ecs::routes())
        .merge(images::routes())
        .merge(keys::routes())
        .merge(values::routes())
        .merge(leave::routes())
        .merge(recordings::routes())
        .merge(runs::routes())
        .merge(schedules::routes())
        .merge(tasks::routes())
        .fallback(answer::no_such_path);
    let closing = app.closing.clone();
    let router = guard::harden(router).with_state(app);
    connection::serve(listener, router, closing).await;
}

/// As [`serve_local`]: ECS's operations alone, each request with a signature.
async fn serve_api(listener: ApiListener, app: App) {
    let router = ecs::routes().fallback(answer::no_such_path);
    let closing = app.closing.clone();
    let router = guard::harden(router).with_state(app);
    connection::serve(listener, router, closing).await;
}

/// As [`serve_local`]. A peer is given nothing but what it cannot read off its own board, or do
/// as well itself.
async fn serve_peers(incoming: Incoming, app: App) {
    let router = tasks::routes()
        .merge(ecs::routes())
        .fallback(answer::no_such_path);
    let closing = app.closing.clone();
    let router = guard::harden(router).with_state(app);
    connection::serve(incoming, router, closing).await;
}

/// As [`serve_local`].
async fn serve_introspection(listener: TcpListener, app: App) {
    let router = v1::routes()
        .merge(discovery::routes())
        .fallback(answer::no_such_path);
    let closing = app.closing.clone();
    let router = guard::harden(guard::read_only(router)).with_state(app);
    connection::serve(listener, router, closing).await;
}
