//! The paths of the metadata endpoint: one for each container, which nobody else can guess.
//!
//! They are derived from a secret of this host's, so that nothing has to be kept for each container
//! and a restarted agent knows them all.

use crate::{disk::chain, whole_file};
use holdfast_core::ids::TaskId;
use sha2::{Digest as _, Sha256};
use std::{fmt, fs, net::SocketAddr, path::Path};
use tracing::warn;

const SECRET_BYTES: usize = 32;
const HTTP_PORT: u16 = 80;

/// Of this host's alone; nothing prints it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret([u8; SECRET_BYTES]);

/// What containers are told of where they may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetadataPaths {
    pub(crate) address: SocketAddr,
    secret: Secret,
}

impl Secret {
    /// The one that is saved, or a new one. Where it cannot be saved it holds until the agent ends;
    /// containers that were made until then are then not known by their paths any more.
    pub(crate) fn open(state_dir: &Path) -> Result<Self, getrandom::Error> {
        let path = state_dir.join("metadata-secret");
        if let Ok(bytes) = fs::read(&path)
            && let Ok(secret) = bytes.try_into()
        {
            return Ok(Self(secret));
        }
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret)?;
        if let Err(err) = whole_file::replace(&path, &secret) {
            warn!(path = %path.display(), reason = %chain(&err), "Cannot save the secret of the \
                metadata endpoint: containers made now cannot use it after the next restart.");
        }
        Ok(Self(secret))
    }

    /// SHA-256 over the secret, which has a fixed length, and the container; half of it is shown,
    /// so that nothing can be appended to what was hashed.
    pub(crate) fn id_of(&self, task: TaskId, container: &str) -> String {
        let hash = Sha256::new()
            .chain_update(self.0)
            .chain_update(task.0.to_be_bytes())
            .chain_update(container)
            .finalize();
        let hex: String = hash[..16]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        // As ECS's agent writes its own, for whoever looks at that.
        let parts = [
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..],
        ];
        parts.join("-")
    }
}

impl MetadataPaths {
    pub(crate) const fn new(address: SocketAddr, secret: Secret) -> Self {
        Self { address, secret }
    }

    pub(crate) const fn secret(&self) -> &Secret {
        &self.secret
    }

    /// ECS's variables for a container.
    pub(crate) fn variables(&self, task: TaskId, container: &str) -> [(&'static str, String); 3] {
        let id = self.secret.id_of(task, container);
        let at = match self.address.port() {
            HTTP_PORT => self.address.ip().to_string(),
            _ => self.address.to_string(),
        };
        [
            (
                "ECS_CONTAINER_METADATA_URI_V4",
                format!("http://{at}/v4/{id}"),
            ),
            ("ECS_CONTAINER_METADATA_URI", format!("http://{at}/v3/{id}")),
            ("ECS_AGENT_URI", format!("http://{at}/api/{id}")),
        ]
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;
    use expect_test::expect;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn a_secret_is_made_once_and_for_its_owner_alone() {
        let dir = TestDir::new("metadata-secret");
        let secret = Secret::open(&dir).expect("there are random bytes");
        assert_eq!(Secret::open(&dir), Ok(secret.clone()));
        let path = dir.join("metadata-secret");
        let mode = fs::metadata(&path).expect("it is saved").mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&path, "cut off").expect("it can be written");
        let next = Secret::open(&dir).expect("there are random bytes");
        assert_ne!(next, secret);
    }

    #[test]
    fn each_container_has_a_path_that_follows_from_the_secret_alone() {
        let secret = Secret([7; SECRET_BYTES]);
        let paths = |port| {
            let address = ([169, 254, 170, 2], port).into();
            MetadataPaths::new(address, secret.clone())
        };
        let shown = paths(80).variables(TaskId(1), "web");
        let id = secret.id_of(TaskId(1), "web");
        let shown = shown.map(|(name, value)| format!("{name}={}", value.replace(&id, "<id>")));
        expect![[r#"
            ECS_CONTAINER_METADATA_URI_V4=http://169.254.170.2/v4/<id>
            ECS_CONTAINER_METADATA_URI=http://169.254.170.2/v3/<id>
            ECS_AGENT_URI=http://169.254.170.2/api/<id>"#]]
        .assert_eq(&shown.join("\n"));
        assert_eq!(id.len(), 36, "{id}");
        let [(_, other_port), ..] = paths(51_679).variables(TaskId(1), "web");
        assert!(
            other_port.starts_with("http://169.254.170.2:51679/v4/"),
            "{other_port}"
        );
        assert_ne!(id, secret.id_of(TaskId(1), "log"));
        assert_ne!(id, secret.id_of(TaskId(2), "web"));
        assert_ne!(id, Secret([8; SECRET_BYTES]).id_of(TaskId(1), "web"));
    }
}
