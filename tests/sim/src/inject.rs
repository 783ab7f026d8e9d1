//! Faults begun and ended, planted bugs struck, and the healing after which all must be well.

use crate::{
    cluster::{Cluster, SECOND, first_addresses},
    container::ContainerKey,
    disk::Disk,
    faults::FaultKind,
    host::{CLUSTER, Host},
    network::{Network, Weather},
    planted::Planted,
    runtime::{FakeRuntime, VERSION},
};
use holdfast_core::{
    cluster::{
        message::{Message, Via},
        quarantine::Journal,
    },
    ids::TaskId,
    input::Input,
    task::runtime::{RuntimeCommand, RuntimeEvent},
    time::Span,
};

impl Cluster {
    /// Sets a host's clock this much ahead, or back, of the true time.
    pub fn set_clock(&mut self, host: usize, ahead_ms: i64) {
        self.hosts[host].skew_ms = ahead_ms;
        self.disturb();
    }

    /// So much time passes on every clock at once.
    pub fn pass_hours(&mut self, hours: i64) {
        for host in &mut self.hosts {
            host.skew_ms += hours * 3_600_000;
        }
        self.disturb();
    }

    pub(crate) fn begin_fault(&mut self, number: usize) {
        if self.healed {
            return;
        }
        let kind = self.faults[number].kind.clone();
        let until = self.faults[number].until;
        self.trace
            .line(self.now, None, format_args!("fault: {kind}"));
        self.disturb();
        if !matches!(kind, FaultKind::Partition { .. }) {
            self.faults_on += 1;
        }
        match kind {
            FaultKind::Crash { host } => self.crash(host),
            FaultKind::CrashInStep { host, effects } => {
                self.hosts[host].killed_after = Some((effects, until));
            }
            FaultKind::Shutdown { host } => self.shut_down(host),
            FaultKind::Reboot { host } => self.power_off(host),
            FaultKind::HostLoss { host, .. } => {
                // At least two must be left, and more than half, or what was asked is lost too.
                let left = self.hosts.iter().filter(|host| !host.lost).count();
                if left > (self.hosts.len() / 2).max(2) {
                    self.lose_host(host);
                }
            }
            FaultKind::Freeze { host } => self.freeze(host),
            FaultKind::DockerHang { host } => self.docker_down(host),
            FaultKind::DockerRestart { host } => {
                self.docker_down(host);
                self.end_containers(host);
            }
            FaultKind::DockerFlaky { host, ppm } => self.hosts[host].faulty_calls_ppm = ppm,
            FaultKind::ClockJump { host, ms } => self.hosts[host].skew_ms = ms,
            FaultKind::Exits { ppm } => self.exits_ppm = ppm,
            FaultKind::Stubborn { ppm } => self.stubborn_ppm = ppm,
            FaultKind::OperatorRemoves { host } => self.operator_removes(host),
            FaultKind::Loss { ppm } => self.network.weather.loss_ppm = ppm,
            FaultKind::Duplicates { ppm } => self.network.weather.duplicate_ppm = ppm,
            FaultKind::Slow { ms } => {
                self.network.weather.reorder_ppm = 300_000;
                self.network.weather.reorder_us = ms * 1_000;
            }
            FaultKind::Partition { .. }
            | FaultKind::Mute { .. }
            | FaultKind::Deaf { .. }
            | FaultKind::OneWay { .. }
            | FaultKind::LinkCut { .. } => {
                for (from, to) in cut_by(&kind, self.hosts.len()) {
                    self.network.cut(from, to);
                }
            }
        }
    }

    pub(crate) fn end_fault(&mut self, number: usize) {
        if self.healed {
            return;
        }
        let kind = self.faults[number].kind.clone();
        self.trace
            .line(self.now, None, format_args!("fault ends: {kind}"));
        self.disturb();
        if !matches!(kind, FaultKind::Partition { .. }) {
            self.faults_on -= 1;
        }
        match kind {
            FaultKind::Crash { host } | FaultKind::Shutdown { host } => self.start_agent(host),
            FaultKind::CrashInStep { host, .. } => {
                self.hosts[host].killed_after = None;
                self.start_agent(host);
            }
            FaultKind::Reboot { host } => self.power_on(host),
            FaultKind::HostLoss {
                host,
                returns: true,
            } if self.hosts[host].lost => {
                self.replace_host(host);
            }
            FaultKind::HostLoss { .. }
            | FaultKind::ClockJump { .. }
            | FaultKind::OperatorRemoves { .. } => {}
            FaultKind::Freeze { host } => self.thaw(host),
            FaultKind::DockerHang { host } | FaultKind::DockerRestart { host } => {
                self.docker_up(host);
            }
            FaultKind::DockerFlaky { host, .. } => self.hosts[host].faulty_calls_ppm = 0,
            FaultKind::Exits { .. } => self.exits_ppm = 0,
            FaultKind::Stubborn { .. } => self.stubborn_ppm = 0,
            FaultKind::Loss { .. } => self.network.weather.loss_ppm = 0,
            FaultKind::Duplicates { .. } => self.network.weather.duplicate_ppm = 0,
            FaultKind::Slow { .. } => self.network.weather.reorder_ppm = 0,
            FaultKind::Partition { .. }
            | FaultKind::Mute { .. }
            | FaultKind::Deaf { .. }
            | FaultKind::OneWay { .. }
            | FaultKind::LinkCut { .. } => {
                for (from, to) in cut_by(&kind, self.hosts.len()) {
                    self.network.mend(from, to);
                }
            }
        }
    }

    /// Ends every fault at once: from here on nothing goes wrong any more.
    pub fn heal(&mut self) {
        self.trace
            .line(self.now, None, format_args!("all faults end"));
        self.healed = true;
        self.faults_on = 0;
        self.network.mend_all();
        self.network.weather = Weather::FAIR;
        (self.exits_ppm, self.stubborn_ppm) = (0, 0);
        for host in 0..self.hosts.len() {
            self.hosts[host].faulty_calls_ppm = 0;
            self.hosts[host].runtime.calm();
            self.hosts[host].killed_after = None;
            self.thaw(host);
            self.docker_up(host);
            if !self.hosts[host].lost {
                self.power_on(host);
            }
        }
        self.disturb();
    }

    pub fn partition(&mut self, side: &[usize]) {
        let side = side.to_vec();
        for (from, to) in cut_by(&FaultKind::Partition { side }, self.hosts.len()) {
            self.network.cut(from, to);
        }
        self.disturb();
    }

    /// So long each pull takes from now on, on every host.
    pub fn set_pull_time(&mut self, micros: u64) {
        for host in &mut self.hosts {
            host.runtime.manners.pull_us = (micros, micros);
        }
    }

    /// The network, for what a story does to it.
    pub fn network(&mut self) -> &mut Network {
        self.disturb();
        &mut self.network
    }

    pub fn mend_network(&mut self) {
        self.network.mend_all();
        self.disturb();
    }

    /// The machine has a new address when its agent, which is not there now, starts again.
    pub fn readdress(&mut self, place: usize) {
        assert!(
            self.hosts[place].agent.is_none(),
            "an agent keeps its address"
        );
        self.network.move_host(place);
        self.disturb();
    }

    /// Whatever tells the agents of first peers has noticed where they are now.
    pub fn discover(&mut self) {
        self.seeds = first_addresses(&self.network, self.hosts.len());
        for place in 0..self.hosts.len() {
            self.step(place, Input::Seeds(self.seeds.clone()));
        }
    }

    /// The agent is asked to end, says so, and ends in order.
    pub fn shut_down(&mut self, place: usize) {
        if !self.hosts[place].is_acting() {
            return;
        }
        self.step(place, Input::Shutdown);
        self.hosts[place].disk.flush();
        self.crash(place);
    }

    pub fn power_off(&mut self, place: usize) {
        if !self.hosts[place].powered {
            return;
        }
        self.crash(place);
        let wall = self.hosts[place].wall(self.now);
        self.hosts[place].powered = false;
        self.hosts[place].runtime.end_all(wall);
        self.refresh_all(place);
    }

    pub fn power_on(&mut self, place: usize) {
        if !self.hosts[place].lost {
            self.hosts[place].powered = true;
            self.start_agent(place);
        }
    }

    /// The machine with all that is on it is gone.
    pub fn lose_host(&mut self, place: usize) {
        self.power_off(place);
        self.hosts[place].lost = true;
    }

    /// The agent has said goodbye, so the machine is switched off.
    pub(crate) fn go_away(&mut self, place: usize) {
        self.hosts[place].disk.flush();
        self.lose_host(place);
    }

    /// A machine that was gone is back, with its identity and its disk.
    pub fn come_back(&mut self, place: usize) {
        self.hosts[place].lost = false;
        self.hosts[place].leave_by = None;
        self.disturb();
        self.power_on(place);
    }

    /// A new machine, with a new identity, takes the place and the address of a lost one.
    pub fn replace_host(&mut self, place: usize) {
        let boot = self.hosts[place].boot + 1;
        let mut rng = self.rng.clone();
        self.hosts[place] = Host::new(place, &mut rng);
        self.rng = rng;
        self.hosts[place].boot = boot;
        self.checks.on_replaced(place);
        self.disturb();
        self.start_agent(place);
    }

    pub fn docker_down(&mut self, place: usize) {
        self.hosts[place].runtime.set_answers(false);
        self.disturb();
        let reason = "DockerTimeoutError: no answer".to_owned();
        let event = RuntimeEvent::Unavailable { reason };
        let at = self.now + 10_000 + self.rng.below(1_000_000);
        let boot = self.hosts[place].boot;
        self.tell_at(at, (place, boot), event);
    }

    /// From now on so many of the calls of its container runtime fail.
    pub fn spoil_docker(&mut self, place: usize, ppm: u64) {
        self.hosts[place].faulty_calls_ppm = ppm;
        self.disturb();
    }

    pub fn docker_up(&mut self, place: usize) {
        let version = VERSION.to_owned();
        let event = RuntimeEvent::Available { version };
        if !self.hosts[place].runtime.answers() {
            self.hosts[place].runtime.set_answers(true);
            // Later than the word of its being down, which may still be on its way.
            let at = self.now + 1_100_000;
            let boot = self.hosts[place].boot;
            self.tell_at(at, (place, boot), event);
        }
    }

    pub fn end_containers(&mut self, place: usize) {
        let wall = self.hosts[place].wall(self.now);
        self.hosts[place].runtime.end_all(wall);
        self.refresh_all(place);
    }

    /// `docker kill` of one of our running containers; `false` if there is none.
    pub fn kill_container(&mut self, place: usize) -> bool {
        let found = self.running_container(place);
        found.is_some_and(|key| self.kill(place, &key))
    }

    /// As [`Self::kill_container`], of the first one of that name.
    pub fn kill_one(&mut self, place: usize, name: &str) -> bool {
        let found = {
            let mut all = self.hosts[place].runtime.containers();
            let found = all.find(|(key, there)| key.name == name && there.is_running());
            found.map(|(key, _)| key.clone())
        };
        found.is_some_and(|key| self.kill(place, &key))
    }

    /// Whatever is checked on the host is not well any more.
    pub fn sicken(&mut self, place: usize) {
        self.hosts[place].runtime.sicken();
        self.disturb();
        self.refresh_all(place);
    }

    fn kill(&mut self, place: usize, key: &ContainerKey) -> bool {
        let wall = self.hosts[place].wall(self.now);
        let event = self.hosts[place].runtime.kill(key, wall);
        self.disturb();
        self.refresh(place, key.task);
        event
            .into_iter()
            .for_each(|event| self.tell_runtime(place, event));
        true
    }

    /// As [`Self::kill_container`], and the word of it gets lost.
    pub fn kill_unheard(&mut self, place: usize) {
        let wall = self.hosts[place].wall(self.now);
        if let Some(key) = self.running_container(place) {
            drop(self.hosts[place].runtime.kill(&key, wall));
            self.disturb();
            self.refresh(place, key.task);
        }
    }

    /// A container is removed, and the word of it gets lost.
    pub fn vanish(&mut self, place: usize) {
        let wall = self.hosts[place].wall(self.now);
        if let Some(key) = self.running_container(place) {
            self.hosts[place].runtime.remove_by_force(&key, wall);
            self.disturb();
            self.refresh(place, key.task);
        }
    }

    /// The disk is empty, also of how often the agent started.
    pub fn wipe_disk(&mut self, place: usize) {
        self.hosts[place].disk = Disk::default();
        self.hosts[place].journal = Journal::default();
        self.hosts[place].incarnation = 0;
    }

    /// The machine at `place` is made anew, from a copy of the disk of another one.
    pub fn start_twin(&mut self, place: usize, of: usize) {
        self.lose_host(place);
        let (id, saved) = (self.hosts[of].id, self.hosts[of].disk.saved());
        let fingerprint = self.hosts[place].fingerprint;
        let boot = self.hosts[place].boot + 1;
        let mut twin = Host::new(place, &mut self.rng);
        (twin.id, twin.fingerprint, twin.boot) = (id, fingerprint, boot);
        twin.runtime = FakeRuntime::new(CLUSTER, id, self.rng.next_u64());
        twin.disk.persist(saved);
        twin.is_twin = true;
        self.hosts[place] = twin;
        self.checks.on_replaced(place);
        self.disturb();
        self.start_agent(place);
    }

    /// A suspended machine wakes up: nothing that was sent to it meanwhile is there.
    pub fn wake_up(&mut self, place: usize) {
        if let Some(frozen) = &mut self.hosts[place].frozen {
            frozen.inputs.clear();
        }
        self.thaw(place);
    }

    /// Hands a message to an agent as if `from` had said it.
    pub fn tell(&mut self, from: usize, to: usize, message: Message) {
        let input = Input::Message {
            from: self.hosts[from].id,
            address: self.network.address(from),
            via: Via::Datagram,
            message,
        };
        self.step(to, input);
    }

    pub fn operator_removes(&mut self, place: usize) {
        let wall = self.hosts[place].wall(self.now);
        let Some(key) = self.running_container(place) else {
            return;
        };
        let events = self.hosts[place].runtime.remove_by_force(&key, wall);
        self.refresh(place, key.task);
        let answers = self.hosts[place].runtime.answers();
        let told = events.into_iter().filter(|_| answers);
        told.for_each(|event| self.tell_runtime(place, event));
    }

    fn running_container(&self, place: usize) -> Option<ContainerKey> {
        let mut all = self.hosts[place].runtime.containers();
        all.find(|(_, container)| container.is_running())
            .map(|(key, _)| key.clone())
    }

    /// Planted bugs that strike once, when a task has come up or is looked at.
    pub(crate) fn plant_container(&mut self, place: usize, task: Option<TaskId>) {
        let Some(task) = task.filter(|_| !self.struck && self.now > 20 * SECOND) else {
            return;
        };
        let key = self.running_container(place).filter(|key| key.task == task);
        let Some(key) = key else {
            return;
        };
        let wall = self.hosts[place].wall(self.now);
        if self.options.planted != Some(Planted::DoubleStart) {
            return;
        }
        let twin = TaskId(task.0 ^ 1);
        self.hosts[place].runtime.double(&key, twin, wall);
        self.refresh(place, twin);
        self.struck = true;
    }

    /// Planted bugs that strike once, some time after the cluster has come to rest.
    pub fn strike(&mut self) {
        let any = self.options.planted == Some(Planted::Resurrect);
        let found = self.hosts.iter().find_map(|host| {
            let mut all = host.runtime.containers();
            let (key, there) = all.find(|(_, there)| any || there.is_running())?;
            Some((host.place, key.clone(), there.clone()))
        });
        let Some((place, key, there)) = found.filter(|_| !self.struck) else {
            return;
        };
        let (runtime_id, mut make) = (there.runtime_id, there.make);
        make.labels.task.0 ^= 1;
        let command = match self.options.planted {
            Some(Planted::StopHealthy) => RuntimeCommand::Stop {
                task: key.task,
                container: key.name,
                runtime_id,
                grace: Span::from_secs(1),
            },
            Some(Planted::Resurrect) => RuntimeCommand::Create(Box::new(make)),
            Some(Planted::VanishQuietly) => {
                self.struck = true;
                let wall = self.hosts[place].wall(self.now);
                self.hosts[place].runtime.remove_by_force(&key, wall);
                self.refresh(place, key.task);
                return;
            }
            _ => return,
        };
        self.struck = true;
        self.command(place, command);
    }
}

/// The directions that a fault of the network cuts.
fn cut_by(kind: &FaultKind, hosts: usize) -> Vec<(usize, usize)> {
    let all = || (0..hosts).flat_map(|a| (0..hosts).map(move |b| (a, b)));
    let differ = |(a, b): &(usize, usize)| a != b;
    match kind {
        FaultKind::Partition { side } => all()
            .filter(|(a, b)| side.contains(a) != side.contains(b))
            .collect(),
        FaultKind::Mute { host } => all().filter(differ).filter(|(a, _)| a == host).collect(),
        FaultKind::Deaf { host } => all().filter(differ).filter(|(_, b)| b == host).collect(),
        FaultKind::OneWay { from, to } => vec![(*from, *to)],
        FaultKind::LinkCut { a, b } => vec![(*a, *b), (*b, *a)],
        _ => Vec::new(),
    }
}
