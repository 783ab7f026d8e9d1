//! What people are told: each change on the board as an event, with its reason.

use super::Agent;
use crate::{
    cluster::{
        body::{Availability, Body, HostReport, HostStatus, Key, Standing, TaskReport, Verdict},
        record::Record,
    },
    effect::{Effect, Effects},
    event::{Event, Happening, HostChange, HostStanding, ServiceChange, TaskChange},
    ids::{HostId, ServiceId, TaskId},
    schedule::keeper::Decision,
    spec::options::ServiceOptions,
    task::status::TaskStatus,
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
            .map_or_else(String::new, |(_, r)| r.name.to_string());
        let reason = reason.to_owned();
        let change = HostChange {
            host,
            name,
            now: standing,
            reason,
        };
        self.tell(now, Happening::Host(change), fx);
    }

    fn tell_forgotten(&mut self, now: Now, host: HostId, before: Option<&Body>, fx: &mut Effects) {
        // The board no longer knows its name.
        if let Some(Body::Host(before)) = before {
            let change = HostChange {
                host,
                name: before.name.to_string(),
                now: HostStanding::Forgotten,
                reason: "it was forgotten".to_owned(),
            };
            self.tell(now, Happening::Host(change), fx);
        }
    }

    /// Only a change is news, and only of a host that is there to be emptied.
    fn tell_directive(&mut self, now: Now, host: HostId, before: Option<&Body>, fx: &mut Effects) {
        let before = match before {
            Some(Body::Directive(before)) => before.availability,
            _ => Availability::Active,
        };
        let wanted = self.board.availability(host);
        if wanted == before || self.board.host(host).is_none() {
            return;
        }
        let reason = match wanted {
            Availability::Drain => "its tasks are to be moved, as was ordered",
            Availability::Active => "it is to take tasks again, as was ordered",
        };
        let standing = self.standing(host);
        self.tell_host(now, host, standing, reason, fx);
    }

    /// Why a slot is given to a host, or to none; the keeper's own words.
    pub(super) fn tell_decision(&mut self, now: Now, decision: &Decision, fx: &mut Effects) {
        let Some(service) = self.board.service(decision.service) else {
            return;
        };
        let (name, index) = (service.settings.name.clone(), decision.index);
        let reason = &decision.slot.reason;
        let host = decision.slot.host.and_then(|host| self.board.host(host));
        let known = self.board.slot(decision.service, index);
        let stays = known.is_some_and(|(generation, _)| generation == decision.generation);
        let text = match host {
            Some(_) if stays => format!("(service {name}) slot {index} {reason}"),
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
                let from = self.told_before(*task, before);
                self.tell_task(now, (*host, *task), from, report, fx);
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
            (Key::Host(host), None) => self.tell_forgotten(now, *host, before, fx),
            (Key::Directive(host), _) => self.tell_directive(now, *host, before, fx),
            (Key::Verdict(host), Some(Body::Verdict(verdict))) => {
                let before = match (old, before) {
                    (Some(old), Some(Body::Verdict(before)))
                        if old.version.epoch == new.version.epoch =>
                    {
                        Some(before.standing)
                    }
                    _ => None,
                };
                self.tell_verdict(now, *host, before, verdict, fx);
            }
            (Key::ServiceSettings(service), Some(Body::ServiceSettings(settings))) => {
                let text = match before {
                    Some(Body::ServiceSettings(before)) if before.options == settings.options => {
                        return;
                    }
                    Some(Body::ServiceSettings(_)) => options_text(settings.options),
                    _ => "was created".to_owned(),
                };
                self.tell_service(now, *service, settings.name.clone(), text, fx);
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

    fn told_before(&mut self, task: TaskId, before: Option<&Body>) -> Option<TaskStatus> {
        match before {
            Some(Body::Task(before)) => Some(before.last),
            _ => self.unsaid.remove(&task),
        }
    }

    fn tell_verdict(
        &mut self,
        now: Now,
        host: HostId,
        before: Option<Standing>,
        verdict: &Verdict,
        fx: &mut Effects,
    ) {
        let standing = verdict.standing;
        let is_news = before.map_or(standing != Standing::Cleared, |before| before != standing);
        if !is_news || self.board.judged(host) != Some(standing) {
            return;
        }
        let (votes, silent) = (verdict.votes.len(), verdict.silent_ms);
        let agreed = format!("silent for {silent} ms, as {votes} of its observers agree");
        let (standing, reason) = match standing {
            Standing::Cleared => (HostStanding::Up, "it answers again".to_owned()),
            Standing::Suspect => (HostStanding::Suspect, agreed),
            Standing::Impaired => {
                let reason = format!("its agent is {agreed}; its machine answers");
                (HostStanding::Impaired, reason)
            }
            Standing::Down => (HostStanding::Down, agreed),
        };
        self.tell_host(now, host, standing, &reason, fx);
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
        from: Option<TaskStatus>,
        report: &TaskReport,
        fx: &mut Effects,
    ) {
        if from == Some(report.last) {
            return;
        }
        let slot = report.slot.as_ref();
        let change = TaskChange {
            task,
            host,
            service: slot.map(|slot| (slot.service, slot.service_name.to_string(), slot.index)),
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
            return report.stopped_reason.to_string();
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
                HostStatus::Leaving => (HostStanding::Leaving, "it moves its tasks away, to go"),
                HostStatus::Left => (HostStanding::Left, "it has gone, by its own word"),
            },
            Some((then, _)) if then != epoch => (HostStanding::Up, "it began a new incarnation"),
            Some(_) => return,
        };
        self.tell_host(now, host, standing, reason, fx);
    }
}

fn options_text(options: ServiceOptions) -> String {
    let ServiceOptions {
        replace_after,
        partition,
        rebalance,
        hand_over,
    } = options;
    let rebalance = if rebalance { "on" } else { "off" };
    format!(
        "is to be held with replace-after {replace_after}, partition {partition}, rebalance \
         {rebalance}, hand-over {hand_over}"
    )
}
