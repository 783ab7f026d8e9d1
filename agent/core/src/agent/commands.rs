//! What people order: each command becomes records, is on disk, and then is answered.

use super::Agent;
use crate::{
    cluster::body::{Body, Key, ServiceCount, ServiceRevision, ServiceSettings, StopOrder},
    command::{Command, CommandId, Outcome, Refusal, ServiceChange},
    effect::{Effect, Effects},
    ids::{ServiceId, TaskId},
    limits,
    spec::service::DefinitionRef,
    time::Now,
};

impl Agent {
    pub(super) fn on_command(
        &mut self,
        now: Now,
        id: CommandId,
        command: Command,
        fx: &mut Effects,
    ) {
        let result = self.carry_out(now, id, command, fx);
        self.persist(fx);
        if let Some(result) = result.transpose() {
            fx.push(Effect::Reply { id, result });
        }
    }

    /// No outcome is one that comes later.
    pub(super) fn carry_out(
        &mut self,
        now: Now,
        id: CommandId,
        command: Command,
        fx: &mut Effects,
    ) -> Result<Option<Outcome>, Refusal> {
        if self.needs_board(&command) {
            self.check_caught_up(now)?;
        }
        let done = match command {
            Command::RegisterTaskDefinition(definition) => Ok(self.register(now, definition, fx)),
            Command::RetireDefinitions {
                definitions,
                delete,
            } => Ok(self.retire(now, definitions, delete, fx)),
            Command::CreateService {
                name,
                definition,
                desired,
                options,
                client_token,
            } => {
                let asked = ServiceSettings {
                    name,
                    created_at: now.wall,
                    client_token,
                    options,
                };
                self.create_service(now, asked, &definition, desired, fx)
            }
            Command::UpdateService { service, change } => {
                self.update_service(now, &service, &change, fx)
            }
            Command::DeleteService { service, force } => {
                self.delete_service(now, &service, force, fx)
            }
            Command::RunTask(order) => self.begin_run(now, *order, fx),
            Command::Tagged {
                command,
                set,
                unset,
            } => return self.make_tagged(now, (id, *command), (set, unset), fx),
            Command::Tag(changes) => self.tag(now, changes, fx),
            Command::MakeCluster(name) => self.make_cluster(now, name, fx),
            Command::DeleteCluster(name) => self.delete_cluster(now, name, fx),
            Command::StopRun { run, reason } => self.stop_run(now, run, &reason, fx),
            Command::RemoveRun { run, force } => self.remove_run(now, run, force, fx),
            Command::StopTask { task, reason } => self.stop_task(now, task, reason, fx),
            Command::ProtectTasks { tasks, minutes } => {
                Ok(self.order_protection(now, tasks, minutes, fx))
            }
            Command::DirectHosts {
                hosts,
                availability,
            } => self.direct(now, hosts, availability, fx),
            Command::ForgetHost { host, force } => self.forget_on_command(now, host, force, fx),
            Command::Leave { within, force } => {
                return self.leave(now, id, (within, force), fx).map(|()| None);
            }
            Command::PullImage { host, image } => {
                return self.have_pulled(now, id, (host, image), fx).map(|()| None);
            }
            other => self.carry_out_kept(now, other, fx),
        };
        done.map(Some)
    }

    /// What the cluster keeps: schedules, keys and values.
    fn carry_out_kept(
        &mut self,
        now: Now,
        command: Command,
        fx: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        match command {
            Command::SetSchedule { name, schedule } => self.set_schedule(now, (name, schedule), fx),
            Command::SwitchSchedule { name, enabled } => {
                self.switch_schedule(now, (name, enabled), fx)
            }
            Command::RemoveSchedule(name) => self.remove_schedule(now, name, fx),
            Command::InstallKey { key, secret } => self.install_key(now, (key, secret), fx),
            Command::UseKey { key, force } => self.use_key(now, key, force, fx),
            Command::RemoveKey { key, force } => self.remove_key(now, key, force, fx),
            Command::SetValue { value, by, restart } => {
                self.set_value(now, (value, by, restart), fx)
            }
            Command::RemoveValue { name, force } => self.remove_value(now, (name, force), fx),
            other => unreachable!("{other:?} is of something else"),
        }
    }

    /// Whoever must go, must go, whatever it knows; and what is to be here needs no others.
    fn needs_board(&self, command: &Command) -> bool {
        match command {
            Command::Leave { force, .. } => !force,
            Command::PullImage { host, .. } => *host != self.config.host,
            _ => true,
        }
    }

    fn check_caught_up(&self, now: Now) -> Result<(), Refusal> {
        if self.joining.is_done() {
            return Ok(());
        }
        let seconds = now.mono.since(self.started.mono).as_ms() / 1_000;
        Err(Refusal::NotCaughtUp { seconds })
    }

    fn create_service(
        &mut self,
        now: Now,
        asked: ServiceSettings,
        definition: &DefinitionRef,
        desired: u32,
        fx: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        if let Some(service) = self.board.service_named(&asked.name) {
            let token = &service.settings.client_token;
            return if !token.is_empty() && *token == asked.client_token {
                Ok(Outcome::Created(service.id))
            } else {
                Err(Refusal::ServiceExists(asked.name))
            };
        }
        let revision = self.resolve(definition)?;
        if self.board.services().count() >= limits::SERVICES_MAX {
            let max = limits::SERVICES_MAX as u64;
            return Err(Refusal::Limit {
                what: "the number of services",
                max,
            });
        }
        check_count(desired)?;
        let id = ServiceId::mint(self.config.host, &mut self.rng);
        self.write_count(now, id, desired, fx);
        self.write_revision(now, id, revision, fx);
        self.write(
            now,
            Key::ServiceSettings(id),
            0,
            Some(Body::ServiceSettings(asked)),
            fx,
        );
        Ok(Outcome::Created(id))
    }

    fn update_service(
        &mut self,
        now: Now,
        name: &str,
        change: &ServiceChange,
        fx: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        let (id, _) = self.find_service(name)?;
        let revision = self.changed_revision(id, change)?;
        if let Some(desired) = change.desired {
            check_count(desired)?;
            self.write_count(now, id, desired, fx);
        }
        let known = self
            .board
            .service(id)
            .map(|service| service.revision.clone());
        let revision = revision.or_else(|| known.clone().filter(|_| change.renew));
        if let (Some(revision), Some(known)) = (revision, known) {
            let revision = ServiceRevision {
                renewals: known.renewals.saturating_add(u32::from(change.renew)),
                ..revision
            };
            // To say again what is so already must not undo what somebody else says meanwhile.
            if revision != known {
                self.write_revision(now, id, revision, fx);
            }
        }
        let options = change.options;
        let settings = self
            .board
            .service(id)
            .map(|service| service.settings.clone());
        if let Some(mut settings) = settings.filter(|_| !options.is_empty()) {
            settings.options = options.of(settings.options);
            let body = Body::ServiceSettings(settings);
            self.write(now, Key::ServiceSettings(id), 0, Some(body), fx);
        }
        Ok(Outcome::Updated(id))
    }

    fn delete_service(
        &mut self,
        now: Now,
        name: &str,
        force: bool,
        fx: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        let (id, desired) = self.find_service(name)?;
        if desired > 0 && !force {
            return Err(Refusal::StillScaled {
                name: name.to_owned(),
                desired,
            });
        }
        self.delete_records(now, id, fx);
        Ok(Outcome::Deleted(id))
    }

    /// Epoch 1: a deletion stands above whatever was written at the same time elsewhere.
    pub(super) fn delete_records(&mut self, now: Now, id: ServiceId, fx: &mut Effects) {
        for key in [
            Key::ServiceSettings(id),
            Key::ServiceCount(id),
            Key::ServiceRevision(id),
            // Also where there are none yet: its keeper may be about to write them.
            Key::Pins(id),
        ] {
            self.write(now, key, 1, None, fx);
        }
    }

    fn stop_task(
        &mut self,
        now: Now,
        task: TaskId,
        reason: String,
        fx: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        let report = self.board.task(task).map(|(_, report)| report);
        // It may be one that a run has promised and nobody has begun yet.
        if report.is_none() && self.board.run_of_task(task).is_none() {
            return Err(Refusal::NoSuchTask(task));
        }
        if report.is_none_or(|report| report.last.is_live()) {
            let order = Body::StopOrder(StopOrder { reason });
            self.write(now, Key::StopOrder(task), 0, Some(order), fx);
        }
        Ok(Outcome::StopOrdered(task))
    }

    fn find_service(&self, name: &str) -> Result<(ServiceId, u32), Refusal> {
        let service = self.board.service_named(name);
        let service = service.ok_or_else(|| Refusal::NoSuchService(name.to_owned()))?;
        Ok((service.id, service.desired))
    }

    fn write_count(&mut self, now: Now, id: ServiceId, desired: u32, fx: &mut Effects) {
        let body = Body::ServiceCount(ServiceCount { desired });
        self.write(now, Key::ServiceCount(id), 0, Some(body), fx);
    }

    fn write_revision(
        &mut self,
        now: Now,
        id: ServiceId,
        revision: ServiceRevision,
        fx: &mut Effects,
    ) {
        let body = Body::ServiceRevision(revision);
        self.write(now, Key::ServiceRevision(id), 0, Some(body), fx);
    }
}

const fn check_count(desired: u32) -> Result<(), Refusal> {
    if desired > limits::DESIRED_COUNT_MAX {
        let max = limits::DESIRED_COUNT_MAX as u64;
        return Err(Refusal::Limit {
            what: "the desired count of one service",
            max,
        });
    }
    Ok(())
}
