//! One agent's view of the cluster at one moment: what every answer is made from.

use super::{context::ApiContext, remembered::Remembered};
use holdfast_core::{
    agent::Picture,
    cluster::{
        board::Board,
        body::{Key, TaskReport},
    },
    event::HostStanding,
    ids::{HostId, Incarnation, ServiceId, TaskId},
    schedule::keeper::Move,
    spec::task_definition::Container,
    time::Wall,
};
use serde_json::{Value, json};
use std::{cell::RefCell, collections::BTreeMap, fmt};

/// The parts of an `Agent` that answers need, so that tests can make one by hand.
pub(crate) struct View<'a> {
    pub(crate) board: &'a Board,
    pub(crate) context: &'a ApiContext,
    pub(crate) me: HostId,
    pub(crate) caught_up: bool,
    pub(crate) standing: &'a dyn Fn(HostId) -> HostStanding,
    pub(crate) keeper: &'a dyn Fn(ServiceId) -> Option<HostId>,
    /// The next move that would spread a service more evenly.
    pub(crate) better_placed: &'a dyn Fn(ServiceId) -> Option<Move>,
    pub(crate) seen: &'a Seen,
    pub(crate) remembered: &'a Remembered,
}

/// Hosts that were looked up: each is once, however many tasks it has.
pub(crate) type Seen = RefCell<BTreeMap<HostId, SeenHost>>;

#[derive(Clone, Copy, Debug)]
pub(crate) struct SeenHost {
    standing: HostStanding,
    /// What it says in this life may be taken for the truth; `None` while nothing may.
    life: Option<Incarnation>,
}

impl View<'_> {
    /// Looks at what an agent saw.
    pub(crate) fn look<T>(
        picture: &Picture,
        (context, remembered): (&ApiContext, &Remembered),
        answer: impl FnOnce(&View<'_>) -> T,
    ) -> T {
        let view = View {
            board: picture.board(),
            context,
            me: picture.me(),
            caught_up: picture.is_caught_up(),
            standing: &|host| picture.standing(host),
            keeper: &|service| picture.keeper_of(service),
            better_placed: &|service| {
                picture.better_placed(Wall(crate::gossip::now_wall_ms()), service)
            },
            seen: &Seen::default(),
            remembered,
        };
        answer(&view)
    }

    /// The same, with answers in the words of this context.
    pub(crate) const fn within<'v>(&'v self, context: &'v ApiContext) -> View<'v> {
        View { context, ..*self }
    }

    /// What is on the board counts as much as what this agent sees by itself.
    pub(crate) fn standing_of(&self, host: HostId) -> HostStanding {
        self.seen(host).standing
    }

    fn seen(&self, host: HostId) -> SeenHost {
        let find = || {
            let standing = self.board.standing(host, (self.standing)(host));
            let is_up = !is_gone(standing) && self.board.is_up(host);
            let life = self.board.host(host).filter(|_| is_up);
            let life = life.map(|(life, _)| life);
            SeenHost { standing, life }
        };
        *self.seen.borrow_mut().entry(host).or_insert_with(find)
    }

    pub(crate) fn is_down(&self, host: HostId) -> bool {
        is_gone(self.standing_of(host))
    }

    /// Whether what the host said of the task last may be taken for the truth: not while it is
    /// down, nor before it has looked, since it began this life, at what of its tasks still runs.
    pub(crate) fn is_confirmed(&self, host: HostId, task: TaskId) -> bool {
        let said = self.board.record(&Key::Task(host, task));
        said.is_some_and(|said| self.is_confirmed_of(host, said.version.epoch))
    }

    /// As `is_confirmed`, of a task of which the host said something in this life.
    pub(crate) fn is_confirmed_of(&self, host: HostId, life: Incarnation) -> bool {
        self.seen(host).life.is_some_and(|now| life >= now)
    }

    /// When what is on the board under this key was written.
    pub(crate) fn written_at(&self, key: &Key) -> Option<Wall> {
        let record = self.board.record(key);
        record.map(|record| record.version.stamp.wall)
    }

    /// What the task's definition says of one of its containers, where it is on the board.
    pub(crate) fn defined(&self, report: &TaskReport, container: &str) -> Option<&Container> {
        let definition = self.board.definition(report.definition)?;
        definition.container(container)
    }

    /// As people know it; its id where it has not reported yet.
    pub(crate) fn host_name(&self, host: HostId) -> String {
        match self.board.host(host) {
            Some((_, report)) => report.name.to_string(),
            None => host.to_string(),
        }
    }
}

const fn is_gone(standing: HostStanding) -> bool {
    matches!(standing, HostStanding::Down | HostStanding::Left)
}

/// ECS's timestamps: seconds since 1970, with a fraction.
pub(crate) fn seconds(wall: Wall) -> Value {
    json!(in_seconds(wall))
}

pub(crate) fn in_seconds(wall: Wall) -> f64 {
    wall.0 as f64 / 1_000.0
}

/// Sets a field that ECS leaves out where there is nothing to say.
pub(crate) fn set_if(object: &mut Value, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        object[name] = value.into();
    }
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("me", &self.me)
            .finish_non_exhaustive()
    }
}
