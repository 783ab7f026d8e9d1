//! What people call an image that they want pulled, as it travels between hosts.

use crate::limits;
use serde::{Deserialize, Serialize};
use std::fmt;

/// With or without registry, tag and digest: `web`, `registry.internal/db:7`, `web@sha256:…`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{shown:?} is not an image: its name has 1 to 255 letters, digits or -_:./@")]
pub struct ImageRefError {
    /// The beginning of what was given.
    shown: String,
}

/// Of what is no image's name, so much is told.
const SHOWN_CHARS: usize = 80;

impl ImageRef {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ImageRef {
    type Error = ImageRefError;
    fn try_from(text: String) -> Result<Self, ImageRefError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_:./@".contains(&b);
        let is_bounded = (1..=limits::IMAGE_NAME_BYTES_MAX).contains(&text.len());
        match is_bounded && text.bytes().all(allowed) {
            true => Ok(Self(text)),
            false => Err(ImageRefError {
                shown: text.chars().take(SHOWN_CHARS).collect(),
            }),
        }
    }
}

impl From<ImageRef> for String {
    fn from(image: ImageRef) -> Self {
        image.0
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn only_what_can_be_an_image_is_one_also_on_the_wire() {
        let long = "x".repeat(limits::IMAGE_NAME_BYTES_MAX);
        for good in ["web", "localhost:5000/me/web_1:2", "web@sha256:00", &long] {
            let image = ImageRef::try_from(good.to_owned()).expect("it is one");
            let bytes = postcard::to_allocvec(&image).expect("it encodes");
            assert_eq!(postcard::from_bytes(&bytes), Ok(image));
        }
        let longer = format!("{long}x");
        for bad in ["", "web 1", "web\n", "--privileged=\u{e9}", &longer] {
            let bytes = postcard::to_allocvec(bad).expect("it encodes");
            assert!(postcard::from_bytes::<ImageRef>(&bytes).is_err(), "{bad}");
            assert!(ImageRef::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        let refused = ImageRef::try_from("web 1".to_owned()).expect_err("it is none");
        expect![[r#""web 1" is not an image: its name has 1 to 255 letters, digits or -_:./@"#]]
            .assert_eq(&refused.to_string());
    }
}
