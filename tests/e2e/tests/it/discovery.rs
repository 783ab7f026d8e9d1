//! What may be used is found by the clients that people have: dig, Python, Prometheus, HAProxy.

use e2e::{
    crew,
    dns::{self, DOMAIN, RecordType},
    fleet::{Fleet, PATIENCE},
    http::{Answer, Server},
    skip,
    wait::{holds, secs, until},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
};

const DNS_PORT: u16 = 17_600;

/// Agents that serve DNS, and one that Prometheus may ask, too.
struct Known {
    fleet: Fleet,
    introspection: SocketAddr,
}

/// A program that ends with this value.
struct Program(Child);

impl Known {
    fn start(hosts: usize) -> Option<Self> {
        let mut fleet = Fleet::empty()?;
        for _ in 0..hosts {
            let host = fleet.add();
            let dns = SocketAddr::new(host.address.ip(), DNS_PORT);
            host.set("dns", &dns.to_string());
        }
        // It answers whoever asks for 127.0.0.1.
        let introspection = free_address();
        fleet.hosts[0].set("introspection", &introspection.to_string());
        fleet.start_all();
        Some(Self {
            fleet,
            introspection,
        })
    }

    /// Its containers serve HTTP at a port of the host's choice.
    fn create_service(&mut self, name: &str, count: u32) {
        let mut definition = crew::definition(name);
        let container = &mut definition["containerDefinitions"][0];
        container["portMappings"] = json!([{"containerPort": 8080, "name": "http"}]);
        container["environment"] = json!([{"name": "PORT", "value": "8080"}]);
        container["dockerLabels"] = json!({"prometheus.io/scrape": "true"});
        let agent = self.fleet.any();
        crew::create_service_of(agent, &definition, name, count, &json!([]));
        self.fleet.await_count(name, count);
    }

    fn dns(&self, host: usize) -> SocketAddr {
        SocketAddr::new(self.fleet.hosts[host].address.ip(), DNS_PORT)
    }

    /// Task and host port of each task, as the API has them.
    fn meant(&self, service: &str) -> BTreeSet<(String, u16)> {
        let tasks = self.fleet.hosts[0].look(&format!("/v1/cluster-tasks?service={service}"));
        let tasks = tasks["tasks"].as_array().expect("a list").iter();
        let each = tasks.filter_map(|task| {
            let arn = task["taskArn"].as_str().expect("a text");
            let id = arn.rsplit('/').next().expect("an ARN ends with the id");
            // One that is only to start has none yet.
            let bindings = &crew::container_of(task, "main")["networkBindings"];
            let port = bindings[0]["hostPort"].as_u64()?;
            Some((id.to_owned(), u16::try_from(port).expect("a port")))
        });
        each.collect()
    }

    /// Waits until the DNS of each agent has exactly what is meant.
    #[track_caller]
    fn await_names(&self, service: &str, count: usize) -> BTreeSet<(String, u16)> {
        until("DNS has what runs", PATIENCE, || {
            let meant = self.meant(service);
            for host in 0..self.fleet.hosts.len() {
                let name = format!("_http._tcp.{service}.service");
                let answer = dns::ask(self.dns(host), &name, RecordType::SRV);
                let found = dns::targets(&answer.map_err(|err| err.to_string())?);
                if found != meant || found.len() != count {
                    return Err(format!("{found:?}, not {meant:?}"));
                }
            }
            Ok(meant)
        })
    }
}

impl Program {
    fn start(command: &mut Command) -> Self {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self(child.unwrap_or_else(|err| panic!("{command:?}: {err}")))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Nobody's at the moment.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("there is a free port");
    listener.local_addr().expect("it is bound")
}

/// Where a client is; `None`, loudly, where it is not installed.
fn has(program: &str, argument: &str) -> bool {
    let found = Command::new(program).arg(argument).output().is_ok();
    if !found {
        skip(&format!(
            "{program} is not installed: packaging/prerequisites.sh installs it"
        ));
    }
    found
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|err| panic!("{program}: {err}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
    text
}

/// What dig prints with `+short`, sorted.
fn dig(server: SocketAddr, words: &[&str]) -> Vec<String> {
    let (at, port) = (format!("@{}", server.ip()), server.port().to_string());
    let fixed = [at.as_str(), "-p", &port, "+short", "+tries=1"];
    let told = output("dig", &[&fixed, words].concat());
    let mut lines: Vec<_> = told.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn dig_finds_services_ports_tasks_and_hosts() {
    if !has("dig", "-v") {
        return;
    }
    let Some(mut known) = Known::start(2) else {
        return;
    };
    known.create_service("web", 12);
    let meant = known.await_names("web", 12);
    let hosts: Vec<_> = known
        .fleet
        .hosts
        .iter()
        .map(|host| host.address.ip().to_string())
        .collect();
    let name = format!("web.service.{DOMAIN}");
    assert_eq!(dig(known.dns(0), &[&name, "A"]), hosts);
    assert_eq!(dig(known.dns(1), &[&name, "AAAA"]), [""; 0]);
    let lines = meant
        .iter()
        .map(|(task, port)| format!("1 1 {port} {task}.task.{DOMAIN}."));
    let mut lines: Vec<_> = lines.collect();
    lines.sort();
    let port = format!("_http._tcp.{name}");
    assert_eq!(dig(known.dns(0), &[&port, "SRV"]), lines);
    // Too much for 512 bytes: dig asks again over TCP. Nor does it matter how names are written.
    let cut = output(
        "dig",
        &[
            &format!("@{}", known.dns(0).ip()),
            "-p",
            "17600",
            "+noedns",
            "+ignore",
            &port,
            "SRV",
        ],
    );
    assert!(cut.contains("flags: qr aa tc rd;"), "{cut}");
    assert_eq!(
        dig(known.dns(0), &["+noedns", &port.to_uppercase(), "SRV"]),
        lines
    );
    assert_eq!(dig(known.dns(1), &["+tcp", &name, "SRV"]), lines);
    let (task, _) = meant.first().expect("there are twelve");
    let address = dig(known.dns(0), &[&format!("{task}.task.{DOMAIN}"), "A"]);
    assert!(hosts.contains(&address[0]), "{address:?}");
    let host = format!("host-2.host.{DOMAIN}");
    assert_eq!(dig(known.dns(0), &[&host, "A"]), [hosts[1].clone()]);
    let outside = output(
        "dig",
        &[
            &format!("@{}", known.dns(0).ip()),
            "-p",
            "17600",
            "example.com",
        ],
    );
    assert!(outside.contains("status: REFUSED"), "{outside}");
    let status = known.fleet.hosts[0].look("/v1/status");
    assert_eq!(status["dns"]["trouble"], Value::Null, "{status}");
}

#[test]
fn a_service_without_tasks_has_a_name_and_a_deleted_one_has_none() {
    let Some(mut known) = Known::start(2) else {
        return;
    };
    known.create_service("web", 1);
    known.await_names("web", 1);
    known.fleet.scale("web", 0);
    known.await_names("web", 0);
    let code = |host| {
        let answer = dns::ask(known.dns(host), "web.service", RecordType::A);
        answer
            .map_err(|err| err.to_string())
            .map(|answer| answer.metadata.response_code)
    };
    // A datagram may be lost, or its answer late on a busy machine; what it says may not be wrong.
    until("it is answered", PATIENCE, || {
        code(0).map(|code| assert_eq!(code, dns::ResponseCode::NoError))
    });
    crew::delete_service(&known.fleet.hosts[0], "web");
    until("the name is gone", PATIENCE, || match code(1)? {
        dns::ResponseCode::NXDomain => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

/// With the interpreter of the distribution, which has the package.
#[test]
fn pythons_resolver_finds_a_service() {
    let python = "/usr/bin/python3";
    let has_resolver = Command::new(python)
        .args(["-c", "import dns.resolver"])
        .status();
    if !has_resolver.is_ok_and(|status| status.success()) {
        skip("dnspython is not installed: packaging/prerequisites.sh installs it");
        return;
    }
    let Some(mut known) = Known::start(1) else {
        return;
    };
    known.create_service("web", 2);
    let meant = known.await_names("web", 2);
    let script = format!(
        "import dns.resolver\n\
         r = dns.resolver.Resolver(configure=False)\n\
         r.nameservers, r.port = ['{}'], {DNS_PORT}\n\
         for a in r.resolve('web.service.{DOMAIN}', 'A'): print('a', a)\n\
         for s in r.resolve('_http._tcp.web.service.{DOMAIN}', 'SRV'): print('s', s.port)\n\
         try: r.resolve('none.service.{DOMAIN}', 'A')\n\
         except dns.resolver.NXDOMAIN: print('none')\n",
        known.dns(0).ip()
    );
    let told = output(python, &["-c", &script]);
    let mut lines: Vec<_> = told.lines().collect();
    lines.sort_unstable();
    let mut expected: Vec<_> = meant.iter().map(|(_, port)| format!("s {port}")).collect();
    expected.extend([format!("a {}", known.dns(0).ip()), "none".to_owned()]);
    expected.sort();
    assert_eq!(lines, expected);
}

/// JSON is YAML.
fn prometheus_config(introspection: SocketAddr) -> String {
    let source = format!("http://{introspection}/v1/discovery/prometheus");
    let config = json!({
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [{
            "job_name": "holdfast",
            "http_sd_configs": [{"url": source, "refresh_interval": "1s"}],
            "relabel_configs": [
                {
                    "source_labels": ["__meta_holdfast_container_label_prometheus_io_scrape"],
                    "regex": "true",
                    "action": "keep",
                },
                {"source_labels": ["__meta_holdfast_task_id"], "target_label": "task"},
            ],
        }],
    });
    config.to_string()
}

#[test]
fn prometheus_finds_and_scrapes_what_runs() {
    if !has("prometheus", "--version") {
        return;
    }
    let Some(mut known) = Known::start(2) else {
        return;
    };
    known.create_service("web", 3);
    let meant = known.await_names("web", 3);
    let (dir, web) = (known.fleet.place.dir.clone(), free_address());
    let config = dir.join("prometheus.yml");
    let text = prometheus_config(known.introspection);
    fs::write(&config, text).expect("the directory is ours");
    let config = config.display().to_string();
    output("promtool", &["check", "config", &config]);
    let _prometheus = Program::start(Command::new("prometheus").args([
        &format!("--config.file={config}"),
        &format!("--storage.tsdb.path={}", dir.join("prometheus").display()),
        &format!("--web.listen-address={web}"),
    ]));
    let targets = || {
        let answer = Server::Tcp(web).get("/api/v1/targets?state=active");
        let answer: Answer = answer.map_err(|err| err.to_string())?;
        let told = answer.json();
        let active = told["data"]["activeTargets"].as_array().cloned();
        let active = active.unwrap_or_default().into_iter();
        let up = active.filter(|target| target["health"] == "up");
        let up = up.map(|target| {
            target["labels"]["task"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        });
        Ok::<_, String>((up.collect::<BTreeSet<_>>(), told))
    };
    let tasks = |meant: &BTreeSet<(String, u16)>| {
        meant
            .iter()
            .map(|(task, _)| task.clone())
            .collect::<BTreeSet<_>>()
    };
    let await_targets = |wanted: BTreeSet<String>| {
        until(
            "Prometheus scrapes all tasks",
            PATIENCE,
            || match targets()? {
                (up, _) if up == wanted => Ok(()),
                (_, told) => Err(told.to_string()),
            },
        );
    };
    await_targets(tasks(&meant));
    known.fleet.scale("web", 1);
    await_targets(tasks(&known.await_names("web", 1)));
}

#[test]
fn haproxy_follows_a_service_by_its_srv_records() {
    if !has("haproxy", "-v") {
        return;
    }
    let Some(mut known) = Known::start(2) else {
        return;
    };
    known.create_service("web", 2);
    known.await_names("web", 2);
    let (front, config) = (free_address(), known.fleet.place.dir.join("haproxy.cfg"));
    let lines = [
        "defaults".to_owned(),
        " mode http".to_owned(),
        " timeout connect 1s".to_owned(),
        " timeout client 5s".to_owned(),
        " timeout server 5s".to_owned(),
        "resolvers holdfast".to_owned(),
        format!(" nameserver one {}", known.dns(0)),
        format!(" nameserver two {}", known.dns(1)),
        " accepted_payload_size 8192".to_owned(),
        " hold valid 1s".to_owned(),
        " hold obsolete 1s".to_owned(),
        " timeout resolve 1s".to_owned(),
        "listen web".to_owned(),
        format!(" bind {front}"),
        " balance roundrobin".to_owned(),
        format!(
            " server-template web 10 _http._tcp.web.service.{DOMAIN} resolvers holdfast \
             check inter 500 init-addr none"
        ),
    ];
    let text = lines.join("\n") + "\n";
    fs::write(&config, text).expect("the directory is ours");
    let config = config.display().to_string();
    output("haproxy", &["-c", "-f", &config]);
    let _haproxy = Program::start(Command::new("haproxy").args(["-db", "-f", &config]));
    // Who answers says its host name, which is the container's short id.
    let answering = || {
        let mut names = BTreeSet::new();
        for _ in 0..8 {
            let answer = Server::Tcp(front).get("/").map_err(|err| err.to_string())?;
            if answer.status != 200 {
                return Err(answer.text());
            }
            names.extend(answer.text().lines().next().map(str::to_owned));
        }
        Ok(names)
    };
    // A task out of use runs on until it has stopped.
    let await_answers = |known: &Known| {
        until("HAProxy sends to all tasks that run", PATIENCE, || {
            let running = known.fleet.running("web").into_iter();
            let wanted: BTreeSet<_> = running
                .map(|one| format!("hostname: {}", &one.id[..12]))
                .collect();
            match answering()? {
                names if names == wanted => Ok(()),
                names => Err(format!("{names:?}, not {wanted:?}")),
            }
        });
    };
    await_answers(&known);
    known.fleet.scale("web", 4);
    known.await_names("web", 4);
    await_answers(&known);
    known.fleet.scale("web", 1);
    known.await_names("web", 1);
    await_answers(&known);
}

/// Its tasks run on, so nobody stops using them.
#[test]
fn an_agent_that_is_started_again_takes_no_task_out_of_use() {
    let Some(mut known) = Known::start(3) else {
        return;
    };
    known.create_service("web", 3);
    let meant = known.await_names("web", 3);
    let (other, name) = (known.dns(1), "_http._tcp.web.service");
    let is_whole = || {
        let answer = dns::ask(other, name, RecordType::SRV).map_err(|err| err.to_string())?;
        match dns::targets(&answer) {
            found if found == meant => Ok(()),
            found => Err(format!("{found:?}, not {meant:?}")),
        }
    };
    known.fleet.hosts[0].terminate();
    holds("all are in use while it is away", secs(1), is_whole);
    known.fleet.hosts[0].start();
    holds("all are in use while it comes back", secs(5), is_whole);
    known.fleet.hosts[0].kill();
    known.fleet.hosts[0].start();
    holds("all are in use after a kill", secs(5), is_whole);
}
