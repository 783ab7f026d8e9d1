//! Tests of the settings: what each source gives, which one wins, how refusals read.

use super::*;
use crate::test_dir::TestDir;
use clap::{Args, Command, FromArgMatches};
use expect_test::{Expect, expect, expect_file};
use std::fs;

fn facts() -> HostFacts {
    HostFacts {
        hostname: "web-1".to_owned(),
        cores: 2,
        memory_mib: 4_096,
        ephemeral_ports: (32_768, 60_999),
        kernel: "6.1.0".to_owned(),
        arch: "x86_64",
        fingerprint: 7,
        boot_id: "ce23a0ba-6609-4494-a019-b1b5796566b7".to_owned(),
        address: Some(IpAddr::from([10, 0, 0, 7])),
    }
}

/// Gathers from a file of this text, these variables and this command line.
fn gather(file: &str, environment: &[(&str, &str)], line: &str) -> Result<RawConfig, String> {
    let dir = TestDir::new("config");
    let path = dir.join("holdfast.toml");
    fs::write(&path, file).unwrap();
    let command = Flags::augment_args(Command::new("agent").no_binary_name(true));
    let matches = command
        .try_get_matches_from(line.split_whitespace())
        .unwrap();
    let mut flags = Flags::from_arg_matches(&matches).unwrap();
    flags.config.get_or_insert(path);
    let environment = environment
        .iter()
        .map(|(name, value)| (name.into(), value.into()));
    RawConfig::gather(&flags, environment, &facts()).map_err(|err| chain(&err, &dir))
}

fn chain(err: &dyn std::error::Error, dir: &Path) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(err) = source {
        text.push_str(&format!(": {err}"));
        source = err.source();
    }
    text.replace(dir.to_str().unwrap(), "/etc")
}

fn config(file: &str, environment: &[(&str, &str)], line: &str) -> Result<Config, String> {
    let raw = gather(file, environment, line)?;
    Config::try_from(raw).map_err(|err| {
        let text = err.to_string();
        let start = text.find(std::env::temp_dir().to_str().unwrap());
        let end = text.find("/holdfast.toml");
        match (start, end) {
            (Some(start), Some(end)) => format!("{}/etc{}", &text[..start], &text[end..]),
            _ => text,
        }
    })
}

fn refused(file: &str, environment: &[(&str, &str)], line: &str, expected: Expect) {
    expected.assert_eq(&config(file, environment, line).unwrap_err());
}

#[test]
fn with_nothing_set_the_agent_keeps_to_itself() {
    let config = config("", &[], "").unwrap();
    assert_eq!(config.bind, SocketAddr::from(([127, 0, 0, 1], 7946)));
    assert_eq!(config.advertise, config.bind);
    assert_eq!((config.cpu, config.memory_mib), (2_048, 4_096));
    assert_eq!((config.name.as_str(), config.zone), ("web-1", None));
    assert_eq!(config.down_after, Span::from_ms(1_000));
    assert_eq!(
        config.introspection,
        Some(SocketAddr::from(([127, 0, 0, 1], 51_678)))
    );
}

#[test]
fn with_a_key_it_listens_and_says_where() {
    let config = config("key_file = \"/k\"\nreserved_memory_mib = 96", &[], "").unwrap();
    assert_eq!(config.bind, SocketAddr::from(([0, 0, 0, 0], 7946)));
    assert_eq!(config.advertise, SocketAddr::from(([10, 0, 0, 7], 7946)));
    assert_eq!(config.memory_mib, 4_000);
}

#[test]
fn the_command_line_wins_over_the_environment_and_that_over_the_file() {
    let file = "zone = \"a\"\nname = \"a\"\ncluster = \"a\"\npeers = [\"a:1\"]";
    let environment = [
        ("HOLDFAST_NAME", "b"),
        ("HOLDFAST_CLUSTER", "b"),
        ("HOLDFAST_PEERS", "b:1, [::1]:2,"),
        ("HOLDFAST_ATTRIBUTES", "rack=r7,disk=ssd"),
        ("HOLDFAST_ZONE", ""),
        ("OTHER", "ignored"),
    ];
    let config = config(
        file,
        &environment,
        "--cluster c --introspection off --cpu 512",
    )
    .unwrap();
    let words = [
        config.zone.as_deref().unwrap(),
        &config.name,
        &config.cluster,
    ];
    assert_eq!(words, ["a", "b", "c"]);
    let peers: Vec<_> = config.peers.iter().map(ToString::to_string).collect();
    assert_eq!(peers, ["b:1", "[::1]:2"]);
    assert_eq!(config.attributes.len(), 2);
    assert_eq!(config.attributes["rack"], "r7");
    assert_eq!((config.introspection, config.cpu), (None, 512));
}

#[test]
fn an_absent_file_is_an_error_only_where_it_was_named() {
    let variable = |path: &str| [("HOLDFAST_CONFIG".into(), path.into())].into_iter();
    let flags = Flags::default();
    let err = RawConfig::gather(&flags, variable("/nonexistent/file"), &facts()).unwrap_err();
    assert_eq!(
        err.to_string(),
        "cannot read settings from /nonexistent/file"
    );
    if !Path::new(FILE_DEFAULT).exists() {
        RawConfig::gather(&flags, variable(""), &facts()).unwrap();
    }
}

#[test]
fn unknown_keys_are_refused_by_name_with_the_key_that_was_meant() {
    let check = |file: &str, expected: Expect| refused(file, &[], "", expected);
    check(
        "cluster = \"a\"\n\ndown_after = 3",
        expect![[
            r#"unknown key "down_after" (/etc/holdfast.toml:3): did you mean down_after_ms?"#
        ]],
    );
    check(
        "log-formt = 3",
        expect![[r#"unknown key "log-formt" (/etc/holdfast.toml:1): did you mean log?"#]],
    );
    let text = config("password = 1", &[], "").unwrap_err();
    assert!(
        text.contains(": the keys are account, advertise, api_group"),
        "{text}"
    );
}

#[test]
fn refusals_name_the_key_where_it_was_set_and_what_is_allowed() {
    refused(
        "\ndown_after_ms = 100",
        &[],
        "",
        expect![[
            "down_after_ms = 100 (/etc/holdfast.toml:2) is refused: must be 600 to 600000 \
             milliseconds"
        ]],
    );
    refused(
        "",
        &[("HOLDFAST_STOP_TIMEOUT_S", "-1")],
        "",
        expect![[
            "stop_timeout_s = -1 (environment variable HOLDFAST_STOP_TIMEOUT_S) is refused: \
             must be 0 to 120 seconds"
        ]],
    );
    refused(
        "",
        &[],
        "--cpu two",
        expect![[r#"cpu = "two" (flag --cpu) is refused: must be 128 to 16777216 CPU units"#]],
    );
    refused(
        "suspect_after_ms = 5000",
        &[],
        "",
        expect![[
            "suspect_after_ms = 5000 (/etc/holdfast.toml:1) is refused: must be at most \
             down_after_ms, which is 1000"
        ]],
    );
    refused(
        "",
        &[],
        "--peers seed:7946,seed:",
        expect![[
            "peers = [\"seed:7946\", \"seed:\"] (flag --peers) is refused: must be at most 256 \
             times HOST, HOST:PORT, srv:NAME, file:/PATH or exec:/PATH ARGUMENTS: \"seed:\" has \
             no port from 1 to 65535 behind its colon"
        ]],
    );
    refused(
        "cpu = \"two\"",
        &[],
        "",
        expect![[r#"
            cannot understand settings in /etc/holdfast.toml: TOML parse error at line 1, column 7
              |
            1 | cpu = "two"
              |       ^^^^^
            invalid type: string "two", expected i64
        "#]],
    );
}

#[test]
fn each_key_refuses_what_it_cannot_use() {
    let long = format!("--api-socket /{}", "x".repeat(107));
    let lines = unusable(&long);
    for line in lines {
        let text = config("", &[], line).unwrap_err();
        let flag = line.split(' ').next().unwrap();
        assert!(
            text.contains(&format!("(flag {flag}) is refused: must be ")),
            "{text}"
        );
    }
    check_all_are_named(&lines.map(|line| line.split(' ').next().unwrap().to_owned()));
}

/// One for each key that can be refused.
fn unusable(long_socket: &str) -> [&str; 66] {
    [
        "--cluster a/b",
        "--name _é",
        "--zone a!",
        "--bind here",
        "--advertise 0.0.0.0",
        "--key-file key",
        "--state-dir state",
        long_socket,
        "--api-group a:b",
        "--api-listen 10.0.0.1:51680 --api-keys-file /keys",
        "--api-listen 127.0.0.1:51680",
        "--api-listen 127.0.0.1:0 --api-keys-file /keys",
        "--api-keys-file keys",
        "--api-tls-cert-file /cert",
        "--api-tls-key-file key",
        "--introspection 10.0.0.1:51678",
        "--dns 127.0.0.1:0",
        "--dns-domain holdfast..internal",
        "--metadata 0.0.0.0:80",
        "--metadata-file yes",
        "--docker-socket tcp://host",
        "--cpu 127",
        "--memory-mib 3",
        "--reserved-memory-mib 4096",
        "--dynamic-ports 1023-2000",
        "--gpus all",
        "--task-pids-limit 4194305",
        "--attributes rack",
        "--environment-files env",
        "--secret-files secrets",
        "--secret-commands on",
        "--secret-mounts mounts",
        "--image-pull-behavior missing",
        "--registry-auth-file registry.json",
        "--image-cleanup always",
        "--image-cleanup-interval-s 59",
        "--image-minimum-cleanup-age-s 59",
        "--images-deleted-per-cycle 0",
        "--image-cleanup-disk-percent 101",
        "--containerd-root containerd",
        "--image-cleanup-excluded a,b!",
        "--privileged no",
        "--exec no",
        "--log-driver json-file",
        "--stop-timeout-s 121",
        "--stopped-container-retention-s 604801",
        "--docker-resync-s 0",
        "--down-after-ms 600001",
        "--suspect-after-ms 99",
        "--probe-interval-ms 99",
        "--restart-grace-s 601",
        "--leave-timeout-s 0",
        "--reap-after 72",
        "--impaired-grace-s 3601",
        "--event-webhook ftp://a/b",
        "--event-webhook-secret-file secret",
        "--event-command on-event",
        "--event-journal yes",
        "--event-spool-mib 0",
        "--log inof",
        "--log-format xml",
        "--region Local",
        "--account 1",
        "--peers :1",
        "--peers-refresh-s 0",
        "--peers-command-timeout-s 301",
    ]
}

/// No key takes everything.
fn check_all_are_named(flags: &[String]) {
    for key in KEYS {
        let name = key.name;
        assert!(flags.contains(&key.flag()), "{name} refuses nothing here");
    }
}

#[test]
fn a_host_that_is_down_is_forgotten_after_some_hours_or_never() {
    let after = |line| config("", &[], line).map(|config| config.reap_after);
    assert_eq!(after(""), Ok(Some(Span::from_secs(72 * 3_600))));
    assert_eq!(after("--reap-after 1h"), Ok(Some(Span::from_secs(3_600))));
    assert_eq!(after("--reap-after never"), Ok(None));
    assert!(after("--reap-after 8761h").is_err());
}

#[test]
fn containers_have_no_metadata_file_unless_they_are_to() {
    let with_file = |file, environment: &[_], line| {
        let config = config(file, environment, line);
        config.map(|config| config.metadata_file)
    };
    assert_eq!(with_file("", &[], ""), Ok(false));
    assert_eq!(with_file("metadata_file = true", &[], ""), Ok(true));
    let variable = [("HOLDFAST_METADATA_FILE", "true")];
    assert_eq!(with_file("", &variable, ""), Ok(true));
    let line = "--metadata-file false";
    assert_eq!(
        with_file("metadata_file = true", &variable, line),
        Ok(false)
    );
}

#[test]
fn gpus_are_off_found_or_named() {
    let gpus = |line| config("", &[], line).map(|config| config.gpus);
    assert_eq!(gpus(""), Ok(GpuSource::Listed(vec![])));
    assert_eq!(gpus("--gpus auto"), Ok(GpuSource::Auto));
    let named = ["GPU-a", "1"].map(|id| id.parse().unwrap());
    assert_eq!(
        gpus("--gpus GPU-a,1"),
        Ok(GpuSource::Listed(named.to_vec()))
    );
    refused(
        "",
        &[("HOLDFAST_GPUS", "0,0")],
        "",
        expect![[
            "gpus = \"0,0\" (environment variable HOLDFAST_GPUS) is refused: must be \"off\", \
             \"auto\", or at most 64 ids with commas between: \"GPU-8f6d4c1e-…,MIG-…\" or \"0,1\": \
             0 is there twice"
        ]],
    );
}

#[test]
fn images_that_serve_without_a_registry_are_not_removed_for_their_age() {
    use crate::runtime::images::WhenCleaned;
    let when = |line| config("", &[], line).unwrap().images.clean_up.when;
    assert_eq!(when(""), WhenCleaned::Disk);
    assert_eq!(when("--image-pull-behavior never"), WhenCleaned::Disk);
    assert_eq!(when("--image-pull-behavior once"), WhenCleaned::Age);
    assert_eq!(when("--image-cleanup age"), WhenCleaned::Age);
    assert_eq!(
        when("--image-pull-behavior always --image-cleanup never"),
        WhenCleaned::Never
    );
}

#[test]
fn without_a_key_no_other_machine_may_reach_the_agent() {
    refused(
        "",
        &[("HOLDFAST_BIND", "0.0.0.0:7946")],
        "",
        expect![[
            "no cluster key: bind = \"0.0.0.0:7946\" (environment variable HOLDFAST_BIND) can be \
             reached from other machines, where anyone could join; set key_file, or bind to \
             127.0.0.1"
        ]],
    );
    assert!(config("", &[], "--bind [::1]:0").is_ok());
}

#[test]
fn without_a_network_the_address_must_be_given() {
    let facts = HostFacts {
        address: None,
        ..facts()
    };
    let mut flags = Flags {
        key_file: Some("/k".to_owned()),
        ..Flags::default()
    };
    let gather = |flags: &Flags| RawConfig::gather(flags, std::iter::empty(), &facts).unwrap();
    let err = Config::try_from(gather(&flags)).unwrap_err();
    assert!(matches!(err, ConfigError::NoAddress { .. }), "{err}");
    flags.advertise = Some("10.1.1.1".to_owned());
    let config = Config::try_from(gather(&flags)).unwrap();
    assert_eq!(config.advertise, SocketAddr::from(([10, 1, 1, 1], 7946)));
}

/// `UPDATE_EXPECT=1 cargo test -p holdfast config` writes the file anew.
#[test]
fn the_default_file_is_made_from_the_table_of_keys() {
    expect_file!["../../../packaging/holdfast.toml"].assert_eq(&RawConfig::default_file());
}

/// The file with the lines of the keys that pass made settings.
fn uncommented(pass: fn(&Key) -> bool) -> String {
    let file = RawConfig::default_file();
    let lines = file.lines().map(|line| {
        let name = line
            .strip_prefix('#')
            .and_then(|rest| rest.split(" = ").next());
        match KEYS.iter().find(|key| Some(key.name) == name && pass(key)) {
            Some(_) => format!("{}\n", &line[1..]),
            None => format!("{line}\n"),
        }
    });
    lines.collect()
}

#[test]
fn the_default_file_documents_every_key_and_its_defaults_are_the_defaults() {
    let file = RawConfig::default_file();
    for key in KEYS {
        let also = format!(
            "# Also: {} {}\n#{} = ",
            key.variable(),
            key.flag(),
            key.name
        );
        assert!(file.contains(&also), "{also}");
    }
    assert_eq!(config(&file, &[], ""), config("", &[], ""));
    let literal = uncommented(|key| matches!(key.fallback, keys::Fallback::Is(_)));
    assert_eq!(config(&literal, &[], ""), config("", &[], ""));
    let all = config(&uncommented(|_| true), &[], "").unwrap();
    assert_eq!(all.peers.len(), 3, "the examples are good, too");
}

#[test]
fn what_is_printed_can_be_read_again() {
    let raw = gather(
        "peers = [\"a:1\"]\nattributes = { rack = \"r7\" }",
        &[],
        "--cpu 512",
    )
    .unwrap();
    let text = raw.render();
    assert!(text.contains("cpu = 512 # flag --cpu\n"), "{text}");
    assert!(
        text.contains("name = \"web-1\" # found on this machine\n"),
        "{text}"
    );
    assert!(text.contains("# zone is not set\n"), "{text}");
    assert_eq!(config(&text, &[], ""), Ok(Config::try_from(raw).unwrap()));
}

/// Gathers with these settings as systemd's credential, as found by the first boot, as the file.
fn seeded(credential: &str, first_boot: &str, file: &str) -> Result<(RawConfig, TestDir), String> {
    let dir = TestDir::new("seeds");
    let (credentials, state) = (dir.join("credentials"), dir.join("state"));
    for (directory, text) in [
        (&credentials, credential),
        (&state.join("first-boot"), first_boot),
    ] {
        fs::create_dir_all(directory).unwrap();
        for (number, part) in text.split("---\n").enumerate() {
            let name = ["holdfast.toml", "holdfast.key"][number];
            fs::write(directory.join(name), part).unwrap();
        }
    }
    let environment = [
        ("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap()),
        ("STATE_DIRECTORY", state.to_str().unwrap()),
        ("HOLDFAST_NAME", "variable"),
    ];
    gather(file, &environment, "").map(|raw| (raw, dir))
}

#[test]
fn what_a_machine_is_given_at_its_boot_counts_over_the_file_of_its_image() {
    let (credential, first_boot) = (
        "name = \"credential\"\ncluster = \"credential\"\n",
        "cluster = \"first-boot\"\nzone = \"first-boot\"\n",
    );
    let file = "zone = \"file\"\nregion = \"eu-west-1\"\ncluster = \"file\"";
    let (raw, _dir) = seeded(credential, first_boot, file).unwrap();
    let config = Config::try_from(raw).unwrap();
    assert_eq!(config.name, "variable");
    assert_eq!(config.cluster, "credential");
    assert_eq!(config.zone.as_deref(), Some("first-boot"));
    assert_eq!(config.region, "eu-west-1");
    assert_eq!(config.key_file, None);
}

#[test]
fn a_key_beside_those_settings_is_the_clusters_unless_they_name_another() {
    let (raw, dir) = seeded("---\nkey", "", "key_file = \"/image\"").unwrap();
    let key = dir.join("credentials/holdfast.key");
    let said = raw.render();
    assert!(
        said.contains(&format!("# found at {}\n", key.display())),
        "{said}"
    );
    let config = Config::try_from(raw).unwrap();
    assert_eq!(config.key_file.as_deref(), Some(&*key));
    let (raw, _dir) = seeded("key_file = \"/named\"\n---\nkey", "", "").unwrap();
    let config = Config::try_from(raw).unwrap();
    assert_eq!(config.key_file.as_deref(), Some(Path::new("/named")));
}

#[test]
fn wrong_settings_of_the_boot_are_refused_with_their_place() {
    let refused = seeded("zoom = 1", "", "").map(|_| ()).unwrap_err();
    assert!(refused.contains("unknown key \"zoom\""), "{refused}");
    assert!(refused.contains("credentials/holdfast.toml:1"), "{refused}");
}
