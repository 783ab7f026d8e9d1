//! One host of the lab: its first process, its Docker, what is started in it, and its end.

use super::{
    Lab, Outcome, cgroup,
    process::{self, Process},
    switch, tool,
};
use crate::{
    docker::Engine,
    usage,
    wait::{self, secs, wall_nanos},
};
use nix::sys::signal::Signal;
use std::{
    fs::{self, OpenOptions},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

const INIT_WITHIN: Duration = secs(10);
const DOCKER_WITHIN: Duration = secs(40);
const DOCKER_ASKED_FOR: Duration = secs(2);
const GONE_WITHIN: Duration = secs(20);
const LOG_LINES_SHOWN: usize = 8;
const DOCKERD: &str = "dockerd";
/// The kernel cuts names of processes after 15 characters.
const SHIM: &str = "containerd-shim";
/// Joins the control groups, then becomes the command.
const JOIN: &str = r#"for group in $1; do echo 0 >"$group/cgroup.procs" || exit 1; done
shift; exec "$@""#;
/// Says its pid as the host knows it, then becomes the command.
const BECOME: &str = r#"echo $$ >"$0"; exec "$@""#;

/// A host by its number. It may be off, or not exist.
#[derive(Clone, Debug)]
pub struct Host {
    pub lab: Lab,
    pub number: u8,
}

/// When a host was lost, on the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Loss {
    /// From now on nobody heard of it.
    pub silent_nanos: u64,
    /// Its last process was gone.
    pub gone_nanos: u64,
}

impl Host {
    /// Its name, on itself and on the others.
    pub fn name(&self) -> String {
        switch::name(self.number)
    }

    pub fn address(&self) -> Ipv4Addr {
        switch::address(self.number)
    }

    /// Its files, as the machine sees them.
    pub fn dir(&self) -> PathBuf {
        self.lab.dir.join(self.name())
    }

    /// Where the machine sees what the host has in its own `/var`, `/etc` or `/opt`.
    pub fn own_file(&self, path: &str) -> PathBuf {
        self.dir().join("upper").join(path.trim_start_matches('/'))
    }

    /// Docker's socket, from outside: it answers whatever the network does.
    pub fn docker_socket(&self) -> PathBuf {
        self.dir().join("docker.sock")
    }

    /// What Docker keeps, the same path inside and outside.
    pub fn docker_data(&self) -> PathBuf {
        self.dir().join("docker")
    }

    pub fn engine(&self) -> Engine {
        Engine::at(&self.docker_socket())
    }

    /// Its first process, if it is on.
    pub fn init(&self) -> Option<Process> {
        Process::load(&self.dir().join("init.pid"))
    }

    pub fn is_on(&self) -> bool {
        self.init().is_some()
    }

    pub fn is_frozen(&self) -> bool {
        cgroup::is_frozen(self)
    }

    /// Stalls all its processes, as a virtual machine that is paused; the kernel still answers.
    pub fn freeze(&self) -> Outcome<()> {
        cgroup::freeze(self, true)
    }

    pub fn thaw(&self) -> Outcome<()> {
        cgroup::freeze(self, false)
    }

    /// The ids of the containers that live, whatever its Docker says or does not say.
    pub fn living(&self) -> Vec<String> {
        cgroup::living(self)
    }

    /// What the host's own programs hold in memory, in MiB: not its containers, nor their shims.
    pub fn resident_mib(&self) -> f64 {
        let own = self.init().map(process::neighbours).unwrap_or_default();
        let counted = own.iter().filter(|(_, name)| !name.starts_with(SHIM));
        // One may end while we count.
        let each = counted.filter_map(|(pid, _)| usage::resident_mib_of(*pid));
        each.sum()
    }

    /// CPU time of the host's own programs until now: not that of its containers.
    pub fn cpu_used(&self) -> Duration {
        cgroup::cpu_used(self)
    }

    /// What a process was started as (`spawn`), or `dockerd`; while it lives.
    pub fn process(&self, name: &str) -> Option<Process> {
        Process::load(&self.pid_file(name))
    }

    fn pid_file(&self, name: &str) -> PathBuf {
        self.dir().join(format!("{name}.pid"))
    }

    pub fn log_path(&self, name: &str) -> PathBuf {
        self.dir().join(format!("{name}.log"))
    }

    /// A signal to what was spawned by this name, else to all of the host's own processes (not its
    /// containers') that are called so, as `containerd`.
    pub fn signal(&self, name: &str, signal: Signal) -> Outcome<()> {
        if let Some(process) = self.process(name) {
            return process.signal(signal);
        }
        let init = self.on()?;
        let meant = process::neighbours(init).into_iter();
        let meant: Vec<_> = meant.filter(|(_, called)| called == name).collect();
        if meant.is_empty() {
            return Err(format!("nothing on {} is called {name}", self.name()));
        }
        let mut processes = meant.iter().filter_map(|(pid, _)| Process::of(*pid));
        processes.try_for_each(|process| process.signal(signal))
    }

    fn on(&self) -> Outcome<Process> {
        self.init().ok_or_else(|| format!("{} is off", self.name()))
    }

    /// The words that put a command into the host. The observer is a network and nothing more.
    pub fn entered(&self) -> Outcome<Vec<String>> {
        if self.number == switch::OBSERVER {
            let network = switch::path(&switch::namespace(&self.lab, self.number));
            let network = format!("--net={}", network.display());
            return Ok(vec!["nsenter".to_owned(), network]);
        }
        let init = self.on()?.pid.to_string();
        let words = ["nsenter", "-t", &init, "-m", "-u", "-i", "-n", "-p"];
        Ok(words.map(str::to_owned).to_vec())
    }

    /// A command in the host, of one who looks in: it does not freeze with the host.
    pub fn command(&self, words: &[String]) -> Outcome<Command> {
        let entered = self.entered()?;
        let mut command = tool::command(&entered[0]);
        command.args(&entered[1..]).arg("--").args(words);
        Ok(command)
    }

    /// Starts a command in the host that goes on by itself and dies with the host; its output goes
    /// to `NAME.log`.
    pub fn spawn(&self, name: &str, words: &[String]) -> Outcome<Process> {
        let init = self.on()?;
        if self.process(name).is_some() {
            return Err(format!("{name} runs on {} already", self.name()));
        }
        let told = self.dir().join(format!("{name}.inner"));
        remove_file(&told)?;
        let mut command = self.joining()?;
        command
            .args(self.entered()?)
            .args(["--wd=/", "--", "setsid", "--fork", "sh", "-c"]);
        command.arg(BECOME).arg(&told).args(words);
        let cannot = |why: String| format!("cannot start {name} on {}: {why}", self.name());
        let status = self.logged(&mut command, name)?.status();
        let status = status.map_err(|err| cannot(err.to_string()))?;
        if !status.success() {
            return Err(cannot(format!("{status}\n{}", self.log_end(name))));
        }
        let inner = wait::poll(INIT_WITHIN, || {
            let text = fs::read_to_string(&told).unwrap_or_default();
            let pid = text.strip_suffix('\n').and_then(|text| text.parse().ok());
            pid.ok_or_else(|| "it does not say its pid".to_owned())
        });
        let process = process::outer(init, inner.map_err(cannot)?);
        let ended = || cannot(format!("it ended at once\n{}", self.log_end(name)));
        let process = process.ok_or_else(ended)?;
        process.save(&self.pid_file(name))?;
        remove_file(&told)?;
        Ok(process)
    }

    /// A command that joins the host's control groups, then becomes what is added to it.
    fn joining(&self) -> Outcome<Command> {
        let groups = cgroup::make(self)?;
        let groups: Vec<_> = groups
            .iter()
            .map(|group| group.display().to_string())
            .collect();
        let mut command = tool::command("sh");
        command.args(["-c", JOIN, "join", &groups.join(" ")]);
        Ok(command)
    }

    fn logged<'a>(&self, command: &'a mut Command, name: &str) -> Outcome<&'a mut Command> {
        let path = self.log_path(name);
        let log = OpenOptions::new().create(true).append(true).open(&path);
        let log = log.and_then(|log| Ok((log.try_clone()?, log)));
        let (out, err) = log.map_err(|err| format!("cannot open {}: {err}", path.display()))?;
        Ok(command.stdin(Stdio::null()).stdout(out).stderr(err))
    }

    fn log_end(&self, name: &str) -> String {
        let log = fs::read_to_string(self.log_path(name)).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }

    /// Turns it on, with the disk that it has: cable, first process, Docker, image.
    pub(super) fn boot(&self, dockerd_arguments: &[String], image: &Path) -> Outcome<()> {
        let dir = self.dir();
        fs::create_dir_all(&dir).map_err(|err| format!("cannot make {}: {err}", dir.display()))?;
        switch::plug(&self.lab, self.number)?;
        self.start_init()?;
        self.start_dockerd(dockerd_arguments)?;
        let archive = fs::read(image).map_err(|err| format!("{}: {err}", image.display()))?;
        self.engine().load(&archive)
    }

    fn start_init(&self) -> Outcome<()> {
        let dir = self.dir();
        for rest in ["init.pid", "init.outer", "init.ready"] {
            remove_file(&dir.join(rest))?;
        }
        let mut names = "127.0.0.1 localhost\n".to_owned();
        for number in 0..=super::HOSTS_MAX {
            names += &format!("{} {}\n", switch::address(number), switch::name(number));
        }
        let written = fs::write(dir.join("hosts"), names)
            .and_then(|()| fs::write(dir.join("init.sh"), include_str!("init.sh")));
        written.map_err(|err| format!("cannot write into {}: {err}", dir.display()))?;
        let network = switch::path(&switch::namespace(&self.lab, self.number));
        let reaper = tool::reaper().ok_or("tini is missing")?;
        let mut command = self.joining()?;
        // Forked away from us: nobody but the machine's own first process need wait for it.
        command.args(["setsid", "--fork", "nsenter"]);
        command.arg(format!("--net={}", network.display()));
        command.args(["unshare", "-m", "-u", "-i", "-p", "--fork", "--kill-child"]);
        command.args(["bash", &dir.join("init.sh").display().to_string()]);
        command.args([&dir.display().to_string(), &self.name(), reaper]);
        let cannot = |why: String| format!("{} does not come up: {why}", self.name());
        let status = self.logged(&mut command, "init")?.status();
        let status = status.map_err(|err| cannot(err.to_string()))?;
        if !status.success() {
            return Err(cannot(format!("{status}\n{}", self.log_end("init"))));
        }
        let pid = wait::poll(INIT_WITHIN, || {
            if !dir.join("init.ready").exists() {
                return Err(self.log_end("init"));
            }
            let text = fs::read_to_string(dir.join("init.outer")).unwrap_or_default();
            text.trim()
                .parse()
                .map_err(|_| "it does not say its pid".to_owned())
        });
        let pid = pid.map_err(&cannot)?;
        let init = Process::of(pid).ok_or_else(|| cannot(self.log_end("init")))?;
        init.save(&dir.join("init.pid"))
    }

    /// Starts Docker's daemon, unless it runs, and waits until it answers.
    pub fn start_dockerd(&self, arguments: &[String]) -> Outcome<()> {
        if self.process(DOCKERD).is_none() {
            let dir = self.dir().display().to_string();
            // /etc/docker/daemon.json belongs to the machine's own engine.
            let empty = format!("{dir}/daemon.json");
            fs::write(&empty, "{}\n").map_err(|err| format!("cannot write {empty}: {err}"))?;
            remove_file(&self.docker_socket())?;
            let mut words = vec![DOCKERD.to_owned()];
            let parent = cgroup::parent_of_containers(self);
            let outside = format!("unix://{}", self.docker_socket().display());
            let data = self.docker_data().display().to_string();
            let flags = [
                ("--config-file", empty.as_str()),
                ("--data-root", &data),
                ("--exec-root", "/run/docker"),
                ("--pidfile", "/run/docker.pid"),
                ("--host", "unix:///run/docker.sock"),
                ("--host", &outside),
                ("--exec-opt", "native.cgroupdriver=cgroupfs"),
                ("--cgroup-parent", &parent),
            ];
            words.extend(
                flags
                    .iter()
                    .flat_map(|(flag, value)| [*flag, *value])
                    .map(str::to_owned),
            );
            words.extend_from_slice(arguments);
            self.spawn(DOCKERD, &words)?;
        }
        wait::poll(DOCKER_WITHIN, || {
            if self.engine().answers_within(DOCKER_ASKED_FOR) {
                return Ok(());
            }
            let what = format!("dockerd of {} does not answer", self.name());
            Err(format!(
                "{what}; its last words:\n{}",
                self.log_end(DOCKERD)
            ))
        })
    }

    /// Loss of power: the link goes down first, so that no peer hears that connections end.
    pub(super) fn kill(&self) -> Outcome<Loss> {
        switch::pull(&self.lab, self.number)?;
        let silent_nanos = wall_nanos();
        let init = self.init();
        if let Some(init) = init {
            init.signal(Signal::SIGKILL)?;
        }
        // What is frozen cannot die.
        if self.is_frozen() {
            self.thaw()?;
        }
        if let Some(init) = init {
            wait::poll(GONE_WITHIN, || match init.is_alive() {
                false => Ok(()),
                true => Err(format!("the first process of {} does not die", self.name())),
            })?;
        }
        // What a crash of the lab left: a first process that nobody wrote down.
        cgroup::kill(self)?;
        let gone_nanos = wall_nanos();
        switch::unplug(&self.lab, self.number)?;
        for name in self.spawned() {
            remove_file(&self.pid_file(&name))?;
        }
        remove_file(&self.docker_socket())?;
        cgroup::remove(self)?;
        Ok(Loss {
            silent_nanos,
            gone_nanos,
        })
    }

    /// An orderly end: SIGTERM to what was spawned, then to dockerd, then off.
    pub(super) fn stop(&self) -> Outcome<Loss> {
        let mut names = self.spawned();
        names.retain(|name| name != DOCKERD && name != "init");
        names.push(DOCKERD.to_owned());
        for process in names.iter().filter_map(|name| self.process(name)) {
            process.signal(Signal::SIGTERM)?;
            wait::poll(GONE_WITHIN, || match process.is_alive() {
                false => Ok(()),
                true => Err(format!(
                    "process {} of {} runs on",
                    process.pid,
                    self.name()
                )),
            })?;
        }
        self.kill()
    }

    /// What has a file with its pid, whether it lives or not.
    fn spawned(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir()).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names
            .filter_map(|name| name.strip_suffix(".pid").map(str::to_owned))
            .collect()
    }
}

fn remove_file(path: &Path) -> Outcome<()> {
    match fs::remove_file(path) {
        Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("cannot remove {}: {err}", path.display()))
        }
        _ => Ok(()),
    }
}
