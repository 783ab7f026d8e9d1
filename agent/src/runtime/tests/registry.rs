//! A registry of a test's own (Debian's `docker-registry`), with images that nobody else has.

use super::client;
use crate::{runtime::images::mend_header, test_dir::TestDir};
use bollard::{
    Docker as Client,
    auth::DockerCredentials,
    body_full,
    errors::Error,
    query_parameters::{CreateImageOptions, PushImageOptions, RemoveImageOptions},
};
use futures_util::TryStreamExt as _;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    env,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};
use tokio::runtime;

pub(super) const USER: &str = "alice";
/// Some of it is `+` and `/` in base64, wherever it comes to stand.
pub(super) const PASSWORD: &str = "pa~~~ss???word";
/// For that password. Made with few rounds, for the tests' sake.
const HTPASSWD: &str = "alice:$2b$05$abcdefghijklmnopqrstuupaN8dHYnmNKwEJoENES8huGs7M13tWS\n";

/// Ends with this, and so do the images that were pushed to it.
pub(super) struct Registry {
    child: Child,
    dir: TestDir,
    /// A host and a port.
    pub(super) address: String,
    client: Client,
    /// The ids of images that were made for it.
    made: Vec<String>,
    is_guarded: bool,
}

impl Registry {
    /// One that lets everybody in.
    pub(super) fn open() -> Option<Self> {
        Self::start(false)
    }

    /// One that lets in who knows the password.
    pub(super) fn guarded() -> Option<Self> {
        Self::start(true)
    }

    fn start(is_guarded: bool) -> Option<Self> {
        let dir = TestDir::new("registry");
        let mut config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {0}/data}}}}\n\
             http: {{addr: '127.0.0.1:0'}}\n",
            dir.display()
        );
        if is_guarded {
            fs::write(dir.join("htpasswd"), HTPASSWD).expect("the directory is ours");
            let path = dir.join("htpasswd");
            config += &format!(
                "auth: {{htpasswd: {{realm: test, path: {}}}}}\n",
                path.display()
            );
        }
        fs::write(dir.join("config.yml"), config).expect("the directory is ours");
        let requests = File::create(dir.join("requests")).expect("the directory is ours");
        let started = Command::new("docker-registry")
            .arg("serve")
            .arg(dir.join("config.yml"))
            .stdin(Stdio::null())
            .stdout(requests)
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = started else {
            let why = "docker-registry is not installed; run packaging/prerequisites.sh";
            eprintln!("SKIPPED: {why}");
            assert!(env::var_os("CI").is_none(), "SKIPPED, and CI is set: {why}");
            return None;
        };
        let address = address_of(&mut child);
        let client = client().with_request_modifier(|request| {
            let (mut parts, body) = request.into_parts();
            mend_header(&mut parts.headers);
            bollard::BollardRequest::from_parts(parts, body)
        });
        Some(Self {
            child,
            dir,
            address,
            client,
            made: vec![],
            is_guarded,
        })
    }

    /// Makes an image that is like no other and pushes it; it is not on the host then. Its id.
    pub(super) async fn push(&mut self, name: &str) -> String {
        // Another name for the same place, so that what the host has by the first one stays.
        let port = self.address.rsplit(':').next().expect("it has a port");
        let full = format!("localhost:{port}/{name}");
        let (repository, tag) = full.rsplit_once(':').expect("it has a tag");
        let options = CreateImageOptions {
            from_src: Some("-".to_owned()),
            // Podman does not look at a tag of its own.
            repo: Some(full.clone()),
            ..CreateImageOptions::default()
        };
        let body = Some(body_full(archive().into()));
        let made = self.client.create_image(Some(options), body, None);
        made.try_collect::<Vec<_>>()
            .await
            .expect("Docker makes an image");
        let id = self
            .client
            .inspect_image(&full)
            .await
            .expect("it is there")
            .id;
        let id = id.expect("it has an id");
        self.made.push(id.clone());
        let options = PushImageOptions {
            tag: Some(tag.to_owned()),
            ..PushImageOptions::default()
        };
        let credentials = self.is_guarded.then(|| DockerCredentials {
            username: Some(USER.to_owned()),
            password: Some(PASSWORD.to_owned()),
            ..DockerCredentials::default()
        });
        let pushed = self
            .client
            .push_image(repository, Some(options), credentials);
        pushed
            .try_collect::<Vec<_>>()
            .await
            .expect("the registry takes it");
        remove(&self.client, &id).await.expect("it is ours");
        id
    }

    /// As somebody does by hand.
    pub(super) async fn pull(&self, name: &str) {
        let options = CreateImageOptions {
            from_image: Some(self.name(name)),
            ..CreateImageOptions::default()
        };
        let pulled = self.client.create_image(Some(options), None, None);
        pulled
            .try_collect::<Vec<_>>()
            .await
            .expect("the registry gives it");
    }

    /// Takes an image of its own off the host again.
    pub(super) async fn remove(&self, id: &str) {
        remove(&self.client, id).await.expect("nothing uses it");
    }

    pub(super) fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// Whether an image is on the host. Podman lists none at all while one of them is removed.
    pub(super) async fn has(&self, id: &str) -> bool {
        match self.client.inspect_image(id).await {
            Ok(_) => true,
            Err(Error::DockerResponseServerError {
                status_code: 404, ..
            }) => false,
            Err(err) => panic!("Docker answers, but {err}"),
        }
    }

    /// How often a tag was asked for.
    pub(super) fn asked_for(&self, name: &str) -> usize {
        let (repository, tag) = name.rsplit_once(':').expect("it has a tag");
        let text = fs::read_to_string(self.dir.join("requests")).expect("it is there");
        let heads = ["HEAD", "GET"].map(|how| format!("\"{how} /v2/{repository}/manifests/{tag} "));
        let is_meant = |line: &&str| heads.iter().any(|head| line.contains(head));
        text.lines().filter(is_meant).count()
    }

    /// It takes connections from now on, and answers nothing.
    pub(super) fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// It is gone.
    pub(super) fn stop(&mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().expect("it is our child");
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("ids of processes are small");
        kill(Pid::from_raw(id), signal).expect("it has not been waited for");
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            self.stop();
        }
        let (client, made) = (self.client.clone(), std::mem::take(&mut self.made));
        let cleaner = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime starts").block_on(async {
                for id in made {
                    // Most are not there any more.
                    remove(&client, &id).await.unwrap_or_default();
                }
            });
        });
        if cleaner.join().is_err() {
            eprintln!("cannot clean up the images of {}", self.address);
        }
    }
}

async fn remove(client: &Client, id: &str) -> Result<(), Error> {
    let options = RemoveImageOptions {
        force: true,
        noprune: true,
        ..RemoveImageOptions::default()
    };
    client.remove_image(id, Some(options), None).await.map(drop)
}

/// From what it logs when it listens.
fn address_of(child: &mut Child) -> String {
    let stderr = BufReader::new(child.stderr.take().expect("it was piped"));
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            if let Some((_, rest)) = line.split_once("listening on ") {
                let address = rest.split('"').next().unwrap_or(rest);
                tell.send(address.to_owned()).unwrap_or_default();
            }
        }
    });
    told.recv_timeout(super::PATIENCE)
        .expect("the registry listens")
}

/// A tar with one file of random bytes.
fn archive() -> Vec<u8> {
    let content: Vec<u8> = (0..64)
        .flat_map(|_| {
            getrandom::u64()
                .expect("the kernel has random bytes")
                .to_le_bytes()
        })
        .collect();
    let mut head = [0_u8; 512];
    let mut put =
        |at: usize, text: &str| head[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, "content");
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", content.len()));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    let sum = format!("{sum:06o}\0 ");
    head[148..156].copy_from_slice(sum.as_bytes());
    [&head[..], &content, &[0; 1_024]].concat()
}
