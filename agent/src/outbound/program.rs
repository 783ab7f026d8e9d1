//! The sink `event_command`: a program that is given one event at a time.

use super::{sink::Outcome, spool::Kept};
use crate::command::run_to_end;
use std::time::Duration;

/// How long it may take for one event before it is killed, and the event is tried again.
const RUN_TIMEOUT: Duration = Duration::from_secs(30);
/// EX_DATAERR of sysexits(3): this event will never be taken.
const REFUSED_CODE: i32 = 65;

pub(super) async fn deliver(words: &[String], batch: &[Kept]) -> Outcome {
    for kept in batch {
        let mut input = kept.json.clone();
        input.push(b'\n');
        let ended = match run_to_end(words, &input, RUN_TIMEOUT).await {
            Ok(ended) => ended,
            Err(reason) => return Outcome::Failed(reason),
        };
        if !ended.status.success() {
            let reason = ended.failure(&ended.complaint);
            return match ended.status.code() {
                Some(REFUSED_CODE) => Outcome::Refused(reason),
                _ => Outcome::Failed(reason),
            };
        }
    }
    Outcome::Taken
}
