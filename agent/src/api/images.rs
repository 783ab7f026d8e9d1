//! `/v1/images`: the images that this agent pulled to its host, and pulls that were asked for.

use super::{
    error::ApiError,
    hosts::find,
    request::Request,
    view::{View, seconds, set_if},
};
use crate::runtime::images::PulledImage;
use holdfast_core::{
    cluster::body::HostStatus, command::Outcome, ids::HostId, spec::image::ImageRef,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Images, and hosts by name, in one request.
const IMAGES_MAX: usize = 32;
const HOSTS_MAX: usize = 1_000;

/// An image that a host is to pull.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wanted {
    pub(crate) image: ImageRef,
    /// The host's name, for people.
    pub(crate) name: String,
    pub(crate) host: HostId,
}

pub(crate) fn images(images: &[PulledImage]) -> Value {
    let images = images.iter().map(|image| {
        let mut answer = json!({
            "id": image.id,
            "names": image.names,
            "digests": image.digests,
            "bytes": image.bytes,
            "pulledAt": seconds(image.pulled_at),
            "usedBy": image.used_by,
            "wasHere": image.was_here,
        });
        set_if(&mut answer, "lastUsedAt", image.used_at.map(seconds));
        answer
    });
    json!({"images": images.collect::<Vec<_>>()})
}

/// Each image on each host that is to pull it: those that are named, all of them, or this one.
pub(crate) fn plan_pull(view: &View<'_>, body: &Value) -> Result<Vec<Wanted>, ApiError> {
    let known = ["images", "hosts", "allHosts"];
    let request = Request::read(body, &known, &known)?;
    let wanted = "a list of 1 to 32 names of images";
    let images = request.texts("images", wanted, IMAGES_MAX)?;
    let images = images.into_iter().map(ImageRef::try_from);
    let images: Result<Vec<_>, _> = images.collect();
    let images = images.map_err(|err| ApiError::InvalidParameter(err.to_string()))?;
    let hosts = match (body.get("hosts"), request.flag("allHosts")?) {
        (None, false) => vec![view.me],
        (None, true) => view
            .board
            .hosts()
            .filter(|(_, _, report)| report.status != HostStatus::Left)
            .map(|(host, ..)| host)
            .collect(),
        (Some(_), false) => {
            let wanted = "a list of 1 to 1000 ids or names of hosts";
            let given = request.texts("hosts", wanted, HOSTS_MAX)?;
            let found = given.iter().map(|host| find(view, host));
            found.collect::<Result<_, _>>()?
        }
        (Some(_), true) => {
            let text = "hosts and allHosts exclude each other: leave one out".to_owned();
            return Err(ApiError::InvalidParameter(text));
        }
    };
    let each = images.iter().flat_map(|image| {
        hosts.iter().map(|host| Wanted {
            name: view.host_name(*host),
            host: *host,
            image: image.clone(),
        })
    });
    // Whatever was named twice is one.
    let each: BTreeSet<Wanted> = each.collect();
    Ok(each.into_iter().collect())
}

/// Said first, so that whoever is cut off knows that something is missing.
pub(crate) fn begun(wanted: &[Wanted]) -> Value {
    json!({"kind": "begun", "pulls": wanted.len()})
}

pub(crate) fn progress(wanted: &Wanted, progress: &str) -> Value {
    let mut told = told(wanted, "progress");
    told["progress"] = json!(progress);
    told
}

/// What came of it.
pub(crate) fn ended(wanted: &Wanted, outcome: &Result<Outcome, ApiError>) -> Value {
    match outcome {
        Ok(outcome) => {
            let mut told = told(wanted, "pulled");
            if let (Some(told), Value::Object(pulled)) = (told.as_object_mut(), pulled(outcome)) {
                told.extend(pulled);
            }
            told
        }
        Err(err) => {
            let mut told = told(wanted, "failed");
            told["reason"] = json!(err.to_string());
            told
        }
    }
}

pub(crate) fn pulled(outcome: &Outcome) -> Value {
    let Outcome::ImagePulled {
        digest,
        was_here,
        took,
    } = outcome
    else {
        unreachable!("other commands pull no image")
    };
    let seconds = took.as_ms() as f64 / 1_000.0;
    let mut answer = json!({"wasHere": was_here, "seconds": seconds});
    set_if(
        &mut answer,
        "digest",
        Some(digest.clone()).filter(|digest| !digest.is_empty()),
    );
    answer
}

fn told(wanted: &Wanted, kind: &str) -> Value {
    let host = json!({"id": wanted.host.to_string(), "name": wanted.name});
    json!({"kind": kind, "image": wanted.image.as_str(), "host": host})
}
