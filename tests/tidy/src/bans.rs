//! What may stand in few places or in none: short cuts, sleeps, and what one module has to itself.

use crate::{
    Finding, scan,
    tree::{File, Tree},
};

/// Which lines a ban is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lines {
    All,
    Tests,
    NotTests,
}

/// A piece of code that may not stand there.
#[derive(Debug)]
struct Ban {
    rule: &'static str,
    code: &'static str,
    lines: Lines,
    /// Files whose path starts with this; `""` is all of them.
    within: &'static str,
    /// Except these: a module is its file and its folder.
    except: &'static [&'static str],
    advice: &'static str,
}

const BANS: &[Ban] = &[
    everywhere(
        "unwrap",
        ".unwrap()",
        Lines::NotTests,
        "say with `expect` why it holds",
    ),
    everywhere(
        "ignore",
        "#[ignore",
        Lines::All,
        "a test runs, or says loudly why it cannot",
    ),
    everywhere(
        "unfinished",
        "todo!",
        Lines::All,
        "finish it, or refuse by name",
    ),
    everywhere(
        "unfinished",
        "unimplemented!",
        Lines::All,
        "finish it, or refuse by name",
    ),
    everywhere("debris", "dbg!", Lines::All, "trace it, or take it out"),
    everywhere("sleep", "sleep(", Lines::Tests, SLEEP_ADVICE),
    // The packages of `tests/` are tests through and through.
    Ban {
        within: "tests/",
        ..everywhere("sleep", "sleep(", Lines::NotTests, SLEEP_ADVICE)
    },
    only_in(
        "bollard",
        &["agent/src/runtime"],
        "the container runtime is runtime/'s",
    ),
    only_in(
        "UdpSocket",
        // The probe's is never sent from: it asks the routing table for our address.
        &["agent/src/gossip", "agent/src/probe", "agent/src/dns", DNS],
        "datagrams are gossip/'s, but for questions to DNS and answers of it",
    ),
    only_in(
        "TcpListener",
        STREAMS,
        "streams are gossip/'s, http/'s, api/'s and dns/'s",
    ),
    only_in(
        "TcpStream",
        STREAMS,
        "streams are gossip/'s, http/'s, api/'s and dns/'s",
    ),
    only_in(
        "TcpSocket",
        STREAMS,
        "streams are gossip/'s, http/'s, api/'s and dns/'s",
    ),
    Ban {
        lines: Lines::NotTests,
        ..only_in(
            ".step(",
            &["agent/src/drive"],
            "only the driver advances the core",
        )
    },
];

const DNS: &str = "agent/src/discovery/srv";
/// It asks another machine's kernel, and says nothing.
const KNOCK: &str = "agent/src/knock";
const STREAMS: &[&str] = &[
    "agent/src/gossip",
    "agent/src/http",
    "agent/src/api",
    "agent/src/dns",
    KNOCK,
    DNS,
];
const SLEEP_ADVICE: &str = "wait for what is meant, with a deadline; a poll is excused in allow.rs";

const fn everywhere(
    rule: &'static str,
    code: &'static str,
    lines: Lines,
    advice: &'static str,
) -> Ban {
    Ban {
        rule,
        code,
        lines,
        within: "",
        except: &[],
        advice,
    }
}

const fn only_in(code: &'static str, except: &'static [&'static str], advice: &'static str) -> Ban {
    Ban {
        rule: "only-in",
        code,
        lines: Lines::All,
        within: "agent/src/",
        except,
        advice,
    }
}

pub fn check(tree: &Tree) -> Vec<Finding> {
    let bans = tree
        .rust()
        .flat_map(|file| BANS.iter().flat_map(|ban| breaches(file, ban)));
    bans.chain(tree.rust().flat_map(systemd_breaches)).collect()
}

fn breaches<'a>(file: &'a File, ban: &'static Ban) -> impl Iterator<Item = Finding> + use<'a> {
    let applies = file.path.starts_with(ban.within)
        && !ban
            .except
            .iter()
            .any(|module| belongs_to(&file.path, module));
    let lines = file.lines().filter(move |(_, code, test)| {
        let meant = match ban.lines {
            Lines::All => true,
            Lines::Tests => *test,
            Lines::NotTests => !*test,
        };
        applies && meant && contains(code, ban.code)
    });
    lines.map(|(line, _, _)| Finding {
        rule: ban.rule,
        path: file.path.clone(),
        line,
        item: ban.code.to_owned(),
        size: 0,
        advice: ban.advice.to_owned(),
    })
}

/// Whether the file is the module (`a/b` is `a/b.rs` and everything in `a/b/`).
pub fn belongs_to(path: &str, module: &str) -> bool {
    let rest = path.strip_prefix(module);
    rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// Whether the line has the code, not as the tail or head of a longer word.
fn contains(line: &str, code: &str) -> bool {
    let whole = |at: usize| {
        let before = line[..at].chars().next_back();
        let after = line[at + code.len()..].chars().next();
        let head = !code.starts_with(scan::is_word) || !before.is_some_and(scan::is_word);
        let tail = !code.ends_with(scan::is_word) || !after.is_some_and(scan::is_word);
        head && tail
    };
    line.match_indices(code).any(|(at, _)| whole(at))
}

/// The crate `systemd` is `systemd.rs`'s alone. Other modules say `systemd::` too and mean ours:
/// the crate's root, which declares it, and whoever has it from `crate::`.
fn systemd_breaches(file: &File) -> Option<Finding> {
    let is_root = ["agent/src/main.rs", "agent/src/lib.rs"].contains(&file.path.as_str());
    let elsewhere = file.path.starts_with("agent/src/") && file.path != "agent/src/systemd.rs";
    let named = scan::paths(&file.code);
    let ours = named
        .iter()
        .any(|path| path.parts[0] == "crate" && path.parts[1] == "systemd");
    if is_root || !elsewhere || ours {
        return None;
    }
    let found = named.iter().find(|path| path.parts[0] == "systemd")?;
    Some(Finding {
        rule: "only-in",
        path: file.path.clone(),
        line: found.line,
        item: "systemd::".to_owned(),
        size: 0,
        advice: "the service manager is systemd.rs's".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(path: &str, text: &str) -> Vec<String> {
        crate::items(check, path, text)
    }

    #[test]
    fn short_cuts_are_found() {
        let path = "agent/src/a.rs";
        assert_eq!(items(path, "fn a() {\n  b().unwrap();\n}"), ["2 .unwrap()"]);
        assert_eq!(items(path, "fn a() { b().unwrap_or(1); }"), [""; 0]);
        assert_eq!(
            items(path, "#[cfg(test)]\nmod t { fn a() { b().unwrap(); } }"),
            [""; 0]
        );
        assert_eq!(
            items(path, "#[test]\n#[ignore = \"slow\"]\nfn a() {}"),
            ["2 #[ignore"]
        );
        assert_eq!(items(path, "fn a() { todo!() }"), ["1 todo!"]);
        assert_eq!(
            items(path, "fn a() { unimplemented!() }"),
            ["1 unimplemented!"]
        );
        assert_eq!(items(path, "fn a() { dbg!(1); }"), ["1 dbg!"]);
        assert_eq!(
            items(path, "// todo! dbg! .unwrap()\nconst A: &str = \"dbg!\";"),
            [""; 0]
        );
    }

    #[test]
    fn sleeping_tests_are_found() {
        let text = "fn a() { thread::sleep(b); }";
        assert_eq!(items("agent/src/a.rs", text), [""; 0]);
        assert_eq!(items("tests/e2e/tests/it/a.rs", text), ["1 sleep("]);
        assert_eq!(items("tests/e2e/src/a.rs", text), ["1 sleep("]);
        assert_eq!(items("agent/src/a/tests.rs", text), ["1 sleep("]);
        assert_eq!(
            items(
                "agent/src/a.rs",
                &format!("#[cfg(test)]\nmod t {{ {text} }}")
            )
            .len(),
            1
        );
        assert_eq!(
            items("tests/e2e/src/a.rs", "fn a() { oversleep(b); }"),
            [""; 0]
        );
    }

    #[test]
    fn what_belongs_to_one_module_is_found_elsewhere() {
        let check = |text: &str, home: &str, item: &str| {
            let expected = [format!("1 {item}")];
            assert_eq!(items("agent/src/store.rs", text), expected, "{item}");
            assert_eq!(items(home, text), [""; 0], "{item} in {home}");
        };
        check(
            "use bollard::Docker;",
            "agent/src/runtime/docker.rs",
            "bollard",
        );
        check("use bollard::Docker;", "agent/src/runtime.rs", "bollard");
        check(
            "use tokio::net::UdpSocket;",
            "agent/src/gossip/udp.rs",
            "UdpSocket",
        );
        check(
            "use tokio::net::TcpListener;",
            "agent/src/http/server.rs",
            "TcpListener",
        );
        check(
            "use std::net::TcpStream;",
            "agent/src/gossip.rs",
            "TcpStream",
        );
        check(
            "fn a() { agent.step(now); }",
            "agent/src/drive.rs",
            ".step(",
        );
        check("use systemd::daemon;", "agent/src/systemd.rs", "systemd::");
        assert_eq!(
            items("agent/src/store.rs", "use crate::{drive, systemd};"),
            [""; 0]
        );
        let ours = "use crate::systemd; fn a() { systemd::ready(); }";
        assert_eq!(items("agent/src/store.rs", ours), [""; 0]);
    }
}
