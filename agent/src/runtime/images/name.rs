//! What an image is called: the registry that it is in, and its name as Docker itself writes it.

use holdfast_core::ids::ImageDigest;
use std::fmt;

/// Docker's own registry, which a name without one means.
pub(crate) const DOCKER_HUB: &str = "docker.io";

/// The name of an image with its tag or digest; two ways to write one image are one name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ImageName {
    registry: String,
    /// Without tag and digest, as Docker shows it: `web`, `me/web`, `localhost:5000/web`.
    repository: String,
    version: Version,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    Tag(String),
    Digest(String),
}

impl ImageName {
    /// Never fails: a name that is none is refused by Docker, in its own words.
    pub(crate) fn of(text: &str) -> Self {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        let last = name.rfind('/').map_or(0, |slash| slash + 1);
        let colon = name[last..].find(':').map(|colon| last + colon);
        let (name, tag) = match colon {
            Some(colon) => (&name[..colon], Some(&name[colon + 1..])),
            None => (name, None),
        };
        let (registry, repository) = split_registry(name);
        Self {
            registry,
            repository,
            version: match (digest, tag) {
                (Some(digest), _) => Version::Digest(digest.to_owned()),
                (None, tag) => Version::Tag(tag.unwrap_or("latest").to_owned()),
            },
        }
    }

    pub(crate) fn registry(&self) -> &str {
        &self.registry
    }

    pub(crate) fn repository(&self) -> &str {
        &self.repository
    }

    /// It always means the same bytes.
    pub(crate) const fn is_by_digest(&self) -> bool {
        matches!(self.version, Version::Digest(_))
    }

    /// The digest that it is called by.
    pub(crate) fn digest(&self) -> Option<ImageDigest> {
        match &self.version {
            Version::Digest(digest) => digest.parse().ok(),
            Version::Tag(_) => None,
        }
    }

    /// Whether `meant` is this image; without tag and digest it is all of its repository.
    pub(crate) fn is_among(&self, meant: &str) -> bool {
        let last = meant.rsplit('/').next().unwrap_or(meant);
        let other = Self::of(meant);
        match last.contains([':', '@']) {
            true => *self == other,
            false => self.repository == other.repository,
        }
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Version::Tag(tag) => write!(f, "{}:{tag}", self.repository),
            Version::Digest(digest) => write!(f, "{}@{digest}", self.repository),
        }
    }
}

/// Docker's rule: what is before the first slash is a registry if it looks like a machine.
fn split_registry(name: &str) -> (String, String) {
    let hub = |path: &str| {
        let path = path.strip_prefix("library/").unwrap_or(path);
        (DOCKER_HUB.to_owned(), path.to_owned())
    };
    match name.split_once('/') {
        Some((first, rest)) if is_docker_hub(first) => hub(rest),
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => {
            (first.to_owned(), name.to_owned())
        }
        _ => hub(name),
    }
}

pub(crate) fn is_docker_hub(registry: &str) -> bool {
    [DOCKER_HUB, "index.docker.io", "registry-1.docker.io"].contains(&registry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_written_as_docker_writes_it_and_knows_its_registry() {
        for (text, registry, written) in [
            ("web", "docker.io", "web:latest"),
            ("library/web:1", "docker.io", "web:1"),
            ("docker.io/library/web", "docker.io", "web:latest"),
            ("index.docker.io/me/web:1", "docker.io", "me/web:1"),
            ("me/web", "docker.io", "me/web:latest"),
            ("localhost/web", "localhost", "localhost/web:latest"),
            (
                "localhost:5000/web",
                "localhost:5000",
                "localhost:5000/web:latest",
            ),
            ("a.example/b/web:1", "a.example", "a.example/b/web:1"),
            ("web@sha256:00", "docker.io", "web@sha256:00"),
            (
                "[::1]:5000/web:1@sha256:00",
                "[::1]:5000",
                "[::1]:5000/web@sha256:00",
            ),
        ] {
            let name = ImageName::of(text);
            assert_eq!(
                (name.registry(), name.to_string().as_str()),
                (registry, written)
            );
            assert_eq!(ImageName::of(&name.to_string()), name, "{text}");
            assert_eq!(name.is_by_digest(), text.contains('@'), "{text}");
        }
    }

    #[test]
    fn a_bare_name_means_all_tags_of_its_repository() {
        let name = ImageName::of("localhost:5000/web:1");
        for (meant, is) in [
            ("localhost:5000/web", true),
            ("localhost:5000/web:1", true),
            ("localhost:5000/web:2", false),
            ("web", false),
            ("localhost:5000/webs", false),
        ] {
            assert_eq!(name.is_among(meant), is, "{meant}");
        }
    }
}
