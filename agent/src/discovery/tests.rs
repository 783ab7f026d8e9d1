//! Sources that are asked for real: files and commands of a test's own directory, and localhost.

use super::*;
use crate::test_dir::TestDir;
use expect_test::{Expect, expect};
use std::os::unix::fs::PermissionsExt as _;

const PATIENCE: Duration = Duration::from_secs(20);
const HOUR: Span = Span::from_secs(3_600);

fn start(sources: &[String]) -> Discovery {
    let settings = DiscoverySettings {
        refresh: HOUR,
        command_wait_max: Span::from_secs(5),
        port: 7946,
    };
    let sources = sources
        .iter()
        .map(|text| PeerSource::parse(text, 7946).unwrap());
    Discovery::start(sources.collect(), settings).unwrap()
}

/// One source, to be asked by hand.
fn asked(source: PeerSource) -> Asked {
    Asked {
        source,
        settings: DiscoverySettings {
            refresh: HOUR,
            command_wait_max: HOUR,
            port: 7946,
        },
        endpoints: Vec::new(),
        names: BTreeMap::new(),
        troubles: BTreeSet::new(),
        rng: Rng::new(1),
        alone: watch::channel(false).1,
        alone_retry: ALONE_RETRY_MIN,
    }
}

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

async fn changed(discovery: &mut Discovery) -> Vec<SocketAddr> {
    let changed = timeout(PATIENCE, discovery.changed()).await;
    changed.expect("the first peers change")
}

fn script(dir: &TestDir, text: &str) -> String {
    let path = dir.join("peers.sh");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

#[test]
fn entries_are_parsed_or_refused_with_the_reason() {
    let check = |text: &str, expected: Expect| {
        let parsed = PeerSource::parse(text, 7946);
        let told = match parsed {
            Ok(source) => format!("{source}"),
            Err(why) => format!("refused: {why}"),
        };
        expected.assert_eq(&told);
    };
    check("10.0.0.2", expect!["10.0.0.2:7946"]);
    check("10.0.0.2:1", expect!["10.0.0.2:1"]);
    check("fd00::1", expect!["[fd00::1]:7946"]);
    check("[fd00::1]:1", expect!["[fd00::1]:1"]);
    check("seed", expect!["seed:7946"]);
    check("seed.internal:80", expect!["seed.internal:80"]);
    check(
        "srv:_holdfast._tcp.example.com",
        expect!["srv:_holdfast._tcp.example.com"],
    );
    check(
        "file:/etc/holdfast/peers",
        expect!["file:/etc/holdfast/peers"],
    );
    check(
        "exec:/usr/bin/list --tag holdfast",
        expect!["exec:/usr/bin/list"],
    );
    check(
        "10.0.0.300",
        expect![[r#"refused: "10.0.0.300" is no IP address and no DNS name, port or not"#]],
    );
    check(
        "seed:",
        expect![[r#"refused: "seed:" has no port from 1 to 65535 behind its colon"#]],
    );
    check(
        "seed:0",
        expect![[r#"refused: "seed:0" has no port from 1 to 65535 behind its colon"#]],
    );
    check(
        "0.0.0.0:1",
        expect![[r#"refused: "0.0.0.0:1" is nobody's address"#]],
    );
    check(
        "file:peers",
        expect![[r#"refused: "file:peers" needs an absolute path"#]],
    );
    check(
        "exec:list",
        expect![[r#"refused: "exec:list" needs an absolute path"#]],
    );
    check(
        "exec:",
        expect![[r#"refused: "exec:" needs an absolute path"#]],
    );
    check("srv:", expect![[r#"refused: "" is not a DNS name"#]]);
    check(
        "",
        expect![[r#"refused: "" is no IP address and no DNS name, port or not"#]],
    );
}

#[test]
fn lists_have_comments_and_their_bad_lines_are_named() {
    let text = "# ours\n10.0.0.1 10.0.0.2:1 # two\n\nfile:/etc/passwd\nseed\n10.0.0.1:99999\n";
    let (endpoints, wrong) = read_lines("/etc/peers", text, 7946);
    let endpoints: Vec<_> = endpoints.iter().map(Endpoint::to_string).collect();
    assert_eq!(endpoints, ["10.0.0.1:7946", "10.0.0.2:1", "seed:7946"]);
    expect![[r#"
        /etc/peers:4: "file:/etc/passwd" has no port from 1 to 65535 behind its colon
        /etc/peers:6: "10.0.0.1:99999" has no port from 1 to 65535 behind its colon"#]]
    .assert_eq(&wrong.join("\n"));
    let (endpoints, wrong) = read_lines("/etc/peers", &"10.0.0.1\n".repeat(1_025), 1);
    assert_eq!(endpoints.len(), 1_024);
    assert_eq!(
        wrong,
        ["/etc/peers lists 1025 peers; the first 1024 are used"]
    );
}

#[tokio::test]
async fn all_kinds_of_sources_together_are_the_first_peers() {
    let dir = TestDir::new("discovery");
    fs::write(dir.join("peers"), "10.0.0.2\n").unwrap();
    let list = script(&dir, "echo $1; echo 10.0.0.2 '# again'");
    let sources = [
        "10.0.0.9:1".to_owned(),
        format!("file:{}", dir.join("peers").display()),
        format!("exec:{list} 10.0.0.3:5"),
        "localhost:5".to_owned(),
    ];
    let first = start(&sources).first().await;
    let sure = addresses(&["10.0.0.9:1", "10.0.0.2:7946", "10.0.0.3:5"]);
    assert_eq!(first[..3], sure);
    assert!(
        first[3..].iter().all(|address| address.ip().is_loopback()),
        "{first:?}"
    );
}

#[tokio::test]
async fn a_file_is_read_again_when_another_one_takes_its_place() {
    let dir = TestDir::new("discovery");
    let path = dir.join("peers");
    fs::write(&path, "10.0.0.1\n").unwrap();
    let mut discovery = start(&[format!("file:{}", path.display())]);
    assert_eq!(discovery.first().await, addresses(&["10.0.0.1:7946"]));
    discovery.note_alone(false);
    fs::write(dir.join("new"), "10.0.0.2\n").unwrap();
    fs::rename(dir.join("new"), &path).unwrap();
    assert_eq!(changed(&mut discovery).await, addresses(&["10.0.0.2:7946"]));
}

#[tokio::test]
async fn a_source_that_fails_keeps_its_last_good_answer() {
    let dir = TestDir::new("discovery");
    let path = dir.join("peers");
    fs::write(&path, "10.0.0.1\n").unwrap();
    let mut asked = asked(PeerSource::File(path.clone()));
    let good = asked.ask().await;
    assert_eq!(
        (&good, asked.troubles.len()),
        (&addresses(&["10.0.0.1:7946"]), 0)
    );
    fs::remove_file(&path).unwrap();
    assert_eq!((asked.ask().await, asked.troubles.len()), (good, 1));
    fs::write(&path, "10.0.0.2\n").unwrap();
    let new = addresses(&["10.0.0.2:7946"]);
    assert_eq!((asked.ask().await, asked.troubles.len()), (new, 0));
}

#[tokio::test]
async fn an_agent_that_finds_itself_alone_asks_again_at_once() {
    let dir = TestDir::new("discovery");
    let path = dir.join("list");
    fs::write(&path, "10.0.0.1\n").unwrap();
    let mut discovery = start(&[format!("exec:/bin/cat {}", path.display())]);
    discovery.note_alone(false);
    assert_eq!(discovery.first().await, addresses(&["10.0.0.1:7946"]));
    fs::write(&path, "10.0.0.2\n").unwrap();
    discovery.note_alone(true);
    assert_eq!(changed(&mut discovery).await, addresses(&["10.0.0.2:7946"]));
}

#[tokio::test]
async fn while_it_is_alone_it_goes_on_asking() {
    let dir = TestDir::new("discovery");
    let list = script(&dir, &format!("cat {}/list", dir.display()));
    let mut discovery = start(&[format!("exec:{list}")]);
    assert_eq!(discovery.first().await, []);
    fs::write(dir.join("list"), "10.0.0.2\n").unwrap();
    assert_eq!(changed(&mut discovery).await, addresses(&["10.0.0.2:7946"]));
}

#[tokio::test]
async fn a_command_that_fails_says_why() {
    let dir = TestDir::new("discovery");
    let run = async |text: &str| {
        let words = [script(&dir, text)];
        let done = command::run(&words, PATIENCE).await;
        done.unwrap_err()
            .replace(&dir.display().to_string(), "/dir")
    };
    expect!["it failed (exit status: 3): no credentials"]
        .assert_eq(&run("echo 10.0.0.1; echo no credentials >&2; exit 3").await);
    expect!["it prints more than 262144 bytes"].assert_eq(&run("yes 10.0.0.1").await);
    let absent = command::run(&["/nowhere/list".to_owned()], PATIENCE).await;
    expect!["cannot run it: No such file or directory (os error 2)"]
        .assert_eq(&absent.unwrap_err());
}

#[tokio::test]
async fn a_command_may_complain_as_much_as_it_likes_and_still_succeed() {
    let dir = TestDir::new("discovery");
    let words = [script(
        &dir,
        "for n in 1 2 3 4 5 6 7; do seq 1 20000 >&2 || exit 9; done; echo 10.0.0.1",
    )];
    let done = command::run(&words, PATIENCE).await;
    assert_eq!(done.as_deref(), Ok("10.0.0.1\n"));
}

#[tokio::test]
async fn what_cannot_be_read_is_named_and_the_rest_counts() {
    let dir = TestDir::new("discovery");
    let check = async |text: String, expected: Expect| {
        let mut asked = asked(PeerSource::parse(&text, 7946).unwrap());
        let addresses = asked.ask().await;
        let troubles = asked.troubles.iter().map(|trouble| format!("{trouble}\n"));
        let told = troubles.collect::<String>() + &format!("{addresses:?}");
        expected.assert_eq(&told.replace(&dir.display().to_string(), "/dir"));
    };
    let file = |name: &str, bytes: &[u8]| {
        fs::write(dir.join(name), bytes).unwrap();
        format!("file:{}", dir.join(name).display())
    };
    check(
        "file:/nowhere/peers".to_owned(),
        expect![[r#"
        file:/nowhere/peers: No such file or directory (os error 2)
        []"#]],
    )
    .await;
    check(
        format!("file:{}", dir.display()),
        expect![[r#"
        file:/dir: it is not a file of at most 262144 bytes
        []"#]],
    )
    .await;
    check(
        file("binary", b"10.0.0.1\n\xff\xfe"),
        expect![[r#"
        file:/dir/binary: stream did not contain valid UTF-8
        []"#]],
    )
    .await;
    let long = "10.0.0.1\n".repeat(FILE_BYTES_MAX as usize / 9 + 1);
    check(
        file("long", long.as_bytes()),
        expect![[r#"
        file:/dir/long: it is not a file of at most 262144 bytes
        []"#]],
    )
    .await;
    check(file("empty", b""), expect!["[]"]).await;
    check(
        file("mixed", b"10.0.0.1\n0.0.0.0 seed:x\n"),
        expect![[r#"
        /dir/mixed:2: "0.0.0.0" is nobody's address
        /dir/mixed:2: "seed:x" has no port from 1 to 65535 behind its colon
        [10.0.0.1:7946]"#]],
    )
    .await;
    check(
        "exec:/nowhere/list".to_owned(),
        expect![[r#"
        exec:/nowhere/list: cannot run it: No such file or directory (os error 2)
        []"#]],
    )
    .await;
    check(
        "exec:/bin/false".to_owned(),
        expect![[r#"
        exec:/bin/false: it failed (exit status: 1)
        []"#]],
    )
    .await;
}

#[tokio::test]
async fn a_source_that_never_answers_holds_up_nobody_for_long() {
    let dir = TestDir::new("discovery");
    let hangs = script(&dir, "mkfifo \"$0.pipe\"; exec cat \"$0.pipe\"");
    let sources = [format!("exec:{hangs}"), "10.0.0.9:1".to_owned()];
    let mut discovery = start(&sources);
    let first = timeout(PATIENCE, discovery.first()).await.unwrap();
    assert_eq!(first, addresses(&["10.0.0.9:1"]));
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_killed_with_what_it_started() {
    let dir = TestDir::new("discovery");
    // A pipe with a reader and no writer: whoever opens it waits until a signal ends it.
    let words = [script(
        &dir,
        "mkfifo \"$0.pipe\"; (echo $$ > \"$0.pid\"; cat \"$0.pipe\") & wait",
    )];
    let started = Instant::now();
    let done = command::run(&words, Duration::from_secs(1)).await;
    expect!["it had not ended after 1 s, and was killed"].assert_eq(&done.unwrap_err());
    assert!(started.elapsed() < PATIENCE);
    let group = fs::read_to_string(dir.join("peers.sh.pid")).unwrap();
    let group = nix::unistd::Pid::from_raw(group.trim().parse().unwrap());
    let gone = async {
        // Orphans are reaped by whoever adopts them, in its own time.
        while nix::sys::signal::killpg(group, None).is_ok() && !all_dead(group.as_raw()) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, gone).await.expect("all of the group end");
}

/// Whether only processes that wait to be reaped are left of a group.
fn all_dead(group: i32) -> bool {
    let stats = fs::read_dir("/proc").unwrap().flatten();
    let stats = stats.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    stats
        .filter_map(|stat| {
            let (_, rest) = stat.rsplit_once(')')?;
            let mut words = rest.split_whitespace();
            let (state, _parent, its_group) = (words.next()?, words.next()?, words.next()?);
            (its_group.parse() == Ok(group)).then(|| state.to_owned())
        })
        .all(|state| state == "Z")
}
