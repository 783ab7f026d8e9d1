//! Which bytes the images of a deployment stand for: what the first of its tasks found.

use crate::{
    cluster::{
        board::{Board, Service},
        body::Pins,
    },
    schedule::keeper::Scope,
    task::status::TaskStatus,
};
use std::collections::BTreeMap;

/// What is to be written of the service's images, if the slots in scope tell anything new of them:
/// of several tasks that begin at once, the one of the first slot counts.
pub fn learned(board: &Board, service: Service<'_>, scope: &Scope) -> Option<Pins> {
    let definition = board.definition(service.revision.definition)?;
    let known = service.pins.map(|pins| &pins.images);
    let is_open = |name: &str| known.is_none_or(|known| !known.contains_key(name));
    let pinned = definition.containers.iter();
    let pinned = pinned.filter(|container| !container.follows_tag);
    let open: Vec<&str> = pinned
        .map(|container| container.name.as_str())
        .filter(|name| is_open(name))
        .collect();
    if open.is_empty() {
        return None;
    }
    let mut found = BTreeMap::new();
    let mut learn = |index| {
        let copies = board.copies(service.id, index);
        let counts = copies.filter(|(host, task, report)| {
            service.is_deployed(report)
                && report.last.is_live()
                && report.desired == TaskStatus::Running
                && board.is_fresh(*host, *task)
        });
        for container in counts.flat_map(|(_, _, report)| &report.containers) {
            if let Some(image) = container.image.filter(|_| open.contains(&&*container.name)) {
                found.entry(container.name.clone()).or_insert(image);
            }
        }
    };
    match scope {
        Scope::Whole => (0..service.desired).for_each(&mut learn),
        Scope::Slots(slots) => slots.range(..service.desired).copied().for_each(&mut learn),
    }
    if found.is_empty() {
        return None;
    }
    let mut images = known.cloned().unwrap_or_default();
    images.extend(found);
    Some(Pins {
        definition: service.revision.definition,
        renewals: service.revision.renewals,
        images,
    })
}
