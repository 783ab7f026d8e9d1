//! The lab itself: its hosts are apart, its faults are what they say, and it leaves nothing.

use e2e::{
    lab::{
        Lab,
        faults::{Fault, Way},
        host::Host,
    },
    skip,
    wait::{secs, until},
};
use std::{fs, net::Ipv4Addr, path::Path, time::Instant};

/// Not that of the fleets, which may run beside it.
const NAME: &str = "labground";

struct Ends(Lab);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.down().expect("what is up can be taken down");
    }
}

/// Whether a connection to a port where nobody listens is refused: then packets go both ways.
fn reaches(from: &Host, to: Ipv4Addr) -> bool {
    let connect = format!("timeout 0.5 bash -c '</dev/tcp/{to}/9' 2>&1");
    let words = ["bash", "-c", &connect].map(str::to_owned);
    let output = from.command(&words).expect("it is on").output();
    let said = output.expect("nsenter can be run").stdout;
    String::from_utf8_lossy(&said).contains("refused")
}

#[test]
fn a_lab_comes_up_can_be_hurt_and_leaves_nothing() {
    let lab = match Lab::named(NAME) {
        Ok(lab) => lab,
        Err(why) => return skip(&why),
    };
    let _turn = lab.turn().expect("whoever has it ends");
    lab.down().expect("what a crash left can be cleared away");
    assert_eq!(lab.up(2, &[]).expect("it comes up"), [1, 2]);
    let ends = Ends(lab.clone());
    let (one, two) = (lab.host(1), lab.host(2));
    faults_of_the_network_are_what_they_say(&lab, &one, &two);
    a_crash_of_the_lab_is_made_good(&lab, &one);
    power_comes_and_goes(&lab, &two);
    drop(ends);
    assert!(!lab.dir.exists(), "its files are gone");
    let left = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    let ours = |name: &std::ffi::OsString| name.to_string_lossy().starts_with(&lab.name);
    assert!(!left.iter().any(ours), "{left:?}");
}

/// What `lab up 5` promises.
#[test]
fn five_hosts_are_up_within_ten_seconds() {
    let lab = match Lab::named(NAME) {
        Ok(lab) => lab,
        Err(why) => return skip(&why),
    };
    let _turn = lab.turn().expect("whoever has it ends");
    lab.down().expect("what a crash left can be cleared away");
    // The image is built once, and kept.
    e2e::program::image_archive();
    let from = Instant::now();
    let up = lab.up(5, &[]);
    let took = from.elapsed();
    let _ends = Ends(lab);
    assert_eq!(up.expect("it comes up"), [1, 2, 3, 4, 5]);
    println!("five hosts are up after {took:?}");
    assert!(took <= secs(10), "it took {took:?}");
}

fn faults_of_the_network_are_what_they_say(lab: &Lab, one: &Host, two: &Host) {
    assert!(reaches(one, two.address()) && reaches(two, one.address()));
    let way = Way {
        from: Some(1),
        to: Some(2),
    };
    lab.set_faults(|faults| faults.push(Fault::Cut(way)))
        .expect("it can be cut");
    assert!(!reaches(one, two.address()), "nothing gets there");
    assert!(!reaches(two, one.address()), "no answer gets back");
    lab.set_faults(|faults| *faults = vec![Fault::Udp(way)])
        .expect("it can be cut");
    assert!(reaches(one, two.address()), "a connection is no datagram");
    lab.set_faults(Vec::clear).expect("it can be healed");
}

/// The first process is killed behind the lab's back, and then its pid is lost, too.
fn a_crash_of_the_lab_is_made_good(lab: &Lab, one: &Host) {
    let init = one.init().expect("it is on");
    init.signal(nix::sys::signal::Signal::SIGKILL)
        .expect("we are root");
    until("it is off", secs(5), || match one.is_on() {
        false => Ok(()),
        true => Err("it is on".to_owned()),
    });
    assert_eq!(lab.up(2, &[]).expect("it comes up"), [1]);
    let lost = one.init().expect("it is on");
    fs::remove_file(one.dir().join("init.pid")).expect("the file was there");
    assert_eq!(lab.up(2, &[]).expect("it comes up"), [1]);
    assert!(
        !lost.is_alive(),
        "nobody had its pid, and it is gone all the same"
    );
}

fn power_comes_and_goes(lab: &Lab, two: &Host) {
    let text = |host: &Host, path: &str| {
        let words = ["cat", path].map(str::to_owned);
        let output = host.command(&words).expect("it is on").output();
        String::from_utf8_lossy(&output.expect("cat can be run").stdout).into_owned()
    };
    let (machine, boot) = ("/etc/machine-id", "/proc/sys/kernel/random/boot_id");
    let (first, first_boot) = (text(two, machine), text(two, boot));
    assert_eq!(first.trim().len(), 32, "{first:?}");
    two.freeze().expect("it is on");
    lab.kill(&[2]).expect("what is frozen can be killed");
    assert!(!two.is_on() && !Path::new("/run/netns/labground-h2").exists());
    lab.boot(&[2]).expect("it boots");
    assert_eq!(text(two, machine), first, "it is the same machine");
    assert_ne!(text(two, boot), first_boot, "and another boot");
    lab.stop(&[2]).expect("it ends in order");
    lab.boot_fresh(&[2]).expect("it boots");
    assert_ne!(text(two, machine), first, "it is another machine");
    assert!(two.engine().answers_within(secs(5)));
}
