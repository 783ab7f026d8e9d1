//! Orders given to agents, and their answers: each has exactly one, and it is durable.

use crate::{
    checks::{Asked, Wanted},
    cluster::{Cluster, SECOND},
    liveness::{ANSWER_MAX, PULL_MAX},
    workload::Order,
};
use holdfast_core::{
    cluster::{
        board::Board,
        body::{Availability, HostReport},
    },
    command::{Command, CommandId, Outcome, Refusal, RunOrder, ServiceChange},
    ids::{HostId, TaskId},
    input::Input,
    spec::{
        image::ImageRef,
        options::{OptionsChange, ServiceOptions},
        run::RunOptions,
        service::DefinitionRef,
        task_definition::TaskDefinition,
    },
    task::status::TaskStatus,
    time::Span,
};

/// What leaving takes beyond the time that the others are given: the longest stop.
const LEAVE_MAX: u64 = 150 * SECOND;

impl Cluster {
    pub(crate) fn give_order(&mut self, number: usize) {
        let (place, order) = (self.orders[number].host, self.orders[number].order.clone());
        let hosts = self.hosts.len();
        let there = (0..hosts).map(|offset| (place + offset) % hosts);
        let Some(place) = there
            .into_iter()
            .find(|place| self.hosts[*place].is_acting())
        else {
            return;
        };
        self.trace
            .line(self.now, Some(place), format_args!("order: {order}"));
        if let Some(command) = self.command_for(place, order) {
            self.ask(place, command);
        }
    }

    fn command_for(&self, place: usize, order: Order) -> Option<Command> {
        Some(match order {
            Order::Register(definition) => Command::RegisterTaskDefinition(definition),
            Order::Create {
                service,
                family,
                desired,
            } => Command::CreateService {
                name: service,
                definition: latest(&family),
                desired,
                options: ServiceOptions::default(),
                client_token: String::new(),
            },
            Order::Scale { service, desired } => Command::UpdateService {
                service,
                change: ServiceChange {
                    desired: Some(desired),
                    ..ServiceChange::default()
                },
            },
            Order::Update { service, family } => Command::UpdateService {
                service,
                change: ServiceChange {
                    definition: Some(latest(&family)),
                    ..ServiceChange::default()
                },
            },
            Order::SetValue { name, restart } => Command::SetValue {
                value: self.new_value(place, name)?,
                by: "a person".to_owned(),
                restart,
            },
            Order::RemoveValue { name } => Command::RemoveValue { name, force: true },
            Order::Delete { service } => Command::DeleteService {
                service,
                force: true,
            },
            Order::Choose { service, options } => Command::UpdateService {
                service,
                change: ServiceChange {
                    options,
                    ..ServiceChange::default()
                },
            },
            Order::Direct { host, availability } => Command::DirectHosts {
                hosts: vec![self.hosts[host].id],
                availability,
            },
            Order::Schedule { name, recurring } => recurring.command(&name),
            Order::Leave => {
                // As with hosts that are lost: enough must be left.
                let left = self.hosts.iter().filter(|host| !host.lost).count();
                if left <= (self.hosts.len() / 2).max(2) {
                    return None;
                }
                let within = Some(Span::from_secs(20));
                let force = false;
                Command::Leave { within, force }
            }
            other => self.command_of_what_there_is(place, other)?,
        })
    }

    /// For orders about hosts, runs and tasks that the agent knows.
    fn command_of_what_there_is(&self, place: usize, order: Order) -> Option<Command> {
        Some(match order {
            Order::Forget { pick } => Command::ForgetHost {
                host: one_down(self.board(place)?, pick)?,
                force: false,
            },
            Order::Run {
                family,
                count,
                options,
            } => Command::RunTask(Box::new(run_order(&family, count, options))),
            Order::StopRun { pick } => {
                let runs: Vec<_> = self.board(place)?.runs().map(|(id, _)| id).collect();
                let run = pick.checked_rem(runs.len() as u64)? as usize;
                Command::StopRun {
                    run: runs[run],
                    reason: "asked by the simulator".to_owned(),
                }
            }
            Order::StopTask { pick } => {
                let board = self.board(place)?;
                let running = |last| last == TaskStatus::Running;
                let tasks = board.tasks().filter(|(_, _, report)| running(report.last));
                let tasks: Vec<TaskId> = tasks.map(|(_, task, _)| task).collect();
                let place = pick.checked_rem(tasks.len() as u64)? as usize;
                Command::StopTask {
                    task: tasks[place],
                    reason: "asked by the simulator".to_owned(),
                }
            }
            _ => return None,
        })
    }

    /// Gives a command to one agent; the id of its answer.
    pub fn ask(&mut self, place: usize, command: Command) -> u64 {
        let id = self.checks.asked.len() as u64 + 1 + self.stats.moments * 1_000;
        let desired = match &command {
            Command::CreateService { desired, .. } => Some(*desired),
            Command::UpdateService { change, .. } => change.desired,
            _ => None,
        };
        if let Command::RegisterTaskDefinition(definition) = &command {
            self.definitions
                .insert(definition.digest(), definition.clone());
        }
        let within = match &command {
            Command::Leave { within, .. } => {
                within.map_or(LEAVE_MAX, |within| within.0 + LEAVE_MAX)
            }
            Command::PullImage { .. } => PULL_MAX,
            _ => ANSWER_MAX,
        };
        self.checks.words.on_asked(CommandId(id), &command);
        self.checks.asked.insert(
            id,
            Asked {
                place,
                boot: self.hosts[place].boot,
                at: self.now,
                desired,
                within,
                answer: None,
            },
        );
        let id = CommandId(id);
        self.step(place, Input::Command { id, command });
        id.0
    }

    pub(crate) fn on_reply(
        &mut self,
        place: usize,
        id: CommandId,
        result: Result<Outcome, Refusal>,
    ) {
        if self.trace.is_on() {
            let text = format_args!("answers {}: {result:?}", id.0);
            self.trace.line(self.now, Some(place), text);
        }
        if self.options.planted == Some(crate::planted::Planted::LoseReply) {
            return;
        }
        let desired = match self.checks.asked.get_mut(&id.0) {
            Some(asked) if asked.place == place && asked.answer.is_none() => {
                asked.answer = Some(result.clone());
                asked.desired
            }
            _ => {
                self.fail(format!(
                    "h{place} answers command {}, which is not open",
                    id.0
                ));
                return;
            }
        };
        self.on_word(place, id, result.as_ref().ok());
        let Ok(outcome) = result else {
            return;
        };
        if !self.is_durable(place, &outcome) {
            self.fail(format!(
                "h{place} answered {outcome:?} before it was on its disk"
            ));
        }
        match outcome {
            Outcome::Created(service) | Outcome::Updated(service) => {
                if let Some(desired) = desired {
                    let short_since = None;
                    let wanted = Wanted {
                        desired,
                        short_since,
                    };
                    self.checks.wanted.insert(service, wanted);
                    self.count_service(service);
                }
            }
            Outcome::Deleted(service) => {
                self.checks.wanted.remove(&service);
            }
            Outcome::ProtectionOrdered { until, tasks, .. } => {
                let wall = self.hosts[place].wall(self.now);
                let left = until.map(|until| until.0.saturating_sub(wall.0) * 1_000);
                for task in tasks {
                    match left {
                        Some(left) => self.checks.protected.insert(task, self.now + left),
                        None => self.checks.protected.remove(&task),
                    };
                }
            }
            _ => {}
        }
    }

    /// After the healing: whatever tells of first peers knows those that are there, and nobody
    /// waits any more for hosts that are gone for good.
    pub(crate) fn give_up_the_lost(&mut self) {
        let living = self.hosts.iter().filter(|host| !host.lost);
        let living = living.map(|host| self.network.address(host.place));
        self.seeds = living.collect();
        for place in 0..self.hosts.len() {
            self.step(place, Input::Seeds(self.seeds.clone()));
        }
        let Some(place) = (0..self.hosts.len()).find(|place| self.hosts[*place].is_acting()) else {
            return;
        };
        let there: Vec<_> = self.hosts.iter().filter(|host| !host.lost).collect();
        let there: Vec<_> = there.iter().map(|host| host.id).collect();
        let board = self.board(place);
        let known = board.into_iter().flat_map(|board| board.hosts());
        let gone = known
            .map(|(host, ..)| host)
            .filter(|host| !there.contains(host));
        for host in gone.collect::<Vec<_>>() {
            let force = true;
            self.ask(place, Command::ForgetHost { host, force });
        }
    }

    // What scenarios say, in short.

    pub fn register(&mut self, place: usize, definition: TaskDefinition) {
        self.ask(place, Command::RegisterTaskDefinition(definition));
    }

    pub fn create(&mut self, place: usize, service: &str, family: &str, desired: u32) {
        let command = Command::CreateService {
            name: service.to_owned(),
            definition: latest(family),
            desired,
            options: ServiceOptions::default(),
            client_token: String::new(),
        };
        self.ask(place, command);
    }

    pub fn run_once(&mut self, place: usize, family: &str, count: u32, options: RunOptions) {
        let order = run_order(family, count, options);
        self.ask(place, Command::RunTask(Box::new(order)));
    }

    /// Changes how a service is held.
    pub fn choose(&mut self, place: usize, service: &str, options: OptionsChange) {
        let command = Command::UpdateService {
            service: service.to_owned(),
            change: ServiceChange {
                options,
                ..ServiceChange::default()
            },
        };
        self.ask(place, command);
    }

    /// The running task of a slot is not to be stopped for so many minutes; which one that is.
    pub fn protect(&mut self, place: usize, index: u32, minutes: u32) -> Option<TaskId> {
        let mut slots = self.checks.copies.iter();
        let (_, copies) = slots.find(|((_, at), _)| *at == index)?;
        let task = copies.iter().find(|copy| copy.down_at.is_none())?.task;
        let (tasks, minutes) = (vec![task], Some(minutes));
        self.ask(place, Command::ProtectTasks { tasks, minutes });
        Some(task)
    }

    /// Where a task runs, in truth.
    pub fn place_of(&self, task: TaskId) -> Option<usize> {
        let mut up = self.checks.copies.values().flatten();
        let copy = up.find(|copy| copy.task == task && copy.down_at.is_none());
        copy.map(|copy| copy.place)
    }

    pub fn scale(&mut self, place: usize, service: &str, desired: u32) {
        let command = Command::UpdateService {
            service: service.to_owned(),
            change: ServiceChange {
                desired: Some(desired),
                ..ServiceChange::default()
            },
        };
        self.ask(place, command);
    }

    pub fn update(&mut self, place: usize, service: &str, family: &str) {
        let command = Command::UpdateService {
            service: service.to_owned(),
            change: ServiceChange {
                definition: Some(latest(family)),
                ..ServiceChange::default()
            },
        };
        self.ask(place, command);
    }

    /// All its tasks are to be replaced, though nothing else changes.
    pub fn renew(&mut self, place: usize, service: &str) {
        let command = Command::UpdateService {
            service: service.to_owned(),
            change: ServiceChange {
                renew: true,
                ..ServiceChange::default()
            },
        };
        self.ask(place, command);
    }

    pub fn delete(&mut self, place: usize, service: &str) {
        let service = service.to_owned();
        self.ask(
            place,
            Command::DeleteService {
                service,
                force: true,
            },
        );
    }

    pub fn direct(&mut self, place: usize, host: usize, availability: Availability) {
        let hosts = vec![self.hosts[host].id];
        self.ask(
            place,
            Command::DirectHosts {
                hosts,
                availability,
            },
        );
    }

    /// What became of a command, as far as it has been answered.
    pub fn answer(&self, id: u64) -> Option<&Result<Outcome, Refusal>> {
        self.checks.asked.get(&id)?.answer.as_ref()
    }

    /// Another host, or this one, is to pull an image; the id of the answer.
    pub fn pull(&mut self, place: usize, host: usize, image: &str) -> u64 {
        let image = ImageRef::try_from(image.to_owned()).expect("it is an image");
        let host = self.hosts[host].id;
        self.ask(place, Command::PullImage { host, image })
    }

    pub fn forget(&mut self, place: usize, host: usize, force: bool) {
        let host = self.hosts[host].id;
        self.ask(place, Command::ForgetHost { host, force });
    }

    /// The host is to go within so many seconds; with `force` also if nobody takes its tasks over.
    pub fn leave(&mut self, place: usize, seconds: u64, force: bool) {
        let within = Some(Span::from_secs(seconds));
        if force {
            self.hosts[place].leave_by = Some(self.now + seconds * SECOND);
        }
        self.ask(place, Command::Leave { within, force });
    }

    /// How many tasks run on this host, in truth.
    pub fn running_on(&self, place: usize) -> usize {
        let up = self.checks.copies.values().flatten();
        up.filter(|copy| copy.place == place && copy.down_at.is_none())
            .count()
    }

    /// How many tasks run in all, in truth.
    pub fn running(&self) -> usize {
        (0..self.hosts.len())
            .map(|place| self.running_on(place))
            .sum()
    }

    /// What a host says of itself on its own board.
    pub fn report(&self, place: usize) -> Option<&HostReport> {
        self.hosts[place].agent.as_ref()?.me().1
    }
}

/// The host that the word picks among those that are down.
fn one_down(board: &Board, pick: u64) -> Option<HostId> {
    let down = board.hosts().filter(|(host, ..)| board.is_down(*host));
    let down: Vec<_> = down.map(|(host, ..)| host).collect();
    let place = pick.checked_rem(down.len() as u64)? as usize;
    Some(down[place])
}

fn run_order(family: &str, count: u32, options: RunOptions) -> RunOrder {
    RunOrder {
        definition: latest(family),
        overridden: None,
        overrides: String::new(),
        count,
        options,
        group: String::new(),
        started_by: String::new(),
        cluster: None,
        hosts: Vec::new(),
        client_token: String::new(),
    }
}

pub fn latest(family: &str) -> DefinitionRef {
    DefinitionRef {
        family: family.to_owned(),
        revision: None,
    }
}
