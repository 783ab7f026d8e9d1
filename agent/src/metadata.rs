//! Where a container asks what it is, and the secret in the path that makes it that container.

mod own_address;
mod pace;
mod path;
mod files;

pub(crate) use files::{FILE_NAME, MetadataFiles};
pub(crate) use own_address::{AddressError, have};
pub(crate) use pace::Pace;
pub(crate) use path::{MetadataPaths, Secret};
