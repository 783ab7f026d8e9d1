//! `make demo`: five agents on this machine lose a container and a host, and hold their count.

use e2e::{
    docker::Watch,
    fleet::{Fleet, definition},
    host::Host,
    program,
    wait::{secs, until},
};
use std::{
    fs,
    process::ExitCode,
    time::{Duration, Instant},
};

const SOON: Duration = secs(20);

fn main() -> ExitCode {
    let begun = Instant::now();
    println!("Holdfast: five agents on this machine, one Docker Engine, no server anywhere.\n");
    let Some(fleet) = Fleet::empty() else {
        return ExitCode::FAILURE;
    };
    let (name, engine) = (fleet.place.name.clone(), fleet.engine.clone());
    let (label, dir) = (fleet.label(), fleet.place.dir.clone());
    play(fleet);
    program::forget();

    let left = engine.containers(&label).len();
    let clean = left == 0 && !dir.exists();
    println!();
    match clean {
        true => println!(
            "Left behind: no container of cluster {name}, no agent, no state. It took {:.0} s.",
            begun.elapsed().as_secs_f64()
        ),
        false => println!(
            "LEFT BEHIND: {left} containers; {} exists: {}",
            dir.display(),
            dir.exists()
        ),
    }
    if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn play(mut fleet: Fleet) {
    come_up(&mut fleet);
    let watch = create_service(&mut fleet);
    kill_container(&mut fleet, &watch);
    let lost = lose_host(&mut fleet, &watch);
    scale(&mut fleet);
    restart(&mut fleet, lost);
    remove(&mut fleet);
}

fn come_up(fleet: &mut Fleet) {
    chapter("Five hosts start. They share a key, and each but the first knows one or two others.");
    shown("holdfast key new > cluster.key");
    shown("holdfast agent --key-file cluster.key --peers host-1,host-2 ...    # on each host");
    (0..5).for_each(|_| {
        fleet.add();
    });
    let from = Instant::now();
    fleet.start_all();
    took("each sees all the others", from.elapsed());
    typed(&fleet.hosts[3], &["status"]);
}

fn create_service(fleet: &mut Fleet) -> Watch {
    chapter("A service: keep five copies running. Any agent takes the order; this is host-2.");
    let host = &fleet.hosts[1];
    let file = host.dir.join("web.json");
    fs::write(&file, definition("web").to_string()).expect("the directory is ours");
    shown("holdfast task-definition register web.json");
    host.cli_ok(&["task-definition", "register", &file.display().to_string()]);
    let watch = fleet.engine.watch(&fleet.label());
    let from = Instant::now();
    let create = [
        "service",
        "create",
        "web",
        "--task-definition",
        "web",
        "--count",
        "5",
        "--wait",
    ];
    shown(&format!("holdfast {}", create.join(" ")));
    host.cli_ok(&create);
    took("five copies run", from.elapsed());
    typed(host, &["task", "ls"]);
    fleet.await_count("web", 5);
    watch
}

fn kill_container(fleet: &mut Fleet, watch: &Watch) {
    chapter("Somebody kills a container, behind the agents' back.");
    let victim = fleet.running("web")[2].clone();
    watch.drain();
    shown(&format!("docker kill {}", &victim.id[..12]));
    fleet.engine.kill(&victim.id);
    let died = watch.expect("die", SOON);
    let started = watch.expect("start", SOON);
    took(
        "replaced, from its end to its successor's start",
        died.until(&started),
    );
    fleet.await_count("web", 5);
}

fn lose_host(fleet: &mut Fleet, watch: &Watch) -> usize {
    let victim = fleet.running("web")[0].host.clone();
    let index = fleet.index_of(&victim);
    let name = fleet.hosts[index].name.clone();
    chapter(&format!(
        "{name} is lost: its agent and all its containers are gone at once."
    ));
    watch.drain();
    let from = e2e::wait::wall_nanos();
    shown(&format!(
        "kill -9 AGENT; docker rm -f ...    # all that was on {name}"
    ));
    fleet.lose_host(index);
    let started = watch.expect("start", SOON);
    let nanos = started.at_nanos.saturating_sub(from);
    took(
        "noticed, and the count restored on the others",
        Duration::from_nanos(nanos),
    );
    fleet.await_count("web", 5);
    typed(fleet.any(), &["status"]);
    index
}

fn scale(fleet: &mut Fleet) {
    chapter("More, then fewer.");
    for count in ["8", "5"] {
        let from = Instant::now();
        let scale = ["service", "scale", "web", count, "--wait"];
        shown(&format!("holdfast {}", scale.join(" ")));
        fleet.any().cli_ok(&scale);
        fleet.await_count("web", count.parse().expect("it is a number"));
        took(&format!("{count} copies run"), from.elapsed());
    }
}

fn restart(fleet: &mut Fleet, lost: usize) {
    let name = fleet.hosts[lost].name.clone();
    chapter(&format!(
        "{name} comes back, and another agent is killed and started again."
    ));
    let before = fleet.running("web");
    let lives = |fleet: &Fleet| -> Vec<_> {
        let running = fleet.running("web").into_iter();
        running
            .map(|c| (fleet.engine.started_at(&c.id), c.id))
            .collect()
    };
    let lived = lives(fleet);
    let other = fleet.index_of(&before[1].host);
    let from = Instant::now();
    fleet.hosts[other].kill();
    shown(&format!(
        "kill -9 AGENT    # of {}, whose containers go on",
        fleet.hosts[other].name
    ));
    shown("holdfast agent ...    # on both");
    fleet.start_all();
    fleet.await_count("web", 5);
    took("all five agents are back", from.elapsed());
    let same = lives(fleet) == lived;
    assert!(same, "a restart of agents must not restart containers");
    println!("    The same five containers run as before: adopted, none restarted, none moved.");
}

fn remove(fleet: &mut Fleet) {
    chapter("The end.");
    let from = Instant::now();
    typed(fleet.any(), &["service", "rm", "web", "--force"]);
    until("all are stopped", SOON, || {
        match fleet.running("web").len() {
            0 => Ok(()),
            left => Err(format!("{left} run")),
        }
    });
    took("all copies stopped", from.elapsed());
}

fn chapter(text: &str) {
    println!("\n* {text}");
}

fn shown(command: &str) {
    println!("    $ {command}");
}

/// Runs a command as a person would, and shows what it prints.
fn typed(host: &Host, arguments: &[&str]) {
    shown(&format!("holdfast {}", arguments.join(" ")));
    for line in host.cli_ok(arguments).lines() {
        println!("    {line}");
    }
}

fn took(what: &str, time: Duration) {
    println!(
        "    {:.<66} {:>6.2} s",
        format!("{what} "),
        time.as_secs_f64()
    );
}
