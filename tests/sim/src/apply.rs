//! What an agent asks for, done: messages sent, records written, containers handled.

use crate::{
    checks::Site,
    cluster::{Cluster, Event},
    planted::Planted,
    runtime::{Chore, Finished, VERSION},
    stats::Judgement,
    trace::{command_text, low, message_kind, message_word},
};
use holdfast_core::{
    cluster::{
        body::{Body, Key},
        keys::KeyOrders,
        message::{Message, Via},
        record::Record,
    },
    command::Outcome,
    effect::{Effect, Send},
    event::{Event as Told, Happening},
    ids::{HostId, KeyId, TaskId},
    input::Input,
    limits,
    task::{
        runtime::{RuntimeCommand, RuntimeEvent},
        status::TaskStatus,
    },
};
use std::{net::SocketAddr, sync::Arc};

/// More messages than this for each host within one virtual second feed on themselves.
const STORM: u64 = 20_000;
/// How long a driver waits for an answer to a knock.
const KNOCK_WAIT: u64 = 400_000;

#[derive(Debug)]
pub(crate) struct Delivery {
    pub from: HostId,
    /// Who is meant; another one at the address drops the message.
    pub meant: Option<HostId>,
    pub from_place: usize,
    /// Whose address is on it.
    pub addressed: usize,
    pub to_place: usize,
    /// Of a stream: what must not have changed since it was sent.
    pub connection: Option<(u32, u16)>,
    /// Whoever has not got this key cannot read it.
    pub sealed_with: Option<KeyId>,
    pub message: Message,
    /// The datagram as it is on the wire, where somebody listens.
    pub sealed: Option<Vec<u8>>,
}

impl Delivery {
    pub(crate) const fn via(&self) -> Via {
        match self.connection {
            Some(_) => Via::Stream,
            None => Via::Datagram,
        }
    }
}

impl Cluster {
    pub(crate) fn apply(&mut self, place: usize, effect: Effect) {
        match effect {
            Effect::Send(send) => self.send(place, send),
            Effect::Runtime(command) => self.command(place, command),
            Effect::Persist(records) => {
                let records = self.write(place, records, 11);
                if self.options.planted != Some(Planted::DropPersist) {
                    self.hosts[place].disk.persist(records);
                }
            }
            Effect::Remember(records) => {
                let records = self.write(place, records, 12);
                let durable_at = self.now + self.rng.below(500_000);
                self.hosts[place]
                    .disk
                    .remember(self.now, durable_at, records);
            }
            Effect::Forget(records) => {
                self.trace.mix(self.now, place, 13);
                let durable_at = self.now + self.rng.below(500_000);
                self.hosts[place].disk.forget(self.now, durable_at, records);
            }
            Effect::Reply { id, result } => {
                self.trace
                    .mix(self.now, place, 14 ^ id.0 << 32 ^ u64::from(result.is_ok()));
                self.on_reply(place, id, result);
            }
            Effect::Try(hashes) => {
                self.hosts[place].journal.on_trial(hashes);
                self.hosts[place].is_trying = true;
            }
            Effect::Acquit(hashes) => self.hosts[place].journal.acquit(&hashes),
            Effect::Keys(orders) => self.change_keys(place, &orders),
            Effect::Reseal(orders) => self.reseal(place, orders),
            Effect::Emit(told) => self.emit(place, told),
            Effect::Retell(told) => self
                .trace
                .mix(self.now, place, 19 ^ (told.id.0 as u64) << 8),
            Effect::Left => {
                self.trace.mix(self.now, place, 18);
                self.go_away(place);
            }
            Effect::Knock { host, addresses } => self.knock(place, host, &addresses),
            Effect::Fatal { reason } => {
                self.trace.mix(self.now, place, 15);
                self.trace
                    .line(self.now, Some(place), format_args!("gives up: {reason}"));
                if !self.hosts[place].is_twin {
                    self.fail(format!("h{place}'s agent gave up: {reason}"));
                }
                self.hosts[place].gave_up = Some(reason);
            }
        }
    }

    /// As a driver does: on disk first, then in force, then told.
    fn change_keys(&mut self, place: usize, orders: &KeyOrders) {
        self.trace
            .mix(self.now, place, 16 ^ (orders.install.len() as u64) << 8);
        let host = &mut self.hosts[place];
        let keys = &mut host.keys;
        keys.held.extend(orders.install.iter().map(|(key, _)| *key));
        keys.held.retain(|key| !orders.remove.contains(key));
        keys.in_use = orders.seal_with.or(keys.in_use);
        let (boot, report) = (host.boot, host.keys.clone());
        self.answer_as_driver(place, boot, Input::Keys(report));
    }

    /// The kernel of a machine that has power answers, whatever its agent does, if the first
    /// packet there and the first one back come through in time.
    fn knock(&mut self, place: usize, knocked: HostId, addresses: &[SocketAddr]) {
        self.trace.mix(self.now, place, 18 ^ knocked.word());
        self.stats.knocks += 1;
        let there = addresses.first().and_then(|at| self.network.place(*at));
        let mut answer = None;
        if let Some(there) = there.filter(|there| self.hosts[*there].powered) {
            // Of TCP, as small as a packet can be.
            let way = self.network.datagram(self.now, (place, there), || 0);
            let back = way.and_then(|way| self.network.datagram(way.first, (there, place), || 0));
            answer = back.map(|back| back.first);
        }
        let given_up = self.now + KNOCK_WAIT;
        let answer = answer.filter(|at| *at < given_up);
        let event = Event::Knocked {
            host: place,
            boot: self.hosts[place].boot,
            knocked,
            answered: answer.is_some(),
        };
        self.queue.push(answer.unwrap_or(given_up), event);
    }

    fn send(&mut self, from_place: usize, send: Send) {
        let word = message_word(&send.message);
        self.trace.mix(self.now, from_place, word);
        self.stats.sent(from_place);
        if let Message::Records(records) = &send.message {
            self.stats.records_sent += 1;
            let bytes = records.iter().map(|record| u64::from(record.bytes));
            self.stats.record_bytes_sent += bytes.sum::<u64>();
        }
        if self.stats.in_this_second(self.now) > STORM * self.hosts.len() as u64 {
            let (kind, records) = message_kind(&send.message);
            self.fail(format!(
                "a storm: over {STORM} messages a host within a second; this one of h{from_place} \
                 is {kind} with {records} entries"
            ));
            return;
        }
        let Some(addressed) = self.network.place(send.to) else {
            return;
        };
        if self.options.planted == Some(Planted::DeafToRecords)
            && addressed == 0
            && matches!(send.message, Message::Records(_) | Message::Page { .. })
        {
            return;
        }
        self.hand_over(from_place, addressed, send);
    }

    /// To the network, which decides when it arrives.
    fn hand_over(&mut self, from_place: usize, addressed: usize, send: Send) {
        let mut message = send.message;
        if self.options.codec {
            match self.through_bytes(from_place, &message, send.via) {
                Some(read) => message = read,
                None => return,
            }
        }
        let now = self.now;
        let arrivals = match send.via {
            Via::Datagram => {
                let bytes = || message.encode().len();
                self.network.datagram(now, (from_place, addressed), bytes)
            }
            Via::Stream => self.network.stream(now, from_place, addressed),
        };
        let Some(arrivals) = arrivals else {
            return;
        };
        let mut to_place = addressed;
        if self.options.planted == Some(Planted::Misdeliver) && now > 10_000_000 {
            to_place = (addressed + 1) % self.hosts.len();
        }
        let breaks = self.network.breaks(from_place, to_place);
        let current = (self.hosts[to_place].boot, breaks);
        let sealed = self.sealed(from_place, (send.via, send.host), &message);
        let delivery = |message| {
            Event::Deliver(Delivery {
                from: self.hosts[from_place].id,
                meant: send.host,
                from_place,
                addressed,
                to_place,
                connection: (send.via == Via::Stream).then_some(current),
                sealed_with: self.hosts[from_place].keys.in_use,
                message,
                sealed: sealed.clone(),
            })
        };
        let repeats = 9 * u32::from(self.options.planted == Some(Planted::Chatter));
        for _ in 0..repeats {
            self.stats.sent(from_place);
        }
        if let Some(again) = arrivals.again {
            self.queue.push(again, delivery(message.clone()));
        }
        self.queue.push(arrivals.first, delivery(message));
    }

    /// Encodes and reads back; what differs then, or does not fit, fails the run.
    fn through_bytes(&mut self, place: usize, message: &Message, via: Via) -> Option<Message> {
        let bytes = message.encode();
        let mut length = bytes.len();
        if self.options.planted == Some(Planted::FatDatagram) && via == Via::Datagram {
            length += limits::DATAGRAM_BYTES_MAX;
        }
        self.stats.bytes_sent += bytes.len() as u64;
        if via == Via::Datagram && length > limits::DATAGRAM_BYTES_MAX {
            self.fail(format!(
                "h{place} sends a datagram of {length} bytes: {message:?}"
            ));
            return None;
        }
        if length > limits::FRAME_BYTES_MAX {
            self.fail(format!("h{place} sends a frame of {length} bytes"));
            return None;
        }
        match Message::decode(&bytes) {
            Ok(read) if is_same(&read, message) => Some(read),
            Ok(read) => {
                self.fail(format!("h{place}: the codec made {read:?} of {message:?}"));
                None
            }
            Err(err) => {
                self.fail(format!("h{place}: {message:?} does not read back: {err}"));
                None
            }
        }
    }

    /// Looks at records on their way to the disk.
    fn write(
        &mut self,
        place: usize,
        mut records: Vec<Arc<Record>>,
        word: u64,
    ) -> Vec<Arc<Record>> {
        for record in &mut records {
            self.plant_status(record);
            self.trace.mix(self.now, place, word ^ record.hash());
            self.check_stopped(place, record);
            let site = Site::new(&self.hosts[place]);
            if let Err(what) = self.checks.on_record(site, record) {
                self.fail(what);
            }
            self.note_verdict(place, record);
            self.trace_record(place, record);
        }
        records
    }

    fn plant_status(&mut self, record: &mut Arc<Record>) {
        if self.options.planted != Some(Planted::StatusBack) || self.struck {
            return;
        }
        if let Some(Body::Task(report)) = &record.body
            && report.last > TaskStatus::Running
        {
            let mut report = report.clone();
            report.last = TaskStatus::Pending;
            *record = Record::new(record.key.clone(), record.version, Some(Body::Task(report)));
            self.struck = true;
        }
    }

    fn note_verdict(&mut self, place: usize, record: &Record) {
        if let (Key::Verdict(host), Some(Body::Verdict(verdict))) = (&record.key, &record.body)
            && record.version.stamp.author == self.hosts[place].id
        {
            self.stats.verdicts.push(Judgement {
                at: self.now,
                by: place,
                host: *host,
                standing: verdict.standing,
            });
        }
    }

    fn trace_record(&mut self, place: usize, record: &Record) {
        if !self.trace.is_on() {
            return;
        }
        let epoch = record.version.epoch;
        let author = record.version.stamp.author;
        match (&record.key, &record.body) {
            (Key::Slot(_, index), Some(Body::Slot(slot))) if author == self.hosts[place].id => {
                let host = slot
                    .host
                    .and_then(|id| self.hosts.iter().position(|h| h.id == id));
                let text = format_args!(
                    "slot {index} g{epoch} -> {host:?}, after {} failures, superseding {}: {}",
                    slot.failures,
                    slot.superseded.len(),
                    slot.reason
                );
                self.trace.line(self.now, Some(place), text);
            }
            (Key::Verdict(host), Some(Body::Verdict(verdict)))
                if author == self.hosts[place].id =>
            {
                let judged = self.hosts.iter().position(|h| h.id == *host);
                let standing = verdict.standing;
                let text = format_args!("verdict: {judged:?} is {standing:?}, incarnation {epoch}");
                self.trace.line(self.now, Some(place), text);
            }
            _ => {}
        }
    }

    fn emit(&mut self, place: usize, told: Told) {
        self.trace.mix(self.now, place, 16 ^ told.sequence << 8);
        if self.trace.is_on() {
            match &told.what {
                Happening::Task(change) if change.host == self.hosts[place].id => {
                    let text = format_args!(
                        "task {:08x} is {}: {}",
                        low(change.task.0),
                        change.to,
                        change.reason
                    );
                    self.trace.line(self.now, Some(place), text);
                }
                Happening::Host(change) => {
                    let (name, now) = (&change.name, change.now.as_str());
                    let text = format_args!("sees {name} {now}: {}", change.reason);
                    self.trace.line(self.now, Some(place), text);
                }
                Happening::Task(_) | Happening::Service(_) => {}
                #[allow(unreachable_patterns, reason = "happenings that are yet to come")]
                _ => {}
            }
        }
        let late = self.now > 10_000_000 && place == 0 && !self.struck;
        if late && self.options.planted == Some(Planted::SkipEvent) {
            self.struck = true;
            return;
        }
        let site = Site::new(&self.hosts[place]);
        let mut result = self.checks.on_emit(site, &told);
        if late && self.options.planted == Some(Planted::RepeatEvent) {
            self.struck = true;
            result = result.and_then(|()| {
                let site = Site::new(&self.hosts[place]);
                self.checks.on_emit(site, &told)
            });
        }
        if let Err(what) = result {
            self.fail(what);
        }
    }

    /// A command for the container runtime, checked and taken on.
    pub(crate) fn command(&mut self, place: usize, mut command: RuntimeCommand) {
        self.trace.mix(self.now, place, 17 ^ command_word(&command));
        if self.trace.is_on() {
            let text = command_text(&command);
            self.trace
                .line(self.now, Some(place), format_args!("asks docker: {text}"));
        }
        self.plant_command(place, &mut command);
        self.check_command(place, &command);
        self.check_given(place, &command);
        if self.failure.is_some() {
            return;
        }
        let is_stop = matches!(command, RuntimeCommand::Stop { .. });
        if is_stop && self.options.planted == Some(Planted::IgnoreStop) {
            return;
        }
        match &command {
            RuntimeCommand::Start { .. } => self.stats.starts += 1,
            RuntimeCommand::Stop {
                task, container, ..
            } => {
                self.stats.stops += 1;
                self.check_stop_order(place, *task, container);
            }
            _ => {}
        }
        let (now, exits_ppm, stubborn_ppm) = (self.now, self.exits_ppm, self.stubborn_ppm);
        let host = &mut self.hosts[place];
        host.runtime.manners.fail_ppm = host.faulty_calls_ppm;
        host.runtime.manners.exits_ppm = exits_ppm;
        host.runtime.manners.stubborn_ppm = stubborn_ppm;
        let (at, chore) = host.runtime.command(now, command);
        let boot = host.boot;
        self.chore_at(at, (place, boot), chore);
    }

    fn plant_command(&mut self, place: usize, command: &mut RuntimeCommand) {
        match (self.options.planted, command) {
            (
                Some(Planted::TouchForeign),
                RuntimeCommand::Stop { runtime_id, .. } | RuntimeCommand::Remove { runtime_id, .. },
            ) => {
                *runtime_id = self.hosts[place].runtime.foreign()[0];
            }
            (Some(Planted::OverPromise), RuntimeCommand::Create(make)) => {
                make.container.memory_mib = self.hosts[place].capacity.memory_mib + 1;
            }
            _ => {}
        }
    }

    pub(crate) fn finish_chore(&mut self, place: usize, boot: u32, chore: Chore) {
        let now = self.now;
        let host = &mut self.hosts[place];
        if !host.powered {
            return;
        }
        let is_orphan = host.boot != boot;
        if let (true, Chore::Command(command)) = (is_orphan, &chore) {
            // Docker goes on with a stop that it has begun. Another call whose caller is gone may
            // have been done or not, but not after the next agent has looked.
            let is_stop = matches!(command, RuntimeCommand::Stop { .. });
            if !is_stop && (host.agent.is_some() || self.rng.chance_ppm(500_000)) {
                return;
            }
        }
        let subject = subject(&chore);
        let wall = host.wall(now);
        let Finished { event, then } = host.runtime.finish(now, wall, chore);
        let boot = host.boot;
        if let Some((at, chore)) = then {
            self.chore_at(at, (place, boot), chore);
        }
        if let Some(task) = subject {
            self.refresh(place, task);
        }
        self.plant_container(place, subject);
        let lost = self.hosts[place].runtime.manners.loses_answers;
        let is_answer = |event: &RuntimeEvent| {
            use RuntimeEvent as E;
            lost && matches!(event, E::Created { .. } | E::Started { .. })
        };
        if let Some(event) = event.filter(|event| !is_answer(event)) {
            self.tell_runtime(place, event);
        }
    }

    /// Hands an event to the agent, if it is there; a flaky runtime loses it or tells it twice.
    pub(crate) fn tell_runtime(&mut self, place: usize, event: RuntimeEvent) {
        let host = &self.hosts[place];
        if host.agent.is_none() {
            return;
        }
        let (boot, ppm) = (host.boot, host.faulty_calls_ppm / 4);
        // What became of a pull is the driver's own word.
        let is_own_word = matches!(event, RuntimeEvent::ImagePulled { .. });
        if ppm > 0 && self.rng.chance_ppm(ppm) && !is_own_word {
            // The driver notices that its stream of events broke, and begins anew.
            self.trace.line(
                self.now,
                Some(place),
                format_args!("docker: an event is lost"),
            );
            let version = VERSION.to_owned();
            let event = RuntimeEvent::Available { version };
            let at = self.now + 200_000 + self.rng.below(5_000_000);
            self.tell_at(at, (place, boot), event);
            return;
        }
        // A comparison is no event of Docker's: the driver makes it, and tells it once.
        let may_come_twice = !matches!(event, RuntimeEvent::Listed(_));
        if ppm > 0 && self.rng.chance_ppm(ppm) && may_come_twice {
            let at = self.now + 1_000 + self.rng.below(500_000);
            self.tell_at(at, (place, boot), event.clone());
        }
        self.step_runtime(place, event);
    }

    /// What a change wrote that was promised must be on the disk: of the records in question, those
    /// that this host wrote itself, in the version that its board has.
    pub(crate) fn is_durable(&self, place: usize, outcome: &Outcome) -> bool {
        let keys = match outcome {
            Outcome::Registered { definition, .. } => vec![Key::Definition(*definition)],
            Outcome::Created(id) | Outcome::Updated(id) | Outcome::Deleted(id) => vec![
                Key::ServiceSettings(*id),
                Key::ServiceCount(*id),
                Key::ServiceRevision(*id),
            ],
            Outcome::StopOrdered(task) => vec![Key::StopOrder(*task)],
            Outcome::ClusterMade(name) | Outcome::ClusterDeleted(name) => {
                vec![Key::Cluster(name.clone())]
            }
            Outcome::ScheduleSet { name, .. } | Outcome::ScheduleRemoved(name) => {
                vec![Key::Schedule(name.clone())]
            }
            Outcome::ProtectionOrdered { tasks, .. } => {
                tasks.iter().map(|task| Key::Protection(*task)).collect()
            }
            Outcome::Directed(hosts) => hosts.iter().map(|host| Key::Directive(*host)).collect(),
            Outcome::ValueSet { name, .. } | Outcome::ValueRemoved(name) => vec![name.key()],
            Outcome::Forgotten(host) => vec![Key::Host(*host), Key::Directive(*host)],
            #[allow(unreachable_patterns, reason = "outcomes that are yet to come")]
            _ => return true,
        };
        let host = &self.hosts[place];
        let board = self.board(place);
        keys.iter().all(|key| {
            let ours = board.and_then(|board| board.record(key));
            ours.is_none_or(|ours| {
                let saved = host.disk.get(key).map(|saved| saved.version);
                ours.version.stamp.author != host.id || saved == Some(ours.version)
            })
        })
    }
}

fn subject(chore: &Chore) -> Option<TaskId> {
    match chore {
        Chore::Exit { key, .. } | Chore::Done { key, .. } => Some(key.task),
        Chore::Command(RuntimeCommand::Create(make)) => Some(make.labels.task),
        Chore::Command(
            RuntimeCommand::Start { task, .. }
            | RuntimeCommand::Check { task, .. }
            | RuntimeCommand::ReadLog { task, .. }
            | RuntimeCommand::Stop { task, .. }
            | RuntimeCommand::Remove { task, .. },
        ) => Some(*task),
        Chore::Command(_) => None,
    }
}

/// What was read is what was meant; of a record that its sender does not read, byte by byte.
fn is_same(read: &Message, meant: &Message) -> bool {
    match (read, meant) {
        (Message::Records(read), Message::Records(meant)) => {
            let is_same = |(read, meant): (&Arc<Record>, &Arc<Record>)| {
                let is_unread = matches!(meant.body, Some(Body::Unknown(_)));
                read == meant || is_unread && read.encode() == meant.encode()
            };
            read.len() == meant.len() && read.iter().zip(meant).all(is_same)
        }
        (
            Message::Page { records: a, last },
            Message::Page {
                records: b,
                last: meant,
            },
        ) => last == meant && is_same(&Message::Records(a.clone()), &Message::Records(b.clone())),
        _ => read == meant,
    }
}

fn command_word(command: &RuntimeCommand) -> u64 {
    match command {
        RuntimeCommand::Create(make) => 1 ^ make.labels.task.word(),
        RuntimeCommand::Start { task, .. } => 2 ^ task.word(),
        RuntimeCommand::Stop { task, .. } => 3 ^ task.word(),
        RuntimeCommand::Remove { task, .. } => 4 ^ task.word(),
        RuntimeCommand::List => 5,
        RuntimeCommand::ReadLog { task, .. } => 8 ^ task.word(),
        RuntimeCommand::Check { task, .. } => 7 ^ task.word(),
        #[allow(unreachable_patterns, reason = "commands that are yet to come")]
        _ => 6,
    }
}
