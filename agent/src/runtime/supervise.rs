//! The connection to Docker: made, watched, lost and made again, for as long as the agent lives.

use super::{
    cgroups,
    docker::{DockerConfig, Engine, Shared, bounded},
    events::{self, Cursor},
    failure::CallError,
    given, gpus, images, list, metadata_file, volumes,
};
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker as Client, models::SystemVersion};
use holdfast_core::task::runtime::RuntimeEvent;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::sleep;
use tracing::{debug, info, warn};

/// Docker Engine 20.10.
const API_VERSION_MIN: ApiVersion = ApiVersion(1, 41);
/// The newest that our client library knows.
const API_VERSION_MAX: ApiVersion = ApiVersion(
    API_DEFAULT_VERSION.major_version,
    API_DEFAULT_VERSION.minor_version,
);

const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);
const PING_INTERVAL: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// One missed ping is a busy host, two in a row are a hung Docker.
const PINGS_MISSED_MAX: u32 = 2;
/// Before a full comparison that failed is tried again.
const LIST_RETRY: Duration = Duration::from_secs(1);
/// Bollard's own limit, beyond all of ours, which are shorter and differ from call to call.
const CLIENT_TIMEOUT_S: u64 = 3_600;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ApiVersion(usize, usize);

pub(crate) async fn supervise(shared: Arc<Shared>) {
    let mut retry = RETRY_MIN;
    let mut cursor = Cursor::now();
    let mut told: Option<String> = None;
    while !shared.is_abandoned() {
        let reason = match connect(&shared.config).await {
            Ok((client, engine, version)) => {
                info!(version, "Docker is available.");
                told = None;
                let since = Instant::now();
                shared.set_engine(engine);
                shared.set_client(Some(client.clone()));
                shared.tell(|_| RuntimeEvent::Available { version }).await;
                let reason = session(&shared, &client, &mut cursor).await;
                shared.set_client(None);
                if since.elapsed() > RETRY_MAX {
                    retry = RETRY_MIN;
                }
                reason
            }
            Err(reason) => reason,
        };
        // Told once, however often it is tried, until the reason is another one.
        if told.as_ref() != Some(&reason) {
            warn!(reason, "Docker is unavailable.");
            told = Some(reason.clone());
            shared.tell(|_| RuntimeEvent::Unavailable { reason }).await;
        }
        sleep(retry).await;
        retry = (retry * 2).min(RETRY_MAX);
    }
}

/// A client that speaks a version which both sides know, what it speaks to, and Docker's own
/// version; or why not.
async fn connect(config: &DockerConfig) -> Result<(Client, Engine, String), String> {
    let socket = config.socket.display().to_string();
    let path = socket.strip_prefix("unix://").unwrap_or(&socket);
    let cannot = |err: CallError| format!("cannot reach Docker at {path}: {}", err.text());
    let client = Client::connect_with_unix(path, CLIENT_TIMEOUT_S, API_DEFAULT_VERSION)
        .map_err(|err| cannot(err.into()))?;
    let version = bounded(PING_TIMEOUT, client.version())
        .await
        .map_err(cannot)?;
    let api = negotiate(&version)?;
    let client = client.with_request_modifier(move |request| amend(request, api));
    let engine = Engine {
        api: api.prefix(),
        is_podman: gpus::is_podman(&version),
    };
    Ok((client, engine, version.version.unwrap_or_default()))
}

fn negotiate(version: &SystemVersion) -> Result<ApiVersion, String> {
    let engine = version.version.as_deref().unwrap_or("of unknown version");
    let text = version.api_version.as_deref().unwrap_or_default();
    let api = ApiVersion::parse(text).ok_or_else(|| {
        format!("Docker Engine {engine} does not say which API it speaks (it says {text:?})")
    })?;
    if api < API_VERSION_MIN {
        return Err(format!(
            "Docker Engine {engine} (API {text}) is too old: \
             Holdfast needs 20.10 (API 1.41) or newer"
        ));
    }
    let least = version
        .min_api_version
        .as_deref()
        .and_then(ApiVersion::parse);
    match least {
        Some(least) if least > API_VERSION_MAX => Err(format!(
            "Docker Engine {engine} is too new: it needs API {}.{}, Holdfast speaks up to {}.{}",
            least.0, least.1, API_VERSION_MAX.0, API_VERSION_MAX.1
        )),
        _ => Ok(api.min(API_VERSION_MAX)),
    }
}

impl ApiVersion {
    fn prefix(self) -> String {
        format!("/v{}.{}", self.0, self.1)
    }

    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }
}

/// Bollard asks without a version, and would get whatever a newer Docker makes of the question; and
/// it writes credentials in a way that Docker cannot read in full.
fn amend(request: BollardRequest, api: ApiVersion) -> BollardRequest {
    let (mut parts, body) = request.into_parts();
    if let (Some(scheme), Some(authority), Some(path)) = (
        parts.uri.scheme_str(),
        parts.uri.authority(),
        parts.uri.path_and_query(),
    ) {
        let pinned = hyper::Uri::builder()
            .scheme(scheme)
            .authority(authority.as_str())
            .path_and_query(format!("{}{path}", api.prefix()))
            .build();
        parts.uri = pinned.unwrap_or(parts.uri);
    }
    images::mend_header(&mut parts.headers);
    BollardRequest::from_parts(parts, body)
}

/// Serves one connection until it fails; says why it did.
async fn session(shared: &Arc<Shared>, client: &Client, cursor: &mut Cursor) -> String {
    tokio::select! {
        reason = events::follow(shared, client, cursor) => reason,
        reason = watch(client) => reason,
        reason = keep_comparing(shared, client) => reason,
        reason = images::keep_clean(shared, client) => reason,
        never = metadata_file::keep(shared) => match never {},
    }
}

/// Pings until Docker misses too many of them in a row.
async fn watch(client: &Client) -> String {
    let mut missed = 0;
    loop {
        sleep(PING_INTERVAL).await;
        match bounded(PING_TIMEOUT, client.ping()).await {
            Ok(_) => missed = 0,
            Err(err) => {
                missed += 1;
                let reason = err.text();
                debug!(missed, reason, "Docker missed a ping.");
                if missed >= PINGS_MISSED_MAX {
                    return format!("Docker missed {missed} pings in a row: {reason}");
                }
            }
        }
    }
}

/// Compares in full when asked; returns only if nobody listens any more.
async fn keep_comparing(shared: &Arc<Shared>, client: &Client) -> String {
    loop {
        shared.list_wanted.notified().await;
        shared.ledger().begin_comparison();
        match list::list(shared, client).await {
            Ok(found) => {
                shared
                    .tell(|ledger| RuntimeEvent::Listed(ledger.end_comparison(found)))
                    .await;
                shared.started.notify_one();
                sweep(shared).await;
            }
            Err(err) => {
                let reason = err.text();
                warn!(reason, "Cannot list Docker's containers; trying again.");
                shared.list_wanted.notify_one();
                sleep(LIST_RETRY).await;
            }
        }
        if shared.is_abandoned() {
            return "the agent is stopping".to_owned();
        }
    }
}

/// What was made for tasks of which nothing is left goes, too.
async fn sweep(shared: &Arc<Shared>) {
    if let Err(err) = volumes::sweep(shared).await {
        let reason = err.text();
        debug!(reason, "Cannot look for volumes that nobody has any more.");
    }
    given::sweep(shared, |task| volumes::is_here(shared, task));
    metadata_file::sweep(shared);
    cgroups::sweep(shared.config.host, |task| volumes::is_here(shared, task));
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(engine: &str, api: &str, min_api: &str, expected: Expect) {
        let version = SystemVersion {
            version: Some(engine.to_owned()),
            api_version: Some(api.to_owned()),
            min_api_version: Some(min_api.to_owned()),
            ..SystemVersion::default()
        };
        let text = match negotiate(&version) {
            Ok(ApiVersion(major, minor)) => format!("speak {major}.{minor}"),
            Err(reason) => reason,
        };
        expected.assert_eq(&text);
    }

    #[test]
    fn both_sides_speak_the_newest_version_that_both_know() {
        check("20.10.24", "1.41", "1.12", expect!["speak 1.41"]);
        check("29.1.0", "1.52", "1.44", expect!["speak 1.52"]);
        check("40.0.0", "1.99", "1.44", expect!["speak 1.53"]);
        check(
            "19",
            "1.40",
            "1.12",
            expect![
                "Docker Engine 19 (API 1.40) is too old: Holdfast needs 20.10 (API 1.41) or newer"
            ],
        );
        check(
            "50.0.0",
            "2.10",
            "2.0",
            expect![
                "Docker Engine 50.0.0 is too new: it needs API 2.0, Holdfast speaks up to 1.53"
            ],
        );
        check(
            "odd",
            "one",
            "",
            expect![[r#"Docker Engine odd does not say which API it speaks (it says "one")"#]],
        );
    }
}
