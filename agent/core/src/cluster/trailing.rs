//! The wire form of a body's last field that earlier versions did not write: nothing at all while
//! it says nothing, so that they read what is written without it, and we read what they wrote.
//!
//! For `#[serde(with = "trailing")]`, on the last field of a body alone.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub fn serialize<T, S>(field: &T, serializer: S) -> Result<S::Ok, S::Error>
where
    T: Serialize + Default + PartialEq,
    S: Serializer,
{
    match *field == T::default() {
        true => serializer.serialize_unit(),
        false => field.serialize(serializer),
    }
}

/// # Errors
/// None: what cannot be read is taken for absent, and as the body is then another one than was
/// read, its record is kept as it came, not understood.
pub fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default,
    D: Deserializer<'de>,
{
    Ok(T::deserialize(deserializer).unwrap_or_default())
}
