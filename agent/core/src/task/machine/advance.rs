//! Moves the containers of a task on in their order.

use super::Task;
use crate::{
    effect::Effects,
    task::{
        container::Phase,
        order::{self, Awaited, Readiness},
        status::StopCode,
    },
    time::Now,
};

/// What is to be done with a container next.
enum Move {
    Stay,
    /// To what it waits for.
    Wait(String),
    Create,
    Start,
    Stop,
    GiveUp(String),
}

impl Task {
    /// After each change of a container: moves on what it lets move on, and reports it.
    pub(super) fn settle(&mut self, now: Now, fx: &mut Effects) {
        self.advance(now, fx);
        self.sync(now);
    }

    /// Starts what has all that it waited for; of a stopping task, stops what nobody needs.
    fn advance(&mut self, now: Now, fx: &mut Effects) {
        for number in 0..self.containers.len() {
            let next = self.next_move(number);
            let container = &mut self.containers[number];
            match next {
                Move::Stay => {}
                Move::Wait(reason) => container.reason = reason,
                Move::Create => {
                    container.enter(Phase::Creating);
                    self.create(number, fx);
                }
                Move::Start => {
                    container.enter(Phase::Starting);
                    fx.ask(container.start(self.id));
                }
                Move::Stop => {
                    container.enter(Phase::Stopping);
                    fx.ask(container.stop(self.id));
                }
                Move::GiveUp(reason) => {
                    self.stop(now, StopCode::TaskFailedToStart, &reason, fx);
                    self.containers[number].reason = reason;
                }
            }
        }
    }

    fn next_move(&self, number: usize) -> Move {
        let (container, containers) = (&self.containers[number], &self.containers);
        let stopping = self.is_stopping();
        match container.phase {
            Phase::Waiting if stopping => Move::Stay,
            Phase::Waiting => match &self.definition {
                Some(known) if order::can_be_made(known, containers, &container.name) => {
                    Move::Create
                }
                Some(known) if order::lacks(known, containers, &container.name) => {
                    let name = &container.name;
                    Move::GiveUp(format!("{name} cannot be made: what it is made of is gone"))
                }
                Some(_) | None => Move::Stay,
            },
            Phase::Created if planted!(StartsWhatWasStopped) => Move::Start,
            Phase::Created if planted!(StartsOutOfOrder) && !stopping => Move::Start,
            Phase::Created if !stopping => match &self.definition {
                None => Move::Wait("waits for its task definition".to_owned()),
                Some(known) => match order::readiness(known, containers, &container.name) {
                    Readiness::Ready => Move::Start,
                    Readiness::Waits(reason) => Move::Wait(reason),
                    Readiness::Hopeless(reason) => Move::GiveUp(reason),
                },
            },
            Phase::Running if self.used_until.is_some() => Move::Stay,
            Phase::Running if stopping && planted!(StopsOutOfOrder) => Move::Stop,
            Phase::Running if stopping => match &self.definition {
                Some(known) if order::is_needed(known, containers, &container.name) => Move::Stay,
                Some(_) | None => Move::Stop,
            },
            _ => Move::Stay,
        }
    }

    /// Who is awaited, and until when.
    pub(super) fn awaited(&self) -> Option<Awaited<'_>> {
        let definition = self.definition.as_ref().filter(|_| !self.is_stopping())?;
        order::awaited(definition, &self.containers)
    }
}
