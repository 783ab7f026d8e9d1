//! Who tells those outside of the cluster: each host of itself and its tasks, a service's keeper of
//! the service, and of a host that is lost one of those that are left.

use super::{FOUND, LOST, halves, service_of, task_change, task_id};
use crate::{
    agent::Agent,
    cluster::{
        body::{Body, HostStatus, Key, Standing},
        record::{Record, Version},
    },
    effect::{Effect, Effects},
    event::{Event, EventId, Happening, HostStanding, LossFate, Said, TaskLoss},
    ids::{HostId, Incarnation, TaskId},
    rng,
    time::{Mono, Now, Span, Wall},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// For how long after a loss its teller may be lost, too, and another tells of it once more.
const RETOLD_FOR: Span = Span::from_secs(60);
/// What a host said so shortly before it fell silent, it may not have told outside any more.
const LAST_WORDS_MS: u64 = 10_000;

/// What an agent keeps in mind of the hosts that were lost a moment ago: at most all there are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(in crate::agent) struct Outward {
    lost: BTreeMap<HostId, (Mono, Version)>,
}

impl Outward {
    fn tidy(&mut self, now: Mono) {
        self.lost.retain(|_, (since, _)| now < *since + RETOLD_FOR);
    }
}

impl Agent {
    pub(super) fn is_ours(&self, what: &Happening) -> bool {
        let (me, joined) = (self.config.host, self.joining.is_done());
        match what {
            Happening::Task(change) => change.host == me,
            Happening::Loss(loss) => match loss.fate {
                LossFate::Lost => joined && self.is_heir(loss.host),
                LossFate::Found => loss.host == me,
            },
            Happening::Host(change) => match change.now {
                HostStanding::Suspect
                | HostStanding::Impaired
                | HostStanding::Down
                | HostStanding::Forgotten => joined && self.is_heir(change.host),
                HostStanding::Up
                | HostStanding::Restarting
                | HostStanding::Draining
                | HostStanding::Leaving
                | HostStanding::Left => change.host == me,
            },
            Happening::Clash(_) => true,
            Happening::Service(change) => {
                let keeper = self.index.keeper_of(change.service);
                // Of a service that was deleted, or has just come, nobody is the keeper.
                let mine = || self.is_first(change.service.word(), |_| false);
                joined && keeper.map_or_else(mine, |keeper| keeper == me)
            }
        }
    }

    /// Whether this host, of those that are there, is the one to tell of another that is not.
    fn is_heir(&self, gone: HostId) -> bool {
        gone != self.config.host && self.is_first(gone.word(), |host| host == gone)
    }

    /// Of the hosts that are up and stay, this one has the highest rendezvous score for the
    /// subject. The first that has a higher one settles it, which most hosts find soon.
    fn is_first(&self, subject: u64, is_out: impl Fn(HostId) -> bool) -> bool {
        let (me, stays) = (self.config.host, self.status == HostStatus::Active);
        let mine = rng::score(subject, me.word());
        !self.board.hosts().any(|(host, _, report)| {
            host != me
                && (!stays || rng::score(subject, host.word()) > mine)
                && report.caught_up
                && report.status == HostStatus::Active
                && self.board.is_up(host)
                && !is_out(host)
        })
    }

    /// A host is down: what ran there is lost, as far as anybody can know. Whatever it was itself
    /// to tell of others that were lost, its heirs tell.
    pub(super) fn tell_losses(
        &mut self,
        now: Now,
        host: HostId,
        (judged, why): (Version, &str),
        fx: &mut Effects,
    ) {
        if host == self.config.host {
            return;
        }
        for loss in self.losses(host, judged, why) {
            let id = loss_id(LOST, loss.task, loss.incarnation);
            self.tell(now, id, Happening::Loss(loss), fx);
        }
        if !self.joining.is_done() {
            return;
        }
        if self.is_heir(host) {
            self.retell_last_words(now, host, fx);
        }
        self.outward.tidy(now.mono);
        let inherited = self.outward.lost.iter().filter(|(gone, _)| {
            let score = |host: HostId| rng::score(gone.word(), host.word());
            score(host) > score(self.config.host) && self.is_heir(**gone)
        });
        let inherited: Vec<_> = inherited
            .map(|(gone, (_, judged))| (*gone, *judged))
            .collect();
        for (gone, judged) in inherited {
            self.retell_losses(now, gone, judged, fx);
        }
        self.outward.lost.insert(host, (now.mono, judged));
    }

    fn losses(&self, host: HostId, judged: Version, why: &str) -> Vec<TaskLoss> {
        let live = self.live_records(host);
        let loss = |(task, record): (TaskId, &Arc<Record>)| {
            let said = Said::new(record);
            let report = said.report();
            TaskLoss {
                task,
                host,
                service: service_of(report),
                last: report.last,
                fate: LossFate::Lost,
                incarnation: judged.epoch,
                since: judged.stamp.wall,
                reason: format!("its host is down: {why}"),
                said,
            }
        };
        live.map(loss).collect()
    }

    fn live_records(&self, host: HostId) -> impl Iterator<Item = (TaskId, &Arc<Record>)> {
        let tasks = self
            .board
            .tasks_on(host)
            .filter(|(_, report)| report.last.is_live());
        tasks.filter_map(move |(task, _)| Some((task, self.board.record(&Key::Task(host, task))?)))
    }

    fn retell_losses(&self, now: Now, host: HostId, judged: Version, fx: &mut Effects) {
        let silent = self.board.silent_ms(host);
        let why = format!("silent for {silent} ms, as its observers agreed");
        for loss in self.losses(host, judged, &why) {
            let id = loss_id(LOST, loss.task, loss.incarnation);
            self.retell(now, id, Happening::Loss(loss), fx);
        }
        self.retell_last_words(now, host, fx);
    }

    /// Tasks whose end the host had just said: whether it told it outside, nobody knows.
    fn retell_last_words(&self, now: Now, host: HostId, fx: &mut Effects) {
        let since = now.wall.0.saturating_sub(LAST_WORDS_MS);
        let since = Wall(since.saturating_sub(self.board.silent_ms(host)));
        let ended = self.board.tasks_on(host).filter(|(_, report)| {
            !report.last.is_live() && report.stopped_at.is_some_and(|at| at >= since)
        });
        for (task, report) in ended {
            if let Some(record) = self.board.record(&Key::Task(host, task)) {
                let reason = self.reason_of(report);
                let change = task_change((host, task), None, reason, Said::new(record));
                self.retell(now, task_id(task, change.to), Happening::Task(change), fx);
            }
        }
    }

    fn retell(&self, now: Now, id: EventId, what: Happening, fx: &mut Effects) {
        fx.push(Effect::Retell(Event {
            sequence: self.events,
            id,
            at: now.wall,
            ours: true,
            what,
        }));
    }

    /// Whether a task was told lost that its host last spoke of in the life `was`, and does again
    /// in the life `is`.
    pub(super) fn was_lost(&self, host: HostId, was: Incarnation, is: Incarnation) -> bool {
        let verdict = self.board.record(&Key::Verdict(host));
        verdict.is_some_and(|verdict| {
            let down = matches!(&verdict.body, Some(Body::Verdict(said))
                if said.standing == Standing::Down);
            down && (was..is).contains(&verdict.version.epoch)
        })
    }

    pub(super) fn tell_found(
        &mut self,
        now: Now,
        (host, task): (HostId, TaskId),
        said: Said,
        fx: &mut Effects,
    ) {
        let version = said.record().version;
        let loss = TaskLoss {
            task,
            host,
            service: service_of(said.report()),
            last: said.report().last,
            fate: LossFate::Found,
            incarnation: version.epoch,
            since: version.stamp.wall,
            reason: "its host is back, and it still runs".to_owned(),
            said,
        };
        let id = loss_id(FOUND, task, version.epoch);
        self.tell(now, id, Happening::Loss(loss), fx);
    }
}

fn loss_id(kind: u64, task: TaskId, incarnation: Incarnation) -> EventId {
    let [high, low] = halves(task.0);
    EventId::of(kind, &[high, low, incarnation])
}
