//! The lab: several hosts on this machine, each with a network, processes, files and a Docker of
//! its own, and the faults that machines really have.
//!
//! Nothing outside its namespaces and its directory is touched. All of it is found again by name,
//! pid and start time, so that whoever comes after a crash can go on or clear away.

pub mod fleet;
pub mod faults;
pub mod host;
pub mod process;
pub mod proxy;
mod cgroup;
mod switch;
mod tool;

use crate::program;
use faults::Fault;
use host::{Host, Loss};
use nix::unistd::geteuid;
use std::{
    env, fs,
    fs::File,
    path::{Path, PathBuf},
    thread,
};

/// The reason why not, for a person.
pub type Outcome<T> = Result<T, String>;

pub const HOSTS_MAX: u8 = 20;
const NAME_CHARS_MAX: usize = 11;
/// Says that a directory is a lab's, and may be removed as one.
const MARK: &str = ".lab";

/// A lab by its name. It may be up or not.
#[derive(Clone, Debug)]
pub struct Lab {
    pub name: String,
    pub dir: PathBuf,
}

impl Lab {
    /// The lab of this name, or of `LAB_NAME`; its files go to `LAB_DIR`, by default `/tmp`.
    ///
    /// Several can live side by side.
    pub fn named(name: &str) -> Outcome<Self> {
        let name = env::var("LAB_NAME").unwrap_or_else(|_| name.to_owned());
        // It becomes part of the names of namespaces and paths.
        let good = name.starts_with("lab")
            && name.len() <= NAME_CHARS_MAX
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if !good {
            let rule = format!("at most {NAME_CHARS_MAX} small letters and digits");
            return Err(format!(
                "{name:?} is no lab's name: \"lab\", and {rule} in all"
            ));
        }
        if !geteuid().is_root() {
            return Err("only root can make network namespaces, mounts and control groups".into());
        }
        tool::check()?;
        let base = env::var("LAB_DIR").unwrap_or_else(|_| "/tmp".to_owned());
        let dir = Path::new(&base).join(&name);
        Ok(Self { name, dir })
    }

    /// A host by its number, from 1; 0 is the observer.
    pub fn host(&self, number: u8) -> Host {
        Host {
            lab: self.clone(),
            number,
        }
    }

    /// The hosts that exist, on or off.
    pub fn hosts(&self) -> Vec<Host> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let numbers = names.filter_map(|name| name.strip_prefix('h')?.parse::<u8>().ok());
        let mut numbers: Vec<_> = numbers.collect();
        numbers.sort_unstable();
        numbers
            .into_iter()
            .map(|number| self.host(number))
            .collect()
    }

    pub fn is_up(&self) -> bool {
        self.dir.join(MARK).exists()
    }

    /// Starts what is missing of the hosts 1 to `count`, and waits until each one's Docker answers
    /// and has the image; their numbers. Arguments for dockerd are kept for later boots.
    pub fn up(&self, count: u8, dockerd_arguments: &[String]) -> Outcome<Vec<u8>> {
        if !(1..=HOSTS_MAX).contains(&count) {
            return Err(format!("a lab has 1 to {HOSTS_MAX} hosts"));
        }
        let _lock = self.lock()?;
        fs::create_dir_all(&self.dir)
            .and_then(|()| fs::write(self.dir.join(MARK), ""))
            .and_then(|()| fs::copy(program::image_archive(), self.image_path()))
            .and_then(|_| fs::write(self.arguments_path(), dockerd_arguments.join("\n")))
            .map_err(|err| format!("cannot write into {}: {err}", self.dir.display()))?;
        switch::up(self)?;
        switch::apply(self, &faults::table(&self.faults()?))?;
        let all = (1..=count).map(|number| self.host(number));
        let (on, off): (Vec<_>, Vec<_>) = all.partition(Host::is_on);
        self.boot_now(&off)?;
        for host in &on {
            host.start_dockerd(dockerd_arguments)?;
        }
        Ok(off.iter().map(|host| host.number).collect())
    }

    fn arguments_path(&self) -> PathBuf {
        self.dir.join("dockerd-arguments")
    }

    fn image_path(&self) -> PathBuf {
        self.dir.join("image.tar")
    }

    /// What dockerd is told on every host, beside what a lab needs.
    pub fn dockerd_arguments(&self) -> Vec<String> {
        let text = fs::read_to_string(self.arguments_path()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Turns hosts on again that are off, each with the disk that it has.
    pub fn boot(&self, hosts: &[u8]) -> Outcome<()> {
        let _lock = self.lock()?;
        self.boot_now(&self.that_are_off(hosts)?)
    }

    /// Puts new machines in the places of hosts that are off: same address, empty disk, other id.
    pub fn boot_fresh(&self, hosts: &[u8]) -> Outcome<()> {
        let _lock = self.lock()?;
        let hosts = self.that_are_off(hosts)?;
        for host in &hosts {
            // Rests of a host that died by itself may hold its files.
            host.kill()?;
            self.remove_tree(&host.dir())?;
        }
        self.boot_now(&hosts)
    }

    fn that_are_off(&self, hosts: &[u8]) -> Outcome<Vec<Host>> {
        let hosts = self.existing(hosts)?;
        match hosts.iter().find(|host| host.is_on()) {
            Some(on) => Err(format!("{} is on", on.name())),
            None => Ok(hosts),
        }
    }

    fn existing(&self, hosts: &[u8]) -> Outcome<Vec<Host>> {
        let hosts = hosts.iter().map(|number| self.host(*number));
        let hosts: Vec<_> = hosts.collect();
        match hosts.iter().find(|host| !host.dir().is_dir()) {
            Some(unknown) => Err(format!("there is no {} in {}", unknown.name(), self.name)),
            None => Ok(hosts),
        }
    }

    fn boot_now(&self, hosts: &[Host]) -> Outcome<()> {
        let (arguments, image) = (self.dockerd_arguments(), self.image_path());
        each(hosts, |host| {
            // What a host left that died by itself: its namespace, its groups.
            host.kill()?;
            host.boot(&arguments, &image)
        })?;
        Ok(())
    }

    /// All of them lose power at once.
    pub fn kill(&self, hosts: &[u8]) -> Outcome<Vec<Loss>> {
        let _lock = self.lock()?;
        each(&self.existing(hosts)?, Host::kill)
    }

    /// All of them are shut down in order.
    pub fn stop(&self, hosts: &[u8]) -> Outcome<Vec<Loss>> {
        let _lock = self.lock()?;
        each(&self.existing(hosts)?, Host::stop)
    }

    pub fn faults(&self) -> Outcome<Vec<Fault>> {
        let text = fs::read_to_string(self.faults_path()).unwrap_or_default();
        text.lines().map(str::parse).collect()
    }

    fn faults_path(&self) -> PathBuf {
        self.dir.join("faults")
    }

    /// Changes the faults of the network, in one moment.
    pub fn set_faults(&self, change: impl FnOnce(&mut Vec<Fault>)) -> Outcome<()> {
        if !self.is_up() {
            return Err(format!("{} is not up", self.name));
        }
        let _lock = self.lock()?;
        let mut faults = self.faults()?;
        change(&mut faults);
        let text: String = faults.iter().map(|fault| format!("{fault}\n")).collect();
        fs::write(self.faults_path(), text).map_err(|err| format!("cannot keep faults: {err}"))?;
        switch::apply(self, &faults::table(&faults))
    }

    /// Ends all hosts and removes all of the lab, also what a crash left of it.
    pub fn down(&self) -> Outcome<()> {
        let _lock = self.lock()?;
        let mut hosts = self.hosts();
        let known: Vec<_> = hosts.iter().map(|host| host.number).collect();
        let lost = switch::found(self)
            .into_iter()
            .filter(|number| !known.contains(number));
        hosts.extend(lost.map(|number| self.host(number)));
        each(&hosts, Host::kill)?;
        switch::down(self)?;
        cgroup::remove_lab(&self.name)?;
        if self.dir.exists() {
            self.remove_tree(&self.dir)?;
        }
        Ok(())
    }

    /// Removes a directory of the lab, unless it is not the lab's or something is mounted in it.
    fn remove_tree(&self, dir: &Path) -> Outcome<()> {
        if !self.is_up() || !dir.starts_with(&self.dir) {
            return Err(format!("{} is no lab's: it is left alone", dir.display()));
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mut points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        if let Some(point) = points.find(|point| Path::new(point).starts_with(dir)) {
            return Err(format!("something is mounted at {point}: it is left alone"));
        }
        match fs::remove_dir_all(dir) {
            Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
                Err(format!("cannot remove {}: {err}", dir.display()))
            }
            _ => Ok(()),
        }
    }

    /// One change at a time; waits for it.
    fn lock(&self) -> Outcome<File> {
        self.lock_named("lock")
    }

    /// One user at a time, for those who make a lab, use it and end it; waits for the turn.
    pub fn turn(&self) -> Outcome<File> {
        self.lock_named("turn")
    }

    fn lock_named(&self, what: &str) -> Outcome<File> {
        let base = self.dir.parent().expect("it was joined to a base");
        let path = base.join(format!(".{}.{what}", self.name));
        let lock = File::create(&path).and_then(|file| file.lock().map(|()| file));
        lock.map_err(|err| format!("cannot lock {}: {err}", path.display()))
    }
}

/// Does the same with all of these hosts at once.
fn each<T: Send>(hosts: &[Host], act: impl Fn(&Host) -> Outcome<T> + Sync) -> Outcome<Vec<T>> {
    let act = &act;
    thread::scope(|scope| {
        let acting = hosts.iter().map(|host| scope.spawn(move || act(host)));
        let acting: Vec<_> = acting.collect();
        let done = acting
            .into_iter()
            .map(|thread| thread.join().expect("it does not panic"));
        // Each has ended before any failure is told.
        done.collect::<Vec<_>>().into_iter().collect()
    })
}
