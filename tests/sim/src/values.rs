//! What the cluster keeps for tasks: who is given what, and that the last word stands.

use crate::{
    cluster::{Cluster, Event},
    host::Host,
    silence::permanent,
    workload::{Order, TimedOrder, definition},
};
use holdfast_core::{
    agent::Agent,
    cluster::{
        board::Board,
        record::Version,
        values::{Content, Opaque, Reseal, Sealed, SetAt},
    },
    command::{Command, CommandId, NewValue, Outcome},
    ids::TaskId,
    input::Input,
    rng::Rng,
    spec::given::ValueName,
    task::runtime::{CreateContainer, FailureKind, RuntimeCommand, RuntimeEvent, RuntimeFailure},
};
use std::collections::BTreeMap;

const SECOND: u64 = 1_000_000;

/// What was said of values, and who was given which.
#[derive(Debug, Default)]
pub struct Words {
    /// The latest word that was answered, and whether it leaves a value.
    last: BTreeMap<ValueName, (Version, bool)>,
    /// What was asked for and has not been answered: it may have been done or not.
    open: BTreeMap<CommandId, ValueName>,
    /// When what a task was given was set, in truth.
    given: BTreeMap<(TaskId, ValueName), SetAt>,
}

impl Words {
    pub(crate) fn on_asked(&mut self, id: CommandId, command: &Command) {
        let name = match command {
            Command::SetValue { value, .. } => value.name(),
            Command::RemoveValue { name, .. } => name.clone(),
            _ => return,
        };
        self.open.insert(id, name);
    }
}

impl Cluster {
    /// The simulator seals nothing: the bytes say which order it was.
    pub(crate) fn new_value(&self, place: usize, name: ValueName) -> Option<NewValue> {
        let bytes = Opaque::from(self.now.to_be_bytes().to_vec());
        Some(match name {
            ValueName::Secret(name) => NewValue::Secret {
                name,
                sealed: Sealed {
                    key: self.hosts[place].keys.in_use?,
                    bytes,
                },
                size: 8,
            },
            ValueName::Config(name) => NewValue::Config { name, text: bytes },
        })
    }

    pub fn set_secret(&mut self, place: usize, name: &str) {
        self.set_value(place, ValueName::Secret(name.to_owned()));
    }

    pub fn set_config(&mut self, place: usize, name: &str) {
        self.set_value(place, ValueName::Config(name.to_owned()));
    }

    fn set_value(&mut self, place: usize, name: ValueName) {
        let value = self.new_value(place, name).expect("each host has a key");
        let (by, restart) = ("a story".to_owned(), true);
        self.ask(place, Command::SetValue { value, by, restart });
    }

    pub fn remove_secret(&mut self, place: usize, name: &str) {
        let (name, force) = (ValueName::Secret(name.to_owned()), true);
        self.ask(place, Command::RemoveValue { name, force });
    }

    pub(crate) fn on_word(&mut self, place: usize, id: CommandId, outcome: Option<&Outcome>) {
        self.checks.words.open.remove(&id);
        let name = match outcome {
            Some(Outcome::ValueSet { name, .. } | Outcome::ValueRemoved(name)) => name,
            _ => return,
        };
        let said = self.board(place).and_then(|board| {
            let record = board.record(&name.key())?;
            Some((record.version, record.body.is_some()))
        });
        if let Some(said) = said {
            let last = &mut self.checks.words.last;
            let known = last.entry(name.clone()).or_insert(said);
            *known = said.max(*known);
        }
    }

    /// As a driver does, a moment later.
    pub(crate) fn reseal(&mut self, place: usize, mut secrets: Vec<Reseal>) {
        self.trace.mix(self.now, place, 19);
        let host = &self.hosts[place];
        let (boot, Some(key)) = (host.boot, host.keys.in_use) else {
            return;
        };
        // Who has not got the key cannot open it.
        secrets.retain(|secret| host.keys.held.contains(&secret.sealed.key));
        secrets
            .iter_mut()
            .for_each(|secret| secret.sealed.key = key);
        self.answer_as_driver(place, boot, Input::Resealed(secrets));
    }

    pub(crate) fn answer_as_driver(&mut self, host: usize, boot: u32, input: Input) {
        let input = Box::new(input);
        let event = Event::Driver { host, boot, input };
        self.queue.push(self.now + 2_000, event);
    }

    /// What a container is given is what its host's board holds, no less.
    pub(crate) fn check_given(&mut self, place: usize, command: &RuntimeCommand) {
        let RuntimeCommand::Create(make) = command else {
            return;
        };
        let task = make.labels.task;
        for value in &make.given {
            let (name, set_at) = (&value.name, set_at(&value.content));
            let held = self.board(place).map(|board| board.value_set_at(name));
            if set_at.is_some() && set_at != held {
                let what = format!(
                    "h{place} gives {name} to task {task} as it was at {set_at:?}, not {held:?}"
                );
                self.fail(what);
                return;
            }
            if let Some(set_at) = set_at {
                let given = &mut self.checks.words.given;
                given.insert((task, name.clone()), set_at);
            }
        }
    }

    /// The latest word stands everywhere, and tasks have what was set for them to have.
    pub(crate) fn pending_words(&self, agents: &[(&Host, &Agent)]) -> Option<String> {
        let words = &self.checks.words;
        let open = |name: &ValueName| words.open.values().any(|open| open == name);
        let certain = words.last.iter().filter(|(name, _)| !open(name));
        for (name, (version, leaves_one)) in certain {
            let lacks = |(_, agent): &&(&Host, &Agent)| {
                let board = agent.board();
                board.value_set_at(name) != version.epoch
                    || board.setting(name).is_some() != *leaves_one
            };
            // What nobody heard is lost with the only host that knew it.
            let author_is_there = agents
                .iter()
                .any(|(host, _)| host.id == version.stamp.author);
            if !author_is_there && agents.iter().all(|agent| lacks(&agent)) {
                continue;
            }
            if let Some((host, _)) = agents.iter().find(lacks) {
                let place = host.place;
                return Some(format!("h{place} has not the last word on {name}"));
            }
        }
        let board = agents.first()?.1.board();
        self.pending_values(board)
    }

    fn pending_values(&self, board: &Board) -> Option<String> {
        let up = self.checks.copies.iter().flat_map(|((id, _), copies)| {
            let up = copies.iter().filter(|copy| copy.down_at.is_none());
            up.map(move |copy| (*id, copy.task))
        });
        for (id, task) in up {
            let Some(service) = board.service(id) else {
                continue;
            };
            let definition = board.definition(service.revision.definition)?;
            for name in definition.values() {
                let given = self.checks.words.given.get(&(task, name.clone()));
                let since = board.setting(&name).map(|set| set.valid_since);
                if given.is_some_and(|given| Some(*given) < since) {
                    let service = &service.settings.name;
                    return Some(format!(
                        "task {task} of {service} has {name} as it was before it was set anew"
                    ));
                }
            }
        }
        None
    }
}

/// Values that are set anew and removed, and a service that is given them. They come from a seed
/// of their own, so that the other orders stay what they are.
pub fn draw(rng: &mut Rng, hosts: usize, seconds: u64) -> Vec<TimedOrder> {
    let mut orders = Vec::new();
    let names = [
        ValueName::Secret("db".to_owned()),
        ValueName::Config("conf".to_owned()),
        ValueName::Secret("unused".to_owned()),
    ];
    let mut add = |rng: &mut Rng, at, order| {
        let host = rng.below(hosts as u64) as usize;
        orders.push(TimedOrder { at, host, order });
    };
    add(rng, 5 * SECOND, Order::Register(definition("keyed", 1)));
    for name in names.clone() {
        let restart = true;
        add(rng, 6 * SECOND, Order::SetValue { name, restart });
    }
    let create = Order::Create {
        service: "k0".to_owned(),
        family: "keyed".to_owned(),
        desired: 1 + rng.below(hosts as u64) as u32,
    };
    add(rng, 9 * SECOND, create);
    let mut at = 20 * SECOND;
    while at < seconds * SECOND {
        let name = names[rng.below(3) as usize].clone();
        let order = match rng.below(4) {
            0 => Order::RemoveValue {
                name: names[2].clone(),
            },
            drawn => Order::SetValue {
                name,
                restart: drawn > 1,
            },
        };
        add(rng, at, order);
        at += rng.below(20 * SECOND);
    }
    orders
}

fn set_at(content: &Content) -> Option<SetAt> {
    match content {
        Content::Sealed { set_at, .. } | Content::Plain { set_at, .. } => Some(*set_at),
        Content::Unknown | Content::Removed => None,
    }
}

/// As the daemon's runtime says it of a value that is not there.
pub(crate) fn lacking(make: &CreateContainer) -> Option<RuntimeEvent> {
    let failure = make.given.iter().find_map(|value| match &value.content {
        Content::Unknown => Some(RuntimeFailure {
            kind: FailureKind::Transient,
            reason: format!("ResourceInitializationError: {} is not there", value.name),
        }),
        Content::Removed => Some(permanent(format!(
            "ResourceInitializationError: {} was removed",
            value.name
        ))),
        Content::Sealed { .. } | Content::Plain { .. } => None,
    })?;
    Some(RuntimeEvent::CreateFailed {
        task: make.labels.task,
        container: make.labels.container.clone(),
        failure,
    })
}
