//! What Docker itself says: the view that no agent can embellish, and the clock of the bench.

use crate::{
    http::{Answer, Connection, Request, Server, query_escaped},
    wait::wall_nanos,
};
use serde_json::{Value, json};
use std::{
    env,
    io::{self, BufRead, BufReader, Cursor, Read as _},
    path::Path,
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

pub const CLUSTER_LABEL: &str = "io.holdfast.cluster";
const BILLION: u64 = 1_000_000_000;
/// A slow machine's Docker, not one that hangs.
const ANSWERED_WITHIN: Duration = Duration::from_secs(90);
const SOCKET: &str = "/run/docker.sock";

/// The Docker Engine that `DOCKER_HOST` names, or the machine's.
#[derive(Clone, Debug)]
pub struct Engine {
    pub socket: String,
    server: Server,
}

/// One container as Docker lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    pub id: String,
    pub name: String,
    /// "created", "running", "exited" …
    pub state: String,
    pub cluster: String,
    pub host: String,
    pub task: String,
    pub service: String,
    pub slot: Option<u32>,
}

/// One volume that an agent made for a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    pub name: String,
    pub cluster: String,
}

/// One event of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub action: String,
    pub id: String,
    /// The container's name.
    pub name: String,
    pub at_nanos: u64,
}

/// The events of a cluster's containers, from now on; ends when it is dropped.
#[derive(Debug)]
pub struct Watch {
    events: Receiver<Event>,
    connection: Connection,
}

impl Engine {
    /// The engine, if one answers; the reason where none does.
    pub fn find() -> Result<Self, String> {
        let socket = match env::var("DOCKER_HOST") {
            Ok(host) => match host.strip_prefix("unix://") {
                Some(path) => path.to_owned(),
                None => return Err(format!("DOCKER_HOST={host} is not a unix socket")),
            },
            Err(_) => SOCKET.to_owned(),
        };
        let engine = Self::at(Path::new(&socket));
        match engine.server.get("/version") {
            Ok(answer) if answer.status == 200 => Ok(engine),
            Ok(answer) => Err(format!(
                "Docker on {} says {}",
                engine.socket,
                answer.text()
            )),
            Err(err) => Err(format!(
                "no Docker Engine answers on {}: {err}",
                engine.socket
            )),
        }
    }

    /// The engine of this socket, whether or not it answers.
    pub fn at(socket: &Path) -> Self {
        Self {
            socket: socket.display().to_string(),
            server: Server::Unix(socket.to_owned()),
        }
    }

    pub fn answers_within(&self, within: Duration) -> bool {
        let answer = self.server.get_within("/_ping", within);
        answer.is_ok_and(|answer| answer.status == 200)
    }

    /// Takes in the images of an archive, as `docker load` does.
    pub fn load(&self, archive: &[u8]) -> Result<(), String> {
        let request = Request {
            method: "POST",
            path: "/images/load?quiet=1",
            headers: &[("content-type", "application/x-tar")],
            body: archive,
        };
        let answer = self.server.call(&request);
        let answer = answer.map_err(|err| format!("load an image: {err}"))?;
        // What goes wrong on the way is told in the body.
        let text = answer.text();
        if answer.status == 200 && !text.contains("errorDetail") {
            Ok(())
        } else {
            Err(format!("load an image: {} {text}", answer.status))
        }
    }

    /// One that is like no other and runs as `base` does, under this name; its id.
    pub fn vary_image(&self, base: &str, name: &str) -> String {
        let (repository, tag) = name.rsplit_once(':').expect("it has a tag");
        let nonce = format!("NONCE={}", wall_nanos());
        let container = self.create(&json!({"Image": base, "Env": [nonce]}));
        let path = format!("/commit?container={container}&repo={repository}&tag={tag}");
        let made = self.call("POST", &path, &Value::Null);
        self.remove(&[container]);
        assert!(made.status == 201, "{path}: {}", made.text());
        let id = made.json()["Id"].as_str().map(str::to_owned);
        id.expect("an image has an id")
    }

    pub fn push(&self, name: &str) {
        let (repository, tag) = name.rsplit_once(':').expect("it has a tag");
        let path = format!("/images/{repository}/push?tag={tag}");
        let request = Request {
            method: "POST",
            path: &path,
            // No credentials, which are "{}" in base64.
            headers: &[("x-registry-auth", "e30=")],
            body: &[],
        };
        let answer = self.server.call(&request);
        let answer = answer.unwrap_or_else(|err| panic!("{path}: {err}"));
        // What goes wrong on the way is told in the body.
        let text = answer.text();
        let fine = answer.status == 200 && !text.contains("errorDetail");
        assert!(fine, "{path}: {} {text}", answer.status);
    }

    /// One that is gone already is fine.
    pub fn remove_image(&self, id: &str) {
        let answer = self.call("DELETE", &format!("/images/{id}?force=1"), &Value::Null);
        let fine = matches!(answer.status, 200 | 404);
        assert!(fine, "remove the image {id}: {}", answer.text());
    }

    pub fn version(&self) -> String {
        let version = self.get("/version");
        version["Version"].as_str().unwrap_or("unknown").to_owned()
    }

    /// All containers with this label, `name` or `name=value`, whether they run or not.
    pub fn containers(&self, label: &str) -> Vec<Container> {
        let listed = self.containers_within(label, ANSWERED_WITHIN);
        listed.unwrap_or_else(|why| panic!("{why}"))
    }

    /// As `containers`, from an engine that may hang or be gone.
    pub fn containers_within(
        &self,
        label: &str,
        within: Duration,
    ) -> Result<Vec<Container>, String> {
        let path = format!("/containers/json?all=1&filters={}", labelled(label));
        let listed = self.get_within(&path, within)?.json();
        let listed = listed
            .as_array()
            .ok_or_else(|| format!("{}: a list of containers is {listed}", self.socket))?;
        Ok(listed.iter().map(container).collect())
    }

    /// What the engine still knows of the events since then: the last 256, none from before it was
    /// started.
    pub fn events_since(&self, nanos: u64, within: Duration) -> Result<Vec<Event>, String> {
        let moment = |nanos: u64| format!("{}.{:09}", nanos / BILLION, nanos % BILLION);
        let filters = query_escaped(&json!({"type": ["container"]}).to_string());
        let (since, until) = (moment(nanos), moment(wall_nanos()));
        let path = format!("/events?since={since}&until={until}&filters={filters}");
        let text = self.get_within(&path, within)?.text();
        let events = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        Ok(events.map(|told: Value| event(&told)).collect())
    }

    fn get_within(&self, path: &str, within: Duration) -> Result<Answer, String> {
        let answer = self.server.get_within(path, within);
        let answer = answer.map_err(|err| format!("{path} of {}: {err}", self.socket))?;
        if answer.status == 200 {
            Ok(answer)
        } else {
            Err(format!("{path}: {} {}", answer.status, answer.text()))
        }
    }

    pub fn inspect(&self, id: &str) -> Value {
        self.look_at(id).unwrap_or_else(|why| panic!("{why}"))
    }

    /// What may be gone, or not be there yet.
    pub fn look_at(&self, id: &str) -> Result<Value, String> {
        let path = format!("/containers/{id}/json");
        let answer = self.get_within(&path, ANSWERED_WITHIN)?;
        Ok(answer.json())
    }

    /// What the engine says of an image.
    pub fn image(&self, id: &str) -> Value {
        self.get(&format!("/images/{id}/json"))
    }

    pub fn started_at(&self, id: &str) -> String {
        self.inspect(id)["State"]["StartedAt"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    pub fn kill(&self, id: &str) {
        let answer = self.call("POST", &format!("/containers/{id}/kill"), &Value::Null);
        assert!(answer.status == 204, "kill {id}: {}", answer.text());
    }

    /// Makes a container; its id.
    pub fn create(&self, body: &Value) -> String {
        let answer = self.call("POST", "/containers/create", body);
        assert!(answer.status == 201, "create: {}", answer.text());
        answer.json()["Id"]
            .as_str()
            .expect("a container has an id")
            .to_owned()
    }

    pub fn start(&self, id: &str) {
        let answer = self.call("POST", &format!("/containers/{id}/start"), &Value::Null);
        assert!(answer.status == 204, "start {id}: {}", answer.text());
    }

    /// Removes these at once, running or not; what is gone already is fine.
    pub fn remove(&self, ids: &[String]) {
        thread::scope(|scope| {
            for id in ids {
                scope.spawn(move || {
                    let path = format!("/containers/{id}?force=1&v=1");
                    let answer = self.call("DELETE", &path, &Value::Null);
                    // 409: somebody is removing it at this moment.
                    let fine = matches!(answer.status, 204 | 404 | 409);
                    assert!(fine, "remove {id}: {}", answer.text());
                });
            }
        });
    }

    /// Has the container's first process get a signal, as in `SIGSTOP`.
    pub fn signal(&self, id: &str, signal: &str) {
        let path = format!("/containers/{id}/kill?signal={signal}");
        let answer = self.call("POST", &path, &Value::Null);
        assert!(answer.status == 204, "{signal} {id}: {}", answer.text());
    }

    /// All volumes with this label.
    pub fn volumes(&self, label: &str) -> Vec<Volume> {
        let listed = self.get(&format!("/volumes?filters={}", labelled(label)));
        let listed = listed["Volumes"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let volume = |listed: &Value| Volume {
            name: text(&listed["Name"]),
            cluster: text(&listed["Labels"][CLUSTER_LABEL]),
        };
        listed.iter().map(volume).collect()
    }

    /// What is gone already is fine.
    pub fn remove_volumes(&self, volumes: impl IntoIterator<Item = Volume>) {
        for Volume { name, .. } in volumes {
            let answer = self.call("DELETE", &format!("/volumes/{name}"), &Value::Null);
            let fine = matches!(answer.status, 204 | 404);
            assert!(fine, "remove the volume {name}: {}", answer.text());
        }
    }

    /// The ids of the images with this label.
    pub fn images(&self, label: &str) -> Vec<String> {
        let listed = self.get(&format!("/images/json?filters={}", labelled(label)));
        let listed = listed.as_array().cloned().unwrap_or_default();
        let ids = listed.iter().filter_map(|image| image["Id"].as_str());
        ids.map(str::to_owned).collect()
    }

    /// Of the containers with this label.
    pub fn watch(&self, label: &str) -> Watch {
        self.watch_those(&json!({"type": ["container"], "label": [label]}))
    }

    /// Of all containers.
    pub fn watch_all(&self) -> Watch {
        self.watch_those(&json!({"type": ["container"]}))
    }

    fn watch_those(&self, filters: &Value) -> Watch {
        let filters = filters.to_string();
        // With a beginning, as one that comes before we listen would be missed without.
        let (now, filters) = (wall_nanos(), query_escaped(&filters));
        let (seconds, nanos) = (now / BILLION, now % BILLION);
        let path = format!("/events?since={seconds}.{nanos:09}&filters={filters}");
        let mut connection = self.server.connect().expect("Docker answers");
        let request = Request {
            method: "GET",
            path: &path,
            ..Request::default()
        };
        connection.send(&request).expect("Docker takes a request");
        let (status, head, begun) = connection.head().expect("Docker answers");
        assert!(status == 200, "events: {head}");
        connection
            .set_read_timeout(None)
            .expect("a socket may wait for ever");
        let rest = connection.try_clone().expect("a socket can be cloned");
        let (told, events) = mpsc::channel();
        thread::spawn(move || {
            let lines = BufReader::new(Cursor::new(begun).chain(rest)).lines();
            for line in lines.map_while(Result::ok) {
                let event = serde_json::from_str(&line).map(|value: Value| event(&value));
                if event.is_ok_and(|event| told.send(event).is_err()) {
                    break;
                }
            }
        });
        Watch { events, connection }
    }

    /// Any request to an engine that may hang or refuse; the answer's JSON.
    pub fn ask(
        &self,
        method: &str,
        path: &str,
        body: &Value,
        within: Duration,
    ) -> Result<Value, String> {
        let answer = self.answer_within(method, path, body, within);
        let answer = answer.map_err(|err| format!("{method} {path} of {}: {err}", self.socket))?;
        if (200..300).contains(&answer.status) {
            Ok(answer.json())
        } else {
            Err(format!(
                "{method} {path}: {} {}",
                answer.status,
                answer.text()
            ))
        }
    }

    fn get(&self, path: &str) -> Value {
        let answer = self.get_within(path, ANSWERED_WITHIN);
        answer.unwrap_or_else(|why| panic!("{why}")).json()
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        let answer = self.answer_within(method, path, body, ANSWERED_WITHIN);
        answer.unwrap_or_else(|err| panic!("{method} {path} of Docker: {err}"))
    }

    fn answer_within(
        &self,
        method: &str,
        path: &str,
        body: &Value,
        within: Duration,
    ) -> io::Result<Answer> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let request = Request {
            method,
            path,
            headers: &[("content-type", "application/json")],
            body: body.as_bytes(),
        };
        self.server.call_within(&request, within)
    }
}

impl Container {
    pub fn is_running(&self) -> bool {
        self.state == "running"
    }
}

impl Event {
    /// From this event to a later one, by Docker's clock.
    pub fn until(&self, later: &Self) -> Duration {
        Duration::from_nanos(later.at_nanos.saturating_sub(self.at_nanos))
    }
}

impl Watch {
    /// The next event that is meant; others are passed over.
    pub fn next(&self, within: Duration, meant: impl Fn(&Event) -> bool) -> Option<Event> {
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let event = self.events.recv_timeout(left).ok()?;
            if meant(&event) {
                return Some(event);
            }
        }
    }

    /// The next event with this action, which must come.
    #[track_caller]
    pub fn expect(&self, action: &str, within: Duration) -> Event {
        let found = self.next(within, |event| event.action == action);
        found.unwrap_or_else(|| panic!("waited {within:?} for Docker to tell of a {action}"))
    }

    /// What has been told until now.
    pub fn drain(&self) -> Vec<Event> {
        self.events.try_iter().collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.connection.shut_down();
    }
}

fn labelled(label: &str) -> String {
    query_escaped(&json!({"label": [label]}).to_string())
}

fn container(listed: &Value) -> Container {
    let label = |name: &str| {
        let value = listed["Labels"][format!("io.holdfast.{name}")].as_str();
        value.unwrap_or_default().to_owned()
    };
    let name = listed["Names"][0].as_str().unwrap_or_default();
    Container {
        id: listed["Id"]
            .as_str()
            .expect("a container has an id")
            .to_owned(),
        name: name.trim_start_matches('/').to_owned(),
        state: listed["State"].as_str().unwrap_or_default().to_owned(),
        cluster: label("cluster"),
        host: label("host"),
        task: label("task"),
        service: label("service-name"),
        slot: label("slot").parse().ok(),
    }
}

fn event(told: &Value) -> Event {
    Event {
        action: told["Action"].as_str().unwrap_or_default().to_owned(),
        id: told["Actor"]["ID"].as_str().unwrap_or_default().to_owned(),
        name: told["Actor"]["Attributes"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        at_nanos: told["timeNano"].as_u64().unwrap_or_default(),
    }
}
