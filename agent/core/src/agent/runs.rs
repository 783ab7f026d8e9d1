//! Runs as an agent has them: ordered here, kept to their time, and cleared up after their end.

use super::Agent;
use crate::{
    cluster::{
        board::Board,
        body::{Body, Key, ServiceRevision, ServiceSettings, StopOrder},
        namespace::cluster_of,
        run::Run,
    },
    command::{Outcome, Refusal, RunOrder},
    effect::Effects,
    ids::{ServiceId, TaskId},
    limits,
    spec::{SpecErrors, options::ServiceOptions, run::RunTask, service::DefinitionRef},
    task::status::StopCode,
    time::{Mono, Now, Span, Wall},
};

/// Why what is to run cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoOrder {
    #[error(
        "Unable to find task definition {0}; `holdfast task-definition ls` lists those that there \
         are"
    )]
    NoSuchDefinition(DefinitionRef),
    #[error("Cluster not found: there is no cluster {0:?}")]
    NoSuchCluster(String),
    #[error(transparent)]
    Invalid(#[from] SpecErrors),
}

/// What a `RunTask` input means where the board is as it is now.
///
/// # Errors
/// If its cluster or its definition is not there, or its overrides do not make a valid one of it.
pub fn run_order(
    (board, own_cluster): (&Board, &str),
    wanted: RunTask,
) -> Result<RunOrder, NoOrder> {
    let cluster = wanted.cluster.filter(|name| name != own_cluster);
    if let Some(unknown) = cluster.as_ref().filter(|name| !board.has_cluster(name)) {
        return Err(NoOrder::NoSuchCluster(unknown.clone()));
    }
    let mut definition = wanted.definition;
    let mut overridden = None;
    if let Some(overrides) = &wanted.overrides {
        let revision = board.resolve(&definition);
        let known = revision
            .as_ref()
            .and_then(|revision| Some((revision, board.definition(revision.definition)?)));
        let Some((revision, known)) = known else {
            return Err(NoOrder::NoSuchDefinition(definition));
        };
        overridden = Some(Box::new(overrides.of(known)?));
        // What was changed must not be another one by the time that it runs.
        definition.revision = Some(revision.revision);
    }
    let overrides = wanted.overrides.map(|overrides| overrides.to_json());
    Ok(RunOrder {
        definition,
        overridden,
        overrides: overrides.unwrap_or_default(),
        count: wanted.count,
        options: wanted.options,
        group: wanted.group.unwrap_or_default(),
        started_by: wanted.started_by.unwrap_or_default(),
        cluster,
        hosts: Vec::new(),
        client_token: wanted.client_token.unwrap_or_default(),
    })
}

impl Agent {
    pub(super) fn begin_run(
        &mut self,
        now: Now,
        order: RunOrder,
        fx: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        let token = &order.client_token;
        let same = |run: &Run| {
            let cluster = cluster_of(&run.settings.name);
            !token.is_empty()
                && run.settings.client_token == *token
                && cluster == order.cluster.as_deref()
        };
        if let Some((id, _)) = self.board.runs().find(|(_, run)| same(run)) {
            return Ok(Outcome::RunBegun(id));
        }
        let id = ServiceId::mint(self.config.host, &mut self.rng);
        let me = self.config.host;
        let name = |_| TaskId::mint(me, &mut self.rng);
        let tasks = (0..order.count).map(name).collect();
        let run = self.planned_run(order, (id, now.wall), tasks)?;
        self.write(now, Key::Run(id), 0, Some(Body::Run(run)), fx);
        Ok(Outcome::RunBegun(id))
    }

    /// What is to be written of a run, under this id and with these names for its tasks.
    pub(super) fn planned_run(
        &self,
        order: RunOrder,
        (id, created_at): (ServiceId, Wall),
        tasks: Vec<TaskId>,
    ) -> Result<Run, Refusal> {
        if self.board.runs().count() >= limits::RUNS_MAX {
            return Err(Refusal::Limit {
                what: "the number of runs that go on or have ended within the last hour",
                max: limits::RUNS_MAX as u64,
            });
        }
        let revision = self.resolve(&order.definition)?;
        let revision = match &order.overridden {
            Some(definition) => ServiceRevision {
                definition: definition.digest(),
                ..revision
            },
            None => revision,
        };
        Ok(Run {
            settings: ServiceSettings {
                name: Run::name(order.cluster.as_deref(), id),
                created_at,
                client_token: order.client_token,
                options: ServiceOptions::default(),
            },
            revision,
            overridden: order.overridden,
            tasks,
            options: order.options,
            group: order.group,
            started_by: order.started_by,
            overrides: order.overrides,
            hosts: order.hosts,
        })
    }

    /// All of its tasks are to stop, and none is to begin.
    pub(super) fn stop_run(
        &mut self,
        now: Now,
        id: ServiceId,
        reason: &str,
        fx: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        let run = self.board.run(id).ok_or(Refusal::NoSuchRun(id))?;
        let open = (0..).zip(&run.tasks).filter(|(index, _)| {
            let slot = self.board.slot(id, *index);
            slot.is_none_or(|(_, slot)| slot.end.is_none())
        });
        let mut stopped: Vec<TaskId> = open.map(|(_, task)| *task).collect();
        let live = self.board.tasks_of(id);
        let live = live.filter(|(_, _, report)| report.last.is_live());
        stopped.extend(live.map(|(_, task, _)| task));
        stopped.sort_unstable();
        stopped.dedup();
        for task in stopped {
            let reason = reason.to_owned();
            let order = Body::StopOrder(StopOrder { reason });
            self.write(now, Key::StopOrder(task), 0, Some(order), fx);
        }
        Ok(Outcome::RunStopped(id))
    }

    /// Nothing is known of it any more; with `force` what still runs of it stops.
    pub(super) fn remove_run(
        &mut self,
        now: Now,
        id: ServiceId,
        force: bool,
        fx: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        if self.board.run(id).is_none() {
            return Err(Refusal::NoSuchRun(id));
        }
        if self.board.run_ended_at(id).is_none() && !force {
            return Err(Refusal::StillRuns(id));
        }
        self.bury_run(now, id, fx);
        Ok(Outcome::RunRemoved(id))
    }

    fn bury_run(&mut self, now: Now, id: ServiceId, fx: &mut Effects) {
        let tasks = self.board.run(id).map(|run| run.tasks.clone());
        self.write(now, Key::Run(id), 1, None, fx);
        for task in tasks.unwrap_or_default() {
            if self.board.stop_order(task).is_some() && self.board.task(task).is_none() {
                self.write(now, Key::StopOrder(task), 0, None, fx);
            }
        }
    }

    /// To be called now and then: what has ended long ago goes; and what is left here of runs that
    /// are gone.
    pub(super) fn clear_up_runs(&mut self, now: Now, fx: &mut Effects) {
        let me = self.config.host;
        let is_over = |id: ServiceId, run: &Run| {
            let kept_ms = if run.options.remove {
                limits::REMOVED_RUN_KEPT_MS
            } else {
                limits::STOPPED_TASK_KEPT_MS
            };
            let ended_at = self.board.run_ended_at(id);
            ended_at.is_some_and(|at| now.wall.ms_since(at) > kept_ms)
        };
        let runs = self.board.runs();
        let ours = runs.filter(|(id, _)| self.index.keeper_of(*id) == Some(me));
        let over = ours.filter(|(id, run)| is_over(*id, run));
        let over: Vec<ServiceId> = over.map(|(id, _)| id).collect();
        for id in over {
            self.bury_run(now, id, fx);
        }
        let gone = self.roster.iter().filter(|task| {
            let label = task.report.slot.as_ref();
            !task.report.last.is_live()
                && label.is_some_and(|label| self.board.is_run_gone(label.service))
        });
        let gone: Vec<TaskId> = gone.map(|task| task.id).collect();
        for task in gone {
            self.roster.let_go(now, task);
        }
    }

    /// This task of ours has changed: when its time is over, if it has one.
    pub(super) fn note_timeout(&mut self, now: Now, task: TaskId) {
        let due = self.roster.get(task).and_then(|task| {
            let label = task.report.slot.as_ref()?;
            let limit = self.board.run(label.service)?.timeout()?;
            let started = task.report.started_at?;
            let ran = Span::from_ms(now.wall.ms_since(started));
            let goes_on = task.report.last.is_live() && !task.is_stopping();
            goes_on.then(|| now.mono + Span(limit.0.saturating_sub(ran.0)))
        });
        match due {
            // It stays as it was, whatever becomes of the clock that people go by.
            Some(due) => {
                self.timeouts.entry(task).or_insert(due);
            }
            None => {
                self.timeouts.remove(&task);
            }
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Mono> {
        self.timeouts.values().min().copied()
    }

    pub(super) fn on_timeouts(&mut self, now: Now, fx: &mut Effects) {
        let due = self.timeouts.iter().filter(|(_, at)| now.mono >= **at);
        let due: Vec<TaskId> = due.map(|(task, _)| *task).collect();
        for task in due {
            self.timeouts.remove(&task);
            let label = self
                .roster
                .get(task)
                .and_then(|task| task.report.slot.as_ref());
            let overtime = label.and_then(|label| self.board.run(label.service)?.overtime());
            let Some(reason) = overtime.filter(|_| !planted!(ForgetsTheTime)) else {
                continue;
            };
            self.roster
                .stop(now, task, StopCode::UserInitiated, &reason, fx);
        }
    }

    /// A run has come whose tasks may run here already.
    pub(super) fn on_run(&mut self, now: Now, id: ServiceId) {
        let ours = self.roster.iter().filter(|task| {
            let label = task.report.slot.as_ref();
            label.is_some_and(|label| label.service == id)
        });
        let ours: Vec<TaskId> = ours.map(|task| task.id).collect();
        for task in ours {
            self.note_timeout(now, task);
        }
    }
}
