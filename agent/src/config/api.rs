//! The settings of the API over TCP.

use super::{address, keys::RawConfig, path, source::ConfigError};
use std::{net::SocketAddr, path::PathBuf};

/// Where ECS's clients are served that are no users of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiSettings {
    pub(crate) listen: SocketAddr,
    pub(crate) keys_file: PathBuf,
    /// Certificates and private key; there unless `listen` is a loopback address.
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
}

pub(super) fn api(raw: &RawConfig) -> Result<Option<ApiSettings>, ConfigError> {
    let keys_file = raw.api_keys_file.as_ref().map(path).transpose()?;
    let tls = match (&raw.api_tls_cert_file, &raw.api_tls_key_file) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some((path(cert)?, path(key)?)),
        (Some(alone), None) | (None, Some(alone)) => {
            path(alone)?;
            let must = "set together with the other one of api_tls_cert_file and api_tls_key_file";
            return Err(alone.refused(must));
        }
    };
    let Some(set) = &raw.api_listen else {
        return Ok(None);
    };
    let listen = address(set)?;
    if tls.is_none() && !listen.ip().is_loopback() {
        return Err(set.not_allowed());
    }
    let keys_file = keys_file.ok_or_else(|| {
        set.refused("set together with api_keys_file (`holdfast ecs key` makes a line of it)")
    })?;
    Ok(Some(ApiSettings {
        listen,
        keys_file,
        tls,
    }))
}
