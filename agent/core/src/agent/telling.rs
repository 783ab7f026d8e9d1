//! What people are told: each change on the board as an event, with its reason.

use super::Agent;
use crate::{
    cluster::{
        body::{Body, HostReport, HostStatus, Key, TaskReport},
        record::Record,
    },
    effect::{Effect, Effects},
    event::{Event, Happening, HostChange, HostStanding, ServiceChange, TaskChange},
    ids::{HostId, ServiceId, TaskId},
    schedule::keeper::Decision,
    time::Now,
};

impl Agent {
    fn tell(&mut self, now: Now, what: Happening, fx: &mut Effects) {
        self.events += 1;
        fx.push(Effect::Emit(Event {
            sequence: self.events,
            at: now.wall,
            what,
        }));
    }

    pub(super) fn tell_host(
        &mut self,
        now: Now,
        host: HostId,
        standing: HostStanding,
        reason: &str,
        fx: &mut Effects,
    ) {
        let name = self
            .board
            .host(host)
            .map_or_else(String::new, |(_, r)| r.name.clone());
        let reason = reason.to_owned();
        let change = HostChange {
            host,
            name,
            now: standing,
            reason,
        };
        self.tell(now, Happening::Host(change), fx);
    }

    /// Why a slot is given to a host, or to none; the keeper's own words.
    pub(super) fn tell_decision(&mut self, now: Now, decision: &Decision, fx: &mut Effects) {
        let Some(service) = self.board.service(decision.service) else {
            return;
        };
        let (name, index) = (service.settings.name.clone(), decision.index);
        let reason = &decision.slot.reason;
        let host = decision.slot.host.and_then(|host| self.board.host(host));
        let text = match host {
            Some((_, host)) => format!(
                "(service {name}) slot {index} goes to {}: {reason}",
                host.name
            ),
            None => format!("(service {name}) was unable to place slot {index}: {reason}"),
        };
        let change = ServiceChange {
            service: decision.service,
            name,
            text,
        };
        self.tell(now, Happening::Service(change), fx);
    }

    pub(super) fn tell_change(
        &mut self,
        now: Now,
        old: Option<&Record>,
        new: &Record,
        fx: &mut Effects,
    ) {
        let before = old.and_then(|old| old.body.as_ref());
        match (&new.key, &new.body) {
            (Key::Task(host, task), Some(Body::Task(report))) => {
                let before = match before {
                    Some(Body::Task(before)) => Some(before),
                    _ => None,
                };
                self.tell_task(now, (*host, *task), before, report, fx);
            }
            (Key::Host(host), Some(Body::Host(report))) => {
                let before = match before {
                    Some(Body::Host(before)) => {
                        Some((old.map_or(0, |old| old.version.epoch), before))
                    }
                    _ => None,
                };
                self.tell_report(now, *host, before, (new.version.epoch, report), fx);
            }
            (Key::Verdict(host), Some(Body::Verdict(verdict))) if self.board.is_down(*host) => {
                let (votes, silent) = (verdict.votes.len(), verdict.silent_ms);
                let reason = format!("silent for {silent} ms, as {votes} of its observers agree");
                let told = matches!(old, Some(old) if old.version.epoch == new.version.epoch);
                if !told {
                    self.tell_host(now, *host, HostStanding::Down, &reason, fx);
                }
            }
            (Key::ServiceSettings(service), Some(Body::ServiceSettings(settings))) => {
                let name = settings.name.clone();
                self.tell_service(now, *service, name, "was created".to_owned(), fx);
            }
            (Key::ServiceSettings(service), None) => {
                if let Some(Body::ServiceSettings(settings)) = before {
                    let name = settings.name.clone();
                    self.tell_service(now, *service, name, "was deleted".to_owned(), fx);
                }
            }
            (Key::ServiceCount(service), Some(Body::ServiceCount(count))) => {
                if let Some(known) = self.board.service(*service) {
                    let name = known.settings.name.clone();
                    let text = format!("is to run {} tasks", count.desired);
                    self.tell_service(now, *service, name, text, fx);
                }
            }
            (Key::ServiceRevision(service), Some(Body::ServiceRevision(revision))) => {
                if let Some(known) = self.board.service(*service) {
                    let name = known.settings.name.clone();
                    let text = format!("is to run {}:{}", revision.family, revision.revision);
                    self.tell_service(now, *service, name, text, fx);
                }
            }
            _ => {}
        }
    }

    fn tell_service(
        &mut self,
        now: Now,
        service: ServiceId,
        name: String,
        text: String,
        fx: &mut Effects,
    ) {
        let text = format!("(service {name}) {text}");
        self.tell(
            now,
            Happening::Service(ServiceChange {
                service,
                name,
                text,
            }),
            fx,
        );
    }

    fn tell_task(
        &mut self,
        now: Now,
        (host, task): (HostId, TaskId),
        before: Option<&TaskReport>,
        report: &TaskReport,
        fx: &mut Effects,
    ) {
        let from = before.map(|before| before.last);
        if from == Some(report.last) {
            return;
        }
        let slot = report.slot.as_ref();
        let change = TaskChange {
            task,
            host,
            service: slot.map(|slot| (slot.service, slot.service_name.clone(), slot.index)),
            from,
            to: report.last,
            stop_code: report.stop_code,
            reason: self.reason_of(report),
        };
        self.tell(now, Happening::Task(change), fx);
    }

    /// Why a task ended or, of one that goes on, why there is one.
    fn reason_of(&self, report: &TaskReport) -> String {
        if !report.stopped_reason.is_empty() {
            return report.stopped_reason.clone();
        }
        let slot = report
            .slot
            .as_ref()
            .and_then(|slot| self.board.slot(slot.service, slot.index));
        slot.map_or_else(
            || "it was found here".to_owned(),
            |(_, slot)| slot.reason.clone(),
        )
    }

    fn tell_report(
        &mut self,
        now: Now,
        host: HostId,
        before: Option<(u64, &HostReport)>,
        (epoch, report): (u64, &HostReport),
        fx: &mut Effects,
    ) {
        let (standing, reason) = match before {
            None => (HostStanding::Up, "it registered"),
            Some((_, before)) if before.status != report.status => match report.status {
                HostStatus::Active => (HostStanding::Up, "its agent is back"),
                HostStatus::Restarting => (HostStanding::Restarting, "its agent is stopping"),
            },
            Some((then, _)) if then != epoch => (HostStanding::Up, "it began a new incarnation"),
            Some(_) => return,
        };
        self.tell_host(now, host, standing, reason, fx);
    }
}
