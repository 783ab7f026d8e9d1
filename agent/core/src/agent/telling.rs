//! What people are told: each change on the board as an event, with its reason.

use super::Agent;
use crate::{
    cluster::{
        body::{Availability, Body, HostReport, HostStatus, Key, Standing, TaskReport, Verdict},
        record::{Record, Version},
        run::{Run, title},
    },
    effect::{Effect, Effects},
    event::{
        Event, EventId, Happening, HostChange, HostStanding, Said, ServiceChange, ServiceNews,
        TaskChange,
    },
    ids::{HostId, Incarnation, ServiceId, SlotIndex, TaskId},
    schedule::keeper::Decision,
    spec::options::ServiceOptions,
    task::status::TaskStatus,
    time::{Now, Wall},
};
use std::sync::Arc;

pub(super) use outward::Outward;

mod outward;

impl Agent {
    pub(super) fn tell(&mut self, now: Now, id: EventId, what: Happening, fx: &mut Effects) {
        self.events += 1;
        fx.push(Effect::Emit(Event {
            sequence: self.events,
            id,
            at: now.wall,
            ours: self.is_ours(&what),
            what,
        }));
    }

    /// Of what this agent alone finds; no other says the same.
    pub(super) fn own_id(&self, subject: [u64; 2]) -> EventId {
        let (me, life) = (self.config.host.word(), self.incarnation);
        EventId::of(OWN, &[subject[0], subject[1], me, life, self.events])
    }

    /// What this agent finds out about a host by itself.
    pub(super) fn tell_host(
        &mut self,
        now: Now,
        host: HostId,
        standing: HostStanding,
        reason: &str,
        fx: &mut Effects,
    ) {
        let id = self.own_id(halves(host.0));
        self.tell_standing(now, id, (host, standing, reason), fx);
    }

    pub(super) fn tell_standing(
        &mut self,
        now: Now,
        id: EventId,
        (host, standing, reason): (HostId, HostStanding, &str),
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
            since: self.board.said_of(host),
            reason,
        };
        self.tell(now, id, Happening::Host(change), fx);
    }

    fn tell_forgotten(
        &mut self,
        now: Now,
        host: HostId,
        (before, new): (Option<&Body>, &Record),
        fx: &mut Effects,
    ) {
        // The board no longer knows its name.
        if let Some(Body::Host(before)) = before {
            let change = HostChange {
                host,
                name: before.name.to_string(),
                now: HostStanding::Forgotten,
                since: self.board.said_of(host),
                reason: "it was forgotten".to_owned(),
            };
            self.tell(now, id_of(FORGOTTEN, new), Happening::Host(change), fx);
        }
    }

    /// Only a change is news, and only of a host that is there to be emptied.
    fn tell_directive(
        &mut self,
        now: Now,
        host: HostId,
        (before, new): (Option<&Body>, &Record),
        fx: &mut Effects,
    ) {
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
        self.tell_standing(now, id_of(DIRECTIVE, new), (host, standing, reason), fx);
    }

    /// Why a slot is given to a host, or to none; the keeper's own words.
    pub(super) fn tell_decision(&mut self, now: Now, decision: &Decision, fx: &mut Effects) {
        let Some(service) = self.board.service(decision.service) else {
            return;
        };
        let (name, index) = (service.settings.name.clone(), decision.index);
        let title = title(&name);
        let reason = &decision.slot.reason;
        let host = decision.slot.host.and_then(|host| self.board.host(host));
        let known = self.board.slot(decision.service, index);
        let stays = known.is_some_and(|(generation, _)| generation == decision.generation);
        let text = match host {
            Some(_) if stays => format!("{title} slot {index} {reason}"),
            Some((_, host)) => format!("{title} slot {index} goes to {}: {reason}", host.name),
            None => format!("{title} was unable to place slot {index}: {reason}"),
        };
        let change = ServiceChange {
            service: decision.service,
            name,
            news: match host {
                Some(_) => ServiceNews::Placed,
                None => ServiceNews::NotPlaced,
            },
            text,
        };
        let [high, low] = halves(decision.service.0);
        let id = EventId::of(SLOT, &[high, low, index.into(), decision.generation]);
        self.tell(now, id, Happening::Service(change), fx);
    }

    pub(super) fn tell_change(
        &mut self,
        now: Now,
        old: Option<&Record>,
        new: &Arc<Record>,
        fx: &mut Effects,
    ) {
        let before = old.and_then(|old| old.body.as_ref());
        match (&new.key, &new.body) {
            (Key::Task(host, task), Some(Body::Task(report))) => {
                if let Some(Body::Task(before)) = before {
                    self.tell_protection(now, *task, (before, report), new, fx);
                }
                let from = self.told_before(*task, before);
                let was = old
                    .filter(|_| before.is_some())
                    .map(|old| old.version.epoch);
                self.tell_task(now, (*host, *task), (from, was), new, fx);
            }
            (Key::Host(host), Some(Body::Host(report))) => {
                let before = match before {
                    Some(Body::Host(before)) => {
                        Some((old.map_or(0, |old| old.version.epoch), before))
                    }
                    _ => None,
                };
                let id = id_of(REPORT, new);
                self.tell_report(now, (id, *host), before, (new.version.epoch, report), fx);
            }
            (Key::Host(host), None) => self.tell_forgotten(now, *host, (before, new), fx),
            (Key::Directive(host), _) => self.tell_directive(now, *host, (before, new), fx),
            (Key::Verdict(host), Some(Body::Verdict(verdict))) => {
                let before = match (old, before) {
                    (Some(old), Some(Body::Verdict(before)))
                        if old.version.epoch == new.version.epoch =>
                    {
                        Some(before.standing)
                    }
                    _ => None,
                };
                self.tell_verdict(now, *host, before, (new, verdict), fx);
            }
            (Key::Run(id), Some(Body::Run(run))) => self.tell_run(now, *id, (new, run), fx),
            (Key::Schedule(name), _) => self.tell_schedule(now, name, (before, new), fx),
            (Key::Ticks(name), Some(Body::Ticks(ticks))) => {
                self.tell_ticks(now, name, (before, new, ticks), fx);
            }
            (Key::ServiceSettings(service), _) => {
                self.tell_settings(now, *service, (before, new), fx);
            }
            (Key::ServiceCount(service), Some(Body::ServiceCount(count))) => {
                if let Some(known) = self.board.service(*service) {
                    let name = known.settings.name.clone();
                    let text = format!("is to run {} tasks", count.desired);
                    let news = (ServiceNews::DesiredCount, text);
                    self.tell_service(now, id_of(COUNT, new), (*service, name), news, fx);
                }
            }
            _ => {}
        }
    }

    fn tell_run(&mut self, now: Now, id: ServiceId, (new, run): (&Record, &Run), fx: &mut Effects) {
        let (wanted, count) = (&run.revision, run.tasks.len());
        let text = format!("is to run {count} of {}:{}", wanted.family, wanted.revision);
        let (of, news) = ((id, run.settings.name.clone()), ServiceNews::Run);
        self.tell_service(now, id_of(RUN, new), of, (news, text), fx);
    }

    fn tell_settings(
        &mut self,
        now: Now,
        service: ServiceId,
        (before, new): (Option<&Body>, &Record),
        fx: &mut Effects,
    ) {
        let (name, news) = match (before, &new.body) {
            (Some(Body::ServiceSettings(before)), Some(Body::ServiceSettings(settings))) => {
                if before.options == settings.options {
                    return;
                }
                let text = options_text(settings.options);
                (&settings.name, (ServiceNews::Options, text))
            }
            (_, Some(Body::ServiceSettings(settings))) => {
                let text = "was created".to_owned();
                (&settings.name, (ServiceNews::Created, text))
            }
            (Some(Body::ServiceSettings(settings)), None) => {
                let text = "was deleted".to_owned();
                (&settings.name, (ServiceNews::Deleted, text))
            }
            _ => return,
        };
        let id = id_of(SETTINGS, new);
        self.tell_service(now, id, (service, name.clone()), news, fx);
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
        (new, verdict): (&Record, &Verdict),
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
        let id = match standing {
            // Two judges find the same of one life.
            HostStanding::Down => {
                let [high, low] = halves(host.0);
                EventId::of(DOWN, &[high, low, new.version.epoch])
            }
            _ => id_of(VERDICT, new),
        };
        self.tell_standing(now, id, (host, standing, &reason), fx);
        if standing == HostStanding::Down {
            self.tell_losses(now, host, (new.version, &reason), fx);
        }
    }

    pub(super) fn tell_service(
        &mut self,
        now: Now,
        id: EventId,
        (service, name): (ServiceId, String),
        (news, text): (ServiceNews, String),
        fx: &mut Effects,
    ) {
        let change = ServiceChange {
            service,
            text: format!("{} {text}", title(&name)),
            name,
            news,
        };
        self.tell(now, id, Happening::Service(change), fx);
    }

    /// For whom the service is to run another count, or another revision, and does not yet.
    fn tell_protection(
        &mut self,
        now: Now,
        task: TaskId,
        (before, report): (&TaskReport, &TaskReport),
        new: &Record,
        fx: &mut Effects,
    ) {
        let Some(label) = report.slot.as_ref().filter(|_| report.last.is_live()) else {
            return;
        };
        let minutes = |until: Wall| until.0.saturating_sub(now.wall.0).div_ceil(60_000);
        let text = match (before.protected_until, report.protected_until) {
            (before, now) if before == now => return,
            (_, Some(until)) => format!(
                "task {task} is protected from being stopped for {} min",
                minutes(until)
            ),
            (_, None) => format!("task {task} is not protected any more"),
        };
        let of = (label.service, label.service_name.to_string());
        let news = (ServiceNews::Protection, text);
        self.tell_service(now, id_of(PROTECTION, new), of, news, fx);
    }

    /// `was` is the incarnation that its host's last word of it is from.
    fn tell_task(
        &mut self,
        now: Now,
        (host, task): (HostId, TaskId),
        (from, was): (Option<TaskStatus>, Option<Incarnation>),
        record: &Arc<Record>,
        fx: &mut Effects,
    ) {
        let said = Said::new(record);
        let report = said.report();
        if from == Some(report.last) {
            let lost = was.is_some_and(|was| self.was_lost(host, was, record.version.epoch));
            if lost && report.last.is_live() {
                self.tell_found(now, (host, task), said, fx);
            }
            return;
        }
        let reason = self.reason_of(report);
        let change = task_change((host, task), from, reason, said);
        self.tell(now, task_id(task, change.to), Happening::Task(change), fx);
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
        (id, host): (EventId, HostId),
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
        self.tell_standing(now, id, (host, standing, reason), fx);
    }
}

// What an event's id is made of first; never to be given another meaning.
const OWN: u64 = 1;
const TASK: u64 = 2;
const LOST: u64 = 3;
const FOUND: u64 = 4;
const REPORT: u64 = 5;
const FORGOTTEN: u64 = 6;
const DIRECTIVE: u64 = 7;
const VERDICT: u64 = 8;
const DOWN: u64 = 9;
const SETTINGS: u64 = 10;
const COUNT: u64 = 11;
const SLOT: u64 = 12;
pub(super) const DEPLOYS: u64 = 13;
pub(super) const DEPLOYED: u64 = 14;
const RUN: u64 = 15;
const PROTECTION: u64 = 16;
pub(super) const TICK: u64 = 17;

/// Every agent learns of a record by the same version.
fn id_of(kind: u64, record: &Record) -> EventId {
    let Version { epoch, stamp } = record.version;
    let (key, author) = (record.key_hash, stamp.author.word());
    EventId::of(
        kind,
        &[key, epoch, stamp.wall.0, stamp.counter.into(), author],
    )
}

/// No task has a status twice, whatever the version of the record that says so.
fn task_id(task: TaskId, status: TaskStatus) -> EventId {
    let [high, low] = halves(task.0);
    EventId::of(TASK, &[high, low, status as u64])
}

pub(super) const fn halves(id: u128) -> [u64; 2] {
    [(id >> 64) as u64, id as u64]
}

fn task_change(
    (host, task): (HostId, TaskId),
    from: Option<TaskStatus>,
    reason: String,
    said: Said,
) -> TaskChange {
    let report = said.report();
    TaskChange {
        task,
        host,
        service: service_of(report),
        from,
        to: report.last,
        stop_code: report.stop_code,
        reason,
        said,
    }
}

fn service_of(report: &TaskReport) -> Option<(ServiceId, String, SlotIndex)> {
    let slot = report.slot.as_ref()?;
    Some((slot.service, slot.service_name.to_string(), slot.index))
}

fn options_text(options: ServiceOptions) -> String {
    let ServiceOptions {
        replace_after,
        partition,
        rebalance,
        hand_over,
        health_grace_s,
    } = options;
    let rebalance = if rebalance { "on" } else { "off" };
    format!(
        "is to be held with replace-after {replace_after}, partition {partition}, rebalance \
         {rebalance}, hand-over {hand_over}, health-check-grace-period-seconds {health_grace_s}"
    )
}
