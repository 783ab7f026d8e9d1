//! Checks from outside: does a container take connections, does it answer HTTP well?

use super::{
    docker::{Shared, lock},
    operations,
};
use crate::http::{Address, client};
use bollard::models::ContainerInspectResponse;
use bytes::Bytes;
use holdfast_core::{ids::RuntimeId, spec::health::NetProbe, time::Span};
use http_body_util::Full;
use hyper::{Request, header};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::time::timeout;

/// The error says in a few words what was found. `None`: nothing was found out, as Docker does not
/// say where the container is, which is no fault of the container's.
pub(crate) async fn check(
    shared: &Shared,
    runtime_id: RuntimeId,
    probe: &NetProbe,
    limit: Span,
) -> Option<Result<(), String>> {
    let limit = Duration::from_micros(limit.0);
    let outcome = timeout(limit, async {
        let address = address(shared, runtime_id).await?;
        Some(ask(SocketAddr::new(address, probe.port), probe).await)
    });
    outcome.await.unwrap_or_else(|_| {
        let is_known = lock(&shared.addresses).contains_key(&runtime_id);
        let seconds = limit.as_secs();
        let silent = format!("no answer at port {} within {seconds} s", probe.port);
        is_known.then_some(Err(silent))
    })
}

/// Where the container is reached from the host: asked of Docker once in each run.
async fn address(shared: &Shared, runtime_id: RuntimeId) -> Option<IpAddr> {
    let known = lock(&shared.addresses).get(&runtime_id).copied();
    if known.is_some() {
        return known;
    }
    let inspected = operations::inspect(shared, &runtime_id.to_string()).await;
    let inspected = inspected.ok()?;
    // What is in the network of another one is reached at that one's address.
    let holder = match mode(&inspected).strip_prefix("container:") {
        Some(holder) => operations::inspect(shared, holder).await.ok()?,
        None => inspected,
    };
    let found = address_of(&holder)?;
    lock(&shared.addresses).insert(runtime_id, found);
    Some(found)
}

fn mode(inspected: &ContainerInspectResponse) -> &str {
    let host = inspected.host_config.as_ref();
    let mode = host.and_then(|host| host.network_mode.as_deref());
    mode.unwrap_or_default()
}

fn address_of(inspected: &ContainerInspectResponse) -> Option<IpAddr> {
    if mode(inspected) == "host" {
        return Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let settings = inspected.network_settings.as_ref()?;
    let networks = settings.networks.as_ref()?.values();
    let mut addresses = networks.filter_map(|network| network.ip_address.as_deref());
    addresses.find_map(|address| address.parse().ok())
}

async fn ask(address: SocketAddr, probe: &NetProbe) -> Result<(), String> {
    let Some(path) = &probe.path else {
        let connected = client::knock(address).await;
        return connected.map_err(|err| format!("port {}: {err}", probe.port));
    };
    let request = Request::get(path)
        .header(header::USER_AGENT, "holdfast-health-check")
        .header(header::CONNECTION, "close");
    let answer = client::send(&Address::Tcp(address), request, Full::<Bytes>::default()).await;
    let answer = answer.map_err(|err| format!("GET {path} at port {}: {err}", probe.port))?;
    let status = answer.status();
    match status.is_success() || status.is_redirection() {
        true => Ok(()),
        false => Err(format!(
            "GET {path} at port {} answers {status}",
            probe.port
        )),
    }
}
