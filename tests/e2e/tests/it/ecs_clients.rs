//! ECS's own clients drive a cluster: the aws command line, and programs by boto3.

use e2e::{
    fleet::Fleet,
    host::text_of,
    program::{self, IMAGE},
};
use std::{
    fs,
    net::{IpAddr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

const HOSTS: usize = 3;
const PORT: u16 = 51_680;
/// Id and secret of one key, for each role that the stories need.
const ADMIN: [&str; 2] = ["HFADMIN01", "0123456789abcdef0123456789abcdef"];
const READER: [&str; 2] = ["HFREADER01", "fedcba9876543210fedcba9876543210"];
/// It may deploy in one cluster alone.
const GUEST: [&str; 2] = ["HFGUEST01", "0011223344556677889900aabbccddee"];

/// Agents that serve ECS's API over TCP.
struct Served {
    fleet: Fleet,
    python: PathBuf,
    endpoints: Vec<String>,
    certificate: PathBuf,
}

impl Served {
    fn start() -> Option<Self> {
        let python = program::ecs_clients()?;
        let mut fleet = Fleet::empty()?;
        let keys = fleet.place.dir.join("api.keys");
        write_keys(&keys);
        let [certificate, private] = ["api.crt", "api.key"].map(|name| fleet.place.dir.join(name));
        let mut endpoints = Vec::new();
        for number in 1..=HOSTS {
            let [a, b, c] = fleet.place.network;
            let last = u8::try_from(number).expect("there are few");
            let address = SocketAddr::from(([a, b, c, 100 + last], PORT));
            let host = fleet.add();
            host.set("api-listen", &address.to_string());
            host.set("api-keys-file", &keys.to_string_lossy());
            host.set("stopped-container-retention-s", "1");
            // One of them by TLS, as beyond this machine all would be.
            let scheme = match number {
                HOSTS => {
                    let [cert, key] = ["api-tls-cert-file", "api-tls-key-file"];
                    host.set(cert, &certificate.to_string_lossy());
                    host.set(key, &private.to_string_lossy());
                    make_certificate(address.ip(), &certificate, &private);
                    "https"
                }
                _ => "http",
            };
            endpoints.push(format!("{scheme}://{address}"));
        }
        fleet.start_all();
        Some(Self {
            fleet,
            python,
            endpoints,
            certificate,
        })
    }

    /// A command with the admin's key, and with the clients on its path.
    fn command(&self, program: &Path) -> Command {
        let bin = self.python.parent().expect("it is in a directory");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(program);
        command
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("AWS_REGION", "us-east-1")
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", ADMIN[0])
            .env("AWS_SECRET_ACCESS_KEY", ADMIN[1])
            .env("AWS_CA_BUNDLE", &self.certificate)
            .env("READER_ID", READER[0])
            .env("READER_SECRET", READER[1])
            .env("GUEST_ID", GUEST[0])
            .env("GUEST_SECRET", GUEST[1])
            .env("AWS_CONFIG_FILE", "/nonexistent")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    fn logs(&self) -> String {
        let logs = self.fleet.hosts.iter().map(|host| host.log());
        logs.collect()
    }
}

fn write_keys(path: &Path) {
    let text = [(ADMIN, "admin"), (READER, "read"), (GUEST, "deploy trial")];
    let text = text.map(|([id, secret], role)| format!("{id} {secret} {role}\n"));
    fs::write(path, text.concat()).expect("the directory is ours");
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(path, private).expect("so is the file");
}

/// Signed by itself, for that address.
fn make_certificate(address: IpAddr, certificate: &Path, private: &Path) {
    let mut openssl = Command::new("openssl");
    openssl
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        .args(["-nodes", "-days", "2", "-subj", "/CN=holdfast test"])
        .arg("-addext")
        .arg(format!("subjectAltName=IP:{address}"))
        .arg("-out")
        .arg(certificate)
        .arg("-keyout")
        .arg(private);
    let made = openssl.output().expect("openssl is installed");
    assert!(made.status.success(), "{}", text_of(&made.stderr));
}

fn story(name: &str) -> PathBuf {
    program::workspace().join("tests/e2e/ecs").join(name)
}

#[track_caller]
fn told(mut command: Command) -> String {
    let ran = command.output().expect("it can be run");
    let (out, err) = (text_of(&ran.stdout), text_of(&ran.stderr));
    assert!(ran.status.success(), "{}\n{out}\n{err}", ran.status);
    out
}

#[test]
fn a_service_lives_and_ends_by_the_aws_command_line_each_step_at_another_agent() {
    let Some(served) = Served::start() else {
        return;
    };
    let mut command = served.command(&story("life.sh"));
    command.args(&served.endpoints).arg(IMAGE);
    let out = told(command);
    assert!(out.ends_with("ended: 0\n"), "{out}");
    let logs = served.logs();
    let recorded = "what=\"DeleteService\" who=\"key HFADMIN01\" about=\"web\" outcome=\"done\"";
    assert!(logs.contains(recorded), "each change is on record: {logs}");
}

#[test]
fn programs_wait_page_and_are_refused_by_type_and_each_answer_is_as_the_model_has_it() {
    let Some(served) = Served::start() else {
        return;
    };
    let mut command = served.command(&served.python);
    command
        .arg(story("sdk.py"))
        .arg(IMAGE)
        .args(&served.endpoints);
    let out = told(command);
    assert!(out.contains("each answer as the model has it"), "{out}");
}

/// Terraform is no package: where it is not there, or its provider for AWS, this is left out.
#[test]
fn terraform_makes_changes_and_destroys_a_service_and_sees_no_change_where_there_is_none() {
    let plugins = Path::new("/opt/tf-plugins");
    let is_there = Command::new("terraform").arg("version").output().is_ok();
    if !is_there || !plugins.is_dir() {
        println!("SKIPPED: there is no terraform with {}", plugins.display());
        return;
    }
    let Some(served) = Served::start() else {
        return;
    };
    let directory = served.fleet.place.dir.join("terraform");
    fs::create_dir(&directory).expect("the directory is ours");
    let mut command = served.command(&story("terraform.sh"));
    command.args(&served.endpoints);
    command.arg("staging").arg(IMAGE).arg(directory);
    command.env("TF_PLUGIN_DIR", plugins);
    let out = told(command);
    assert!(out.ends_with("destroyed\n"), "{out}");
    assert_eq!(out.matches("nothing to change").count(), 2, "{out}");
}
