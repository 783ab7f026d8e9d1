//! Descriptions of large services, kept as they were written down for as long as they are true.

use super::{services::service_json, view::View};
use holdfast_core::{
    cluster::board::{Service, Trace},
    ids::ServiceId,
};
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// To describe one of fewer tasks takes no longer than to write down what was kept of it.
const TASKS_MIN: u32 = 100;

/// As many as there are of that size among 10,000 tasks; with 100 events each they take 3 MiB.
const SERVICES_MAX: usize = 100;

/// What one agent keeps.
#[derive(Debug, Default)]
pub(crate) struct Remembered(Mutex<BTreeMap<ServiceId, Written>>);

#[derive(Debug)]
struct Written {
    trace: Trace,
    json: Arc<RawValue>,
}

pub(crate) fn written(value: &Value) -> Arc<RawValue> {
    let json = to_raw_value(value);
    json.expect("it can be written down").into()
}

/// A service as ECS describes it, written down.
pub(crate) fn service_written(view: &View<'_>, service: &Service<'_>) -> Arc<RawValue> {
    let write = || written(&service_json(view, service));
    if service.desired < TASKS_MIN {
        return write();
    }
    // All of it follows from the board and from what an agent's ARNs are made of.
    let trace = view.board.trace(service.id);
    if let Some(json) = view.remembered.find(service.id, &trace) {
        return json;
    }
    let json = write();
    view.remembered.keep(service.id, trace, Arc::clone(&json));
    json
}

impl Remembered {
    fn find(&self, service: ServiceId, trace: &Trace) -> Option<Arc<RawValue>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let written = kept.get(&service)?;
        (written.trace == *trace).then(|| Arc::clone(&written.json))
    }

    fn keep(&self, service: ServiceId, trace: Trace, json: Arc<RawValue>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= SERVICES_MAX && !kept.contains_key(&service) {
            // Whichever: it is described anew when it is asked for.
            kept.pop_first();
        }
        kept.insert(service, Written { trace, json });
    }
}
