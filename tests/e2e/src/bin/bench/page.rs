//! The page of benchmarks: one table, in which a part that was not run stays as it is.

use crate::{PARTS, trials::Row};
use e2e::{host::text_of, program};
use std::{fmt::Write as _, fs, process::Command};

/// What the simulator wrote follows, to the end of the page.
const SIMULATOR: &str = "<!-- simulator";
const HEAD: &str = "\
# Benchmarks

Written by `make bench`, which anyone with root on a Linux machine can repeat (one part, fewer
trials: `make bench BENCH='--only host-lost --trials 2'`). Five hosts of the [lab](lab.md) share one
machine; Holdfast, Docker Swarm and Docker alone take turns on them, trial by trial. Times are those
of Docker's own events, from the moment of the fault (for a task that is killed: of its end). The
numbers are of one machine on one day.
";
const COLUMNS: &str = "\
| part | measure | who | to reach | median | least to most | trials | verdict | date |
|---|---|---|---|---|---|---|---|---|
";
const NOTES: &str = "
**Who.** *Swarm* is Docker Swarm as it comes: h1 to h3 are its managers, heartbeat 5 s, restart
delay 5 s. *Swarm, tuned* goes as far as its settings do: `--dispatcher-heartbeat 1s` (in
`host-lost`) and `--restart-delay 0s`. Nothing is published and there is no overlay network; the
image is on every host. Both keep the same number of the same containers, with the same memory
limit, on the same bridge network. In `host-lost`, `three-lost` and `idle` each has hosts of its
own, fresh in each trial; in the other parts both are installed on the same hosts, and only one
has tasks (in `task-killed` all do, and one is hurt).

**What.** `host-lost`: a service of 10; a host loses power, h1 to h5 in turn (Swarm: a worker and,
when that one is back, the leader). `three-lost`: h1, h2 and h5 at once; h1 and h2 are two of
three managers, one of them the leader. `task-killed`: a container is killed; Docker alone creates
and starts one like it, on a request and at the `die` event. `service-created`: 20 tasks; Docker
alone is four starts on each host, two at a time. `agent-frozen`: SIGSTOP to the agent (Swarm: to
dockerd) of h4 for 30 s, whose tasks are fine. `split-healed`: h2 and h4 against the rest, until
each side that replaces has done so; the leader is on the side of three, which is Swarm's best
case. `idle`: 20 tasks; memory and CPU of the host's own programs (dockerd, containerd, agent),
less what they are with 20 containers of Docker alone; a trial is a host. serf is Debian's `serf
agent`, which knows who is there and runs nothing.

**One host.** The other parts have a host whose agent is alone in its cluster. *Docker alone* is the
same Docker, which is told by plain requests exactly what the agent told it for a task, labels and
limits too. Both begin with the request and end with Docker's start event, on an empty Docker.
`task-start`: a service goes from 0 to 1, or `create` and `start`; three pairs a trial.
`start-50`: from 0 to 50, until the last one has started; Docker alone creates and starts 1, 2, 4
and 8 at once, and what is best in the median counts. `adopt-50`: SIGKILL to the agent; from the
command that starts it again until it says that it has compared its tasks with what runs and has
all 50. `running-200`: resident memory of the agent, and its CPU over a minute in which nobody asks
anything. `dns`: a service of 10; for 3 s a client on the same machine keeps 16 questions under way;
how many were answered for each second of CPU that the server's process used, and the delay that
99 % of them kept below. *dnsmasq* is Debian's, on the same host, with the same records in its file.

**Into containers.** Two hosts. `logs`: the log of one container, 600,000 lines of 100 bytes in
Docker's driver `local`, by `holdfast task logs` on the other host, over the network, and by `docker
logs` on its own host, each into /dev/null, in turn; and by how much the two agents grow meanwhile.
`exec`: a command that ends at once, by `holdfast task exec` on its own host and on the other one,
and by `docker exec`, from the start of the program to its end; twenty of each a trial, whose median
counts.

**Asked and told.** `reads`: an agent alone on one core, whose disk has 10,000 tasks on 20 hosts;
for 15 s, 100 `DescribeServices` (of 1 to 10 services) and 100 `DescribeTasks` (of 100 tasks) a
second, each sent when it is due, whatever is still under way, on a connection of its own; the delay
counts from then. The agent's loop goes on when it answers `/healthz`, which is asked every 10 ms:
*nobody asks* is the same without the other requests. Nothing beside it does the same without a
control plane. `seen`: five hosts; a change is asked of one agent, and each other agent is looked at
twice a millisecond or less until it tells of it; from the request to the last of them, six changes
of each kind a trial, at each agent in turn. serf sets a tag of a host and is looked at by `serf
members`, which takes some ms.
";

/// Writes the rows of these parts into the page.
pub(crate) fn write(path: &str, measured: &[(&str, Vec<Row>)]) {
    let old = fs::read_to_string(path).unwrap_or_default();
    let page = renew(&old, &machine(), &date(), measured);
    fs::write(path, page).unwrap_or_else(|err| panic!("write {path}: {err}"));
}

/// The table of these parts alone.
pub(crate) fn table(measured: &[(&str, Vec<Row>)]) -> String {
    let date = date();
    let lines = measured
        .iter()
        .flat_map(|(part, rows)| lines(part, rows, &date));
    COLUMNS.to_owned() + &lines.collect::<String>()
}

fn renew(old: &str, machine: &str, date: &str, measured: &[(&str, Vec<Row>)]) -> String {
    let (ours, simulator) = old.find(SIMULATOR).map_or((old, ""), |at| old.split_at(at));
    let mut page = format!("{HEAD}\n{machine}\n{COLUMNS}");
    for (part, ..) in PARTS {
        match measured.iter().find(|(name, _)| *name == part) {
            Some((_, rows)) => page.extend(lines(part, rows, date)),
            None => {
                let begins = first_cell(part);
                let kept = ours.lines().filter(|line| line.starts_with(&begins));
                page.extend(kept.map(|line| format!("{line}\n")));
            }
        }
    }
    page += NOTES;
    if !simulator.is_empty() {
        page = page + "\n" + simulator;
    }
    page
}

fn first_cell(part: &str) -> String {
    format!("| `{part}` |")
}

fn lines(part: &str, rows: &[Row], date: &str) -> Vec<String> {
    let line = |row: &Row| {
        let cells = row.cells(rows).join(" | ");
        format!("{} {cells} | {date} |\n", first_cell(part))
    };
    rows.iter().map(line).collect()
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.ok().filter(|output| output.status.success());
    output.map_or_else(
        || "unknown".to_owned(),
        |output| text_of(&output.stdout).trim().to_owned(),
    )
}

fn date() -> String {
    said("date", &["-u", "+%Y-%m-%d"])
}

fn machine() -> String {
    let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = file("/proc/cpuinfo");
    let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
    let model = model
        .and_then(|line| line.split_once(": "))
        .map_or("unknown", |pair| pair.1);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let holdfast = program::holdfast().display().to_string();
    let facts = [
        ("Date of the last part", date()),
        ("Machine", format!("{cores} cores of {model}")),
        (
            "Kernel",
            file("/proc/sys/kernel/osrelease").trim().to_owned(),
        ),
        ("Docker", said("dockerd", &["--version"])),
        ("Holdfast", said(&holdfast, &["--version"])),
        ("Commit", commit()),
        (
            "serf",
            said("dpkg-query", &["-W", "-f", "${Version}", "serf"]),
        ),
    ];
    let mut list = String::new();
    for (what, text) in facts {
        writeln!(list, "- {what}: {text}").expect("a string takes it");
    }
    list
}

/// With a mark where the tree has changes beside this page, which an earlier part has written.
fn commit() -> String {
    let changes = ["status", "--porcelain", "--", ".", ":!docs/benchmarks.md"];
    let mark = match said("git", &changes).is_empty() {
        true => "",
        false => "-dirty",
    };
    format!("{}{mark}", said("git", &["describe", "--always"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trials::{Trials, Unit};

    #[test]
    fn parts_that_were_not_run_and_the_simulators_stay() {
        let rows = |seconds| {
            let mut trials = Trials::default();
            trials.push(seconds);
            vec![Row::new("lost", "Swarm", Unit::Seconds, trials)]
        };
        let simulator = "<!-- simulator: here -->\n\n## In the simulator\n";
        let old = format!("# Benchmarks\n\n| old | table |\n\n{simulator}");
        let first = renew(
            &old,
            "",
            "then",
            &[("idle", rows(1.0)), ("host-lost", rows(2.0))],
        );
        let second = renew(&first, "", "now", &[("host-lost", rows(3.0))]);
        let table: Vec<_> = second
            .lines()
            .filter(|line| line.starts_with("| `"))
            .collect();
        assert_eq!(
            table,
            [
                "| `host-lost` | lost | Swarm |  | 3.00 s | 3.00 s to 3.00 s | 1 |  | now |",
                "| `idle` | lost | Swarm |  | 1.00 s | 1.00 s to 1.00 s | 1 |  | then |",
            ]
        );
        assert!(second.ends_with(&format!("\n\n{simulator}")), "{second}");
    }
}
