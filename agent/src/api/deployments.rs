//! A service's deployments, as far as its tasks show them, and the operations on them.

use super::{
    context::{SERVICE_DEPLOYMENT, SERVICE_REVISION},
    error::ApiError,
    request::{Request, Sort, listed, missing},
    services::{Counts, no_such},
    tasks::{deployment_id, deployment_number},
    view::{View, seconds, set_if},
};
use holdfast_core::{
    cluster::{
        board::{Service, TaskSaid},
        body::{Key, TaskReport},
    },
    ids::{Digest, SlotIndex},
    spec::{ecs_fields, read::Choice},
    time::Wall,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// ECS's own default for `ListServiceDeployments`, unlike that of the other lists.
const LIST_MAX_DEFAULT: u32 = 20;

/// As in ECS, in one call.
const DESCRIBED_MAX: usize = 20;

/// Why one is told as stopped.
const REPLACED: &str = "A later deployment of the service has taken its place.";

/// All of ECS's; those that no deployment here ever has match nothing.
const STATUS: Choice = Choice {
    served: &[
        "PENDING",
        "SUCCESSFUL",
        "STOPPED",
        "STOP_REQUESTED",
        "IN_PROGRESS",
        "ROLLBACK_REQUESTED",
        "ROLLBACK_IN_PROGRESS",
        "ROLLBACK_SUCCESSFUL",
        "ROLLBACK_FAILED",
    ],
    refused: &[],
    wanted: "a status of ECS's service deployments: \"IN_PROGRESS\", \"SUCCESSFUL\" and \
             \"STOPPED\" are those that they have here",
};

pub(crate) fn list(view: &View<'_>, body: &Value) -> Result<Value, ApiError> {
    let known = ecs_fields::LIST_SERVICE_DEPLOYMENTS;
    let request = Request::read(body, known, known)?;
    let given = request.required("service", "a service's name or its ARN")?;
    let page = request.page(LIST_MAX_DEFAULT)?;
    let statuses = request.choices("status", &STATUS)?;
    let created = request.span("createdAt")?;
    let service = view.context.service_name(&given);
    let service = service.and_then(|name| view.board.service_named(&name));
    let service = service.ok_or_else(|| no_such(view, &given))?;
    let deployments = Deployments::look(view, service);
    let all = deployments.all(view);
    let wanted = all.iter().filter_map(|one| {
        let told = deployments.brief_json(view, one);
        let status = told["status"].as_str()?;
        let is_wanted = statuses.is_empty() || statuses.contains(&status);
        // The PRIMARY one first; the times of the others change as their tasks go.
        let (rank, number) = (u8::from(one.example.is_none()), deployments.number(one));
        let key = format!("{rank}{number}");
        (is_wanted && created.contains(one.created_at)).then_some((key, told))
    });
    let mut wanted: Vec<_> = wanted.collect();
    wanted.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
    let page = page.cut(Sort::Descending, wanted.into_iter());
    Ok(listed("serviceDeployments", page))
}

pub(crate) fn describe(view: &View<'_>, body: &Value) -> Result<Value, ApiError> {
    let known = ecs_fields::DESCRIBE_SERVICE_DEPLOYMENTS;
    let request = Request::read(body, known, known)?;
    let wanted = "the ARNs of 1 to 20 service deployments";
    let arns = request.texts("serviceDeploymentArns", wanted, DESCRIBED_MAX)?;
    let (found, failures) = named(view, SERVICE_DEPLOYMENT, &arns, |of, view, one| {
        of.whole_json(view, one)
    });
    Ok(json!({"serviceDeployments": found, "failures": failures}))
}

pub(crate) fn describe_revisions(view: &View<'_>, body: &Value) -> Result<Value, ApiError> {
    let known = ecs_fields::DESCRIBE_SERVICE_REVISIONS;
    let request = Request::read(body, known, known)?;
    let wanted = "the ARNs of 1 to 20 service revisions";
    let arns = request.texts("serviceRevisionArns", wanted, DESCRIBED_MAX)?;
    let (found, failures) = named(view, SERVICE_REVISION, &arns, |of, view, one| {
        of.revision_json(view, one)
    });
    Ok(json!({"serviceRevisions": found, "failures": failures}))
}

/// How a deployment is told.
type Tell = fn(&Deployments<'_>, &View<'_>, &Deployment<'_>) -> Value;

/// Those that the ARNs name, and the failures of the others. Each service is looked at once.
fn named(view: &View<'_>, kind: &str, arns: &[String], tell: Tell) -> (Vec<Value>, Vec<Value>) {
    let mut services: BTreeMap<String, Option<Deployments<'_>>> = BTreeMap::new();
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for arn in arns {
        let told = view
            .context
            .service_part(kind, arn)
            .and_then(|(name, number)| {
                let service = view.board.service_named(&name);
                let deployments = services.entry(name).or_insert_with(|| {
                    let service = service?;
                    Some(Deployments::look(view, service))
                });
                let deployments = deployments.as_ref()?;
                let all = deployments.all(view);
                let one = all.iter().find(|one| deployments.number(one) == number)?;
                Some(tell(deployments, view, one))
            });
        match told {
            Some(told) => found.push(told),
            None => failures.push(missing(arn)),
        }
    }
    (found, failures)
}

/// The one way in which tasks are replaced here.
pub(crate) fn configuration() -> Value {
    json!({"maximumPercent": 200, "minimumHealthyPercent": 100})
}

/// Which deployment of a service: its definition, and how often that was deployed anew.
pub(crate) type DeploymentKey = (Digest, u32);

/// The PRIMARY one, and an ACTIVE one for each other definition that still has tasks: ECS's
/// waiters take a service for stable when there is exactly one. They are gathered in one look at
/// each task, and follow from the board: every agent tells the same.
#[derive(Debug)]
pub(crate) struct Deployments<'v> {
    service: Service<'v>,
    primary: Counts,
    /// A live task of the PRIMARY one is not as it is to be yet.
    behind: bool,
    others: BTreeMap<DeploymentKey, Other<'v>>,
    times: Times,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
struct Deployment<'d> {
    key: DeploymentKey,
    family: &'d str,
    revision: u32,
    desired: u32,
    counts: Counts,
    created_at: Wall,
    changed_at: Wall,
    /// A task of one that another one has replaced.
    example: Option<&'d TaskReport>,
}

/// When its tasks came and went, as far as their hosts still tell.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    /// When the last of those began to run that do.
    started: Wall,
    /// When the last of those ended that ran.
    ended: Wall,
    /// The same of those of another deployment than the PRIMARY one.
    others_ended: Wall,
    /// When the last of the slots looked at first had a running task of the PRIMARY one.
    deployed: Wall,
    /// The slot that is being looked at, and when it first had one.
    slot: Option<(SlotIndex, Wall)>,
}

/// Since when a service is as it is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Steady {
    pub(crate) since: Wall,
    /// What led there and is still on the board: tasks that ended are forgotten after an hour, and
    /// an event must not become another one by that.
    pub(crate) anchor: Wall,
}

/// One that another one has replaced.
#[derive(Debug)]
struct Other<'v> {
    /// One of its tasks: there is no other record of it.
    example: &'v TaskReport,
    /// When the first of its tasks was that are left.
    created_at: Wall,
    counts: Counts,
}

impl<'v> Deployments<'v> {
    /// Nothing is known of its tasks yet; each of them is to be noted, slot by slot.
    pub(crate) fn of(service: Service<'v>) -> Self {
        Self {
            service,
            primary: Counts::default(),
            behind: false,
            others: BTreeMap::new(),
            times: Times::default(),
        }
    }

    /// Looks at each of its tasks.
    fn look(view: &'v View<'_>, service: Service<'v>) -> Self {
        let mut deployments = Self::of(service);
        for said in view.board.tasks_said_of(service.id) {
            deployments.note(view, said);
        }
        deployments
    }

    pub(crate) fn note(&mut self, view: &View<'_>, said: TaskSaid<'v>) {
        let TaskSaid { host, report, .. } = said;
        let is_primary = self.service.is_deployed(report);
        self.times.note(report, is_primary);
        if is_primary {
            self.behind |= report.last.is_live() && self.service.is_behind(report);
            self.primary.count(view, said);
        } else if report.last.is_live() && !view.is_down(host) {
            let key = (report.definition, report.renewals);
            let other = self.others.entry(key).or_insert(Other {
                example: report,
                created_at: report.created_at,
                counts: Counts::default(),
            });
            other.created_at = other.created_at.min(report.created_at);
            other.counts.count(view, said);
        }
    }

    /// Of all deployments together.
    pub(crate) fn counts(&self) -> Counts {
        let others = self.others.values().map(|other| other.counts);
        others.fold(self.primary, |sum, more| Counts {
            running: sum.running + more.running,
            pending: sum.pending + more.pending,
        })
    }

    /// The service is as it is to be, as far as its tasks are.
    pub(crate) fn is_done(&self) -> bool {
        self.others.is_empty() && self.primary.running == self.service.desired && !self.behind
    }

    pub(crate) const fn service(&self) -> &Service<'v> {
        &self.service
    }

    /// Since when the PRIMARY deployment is complete, if it is. A task that it lost since and that
    /// was replaced does not count, for as long as its report is there.
    pub(crate) fn completed_at(&self, view: &View<'_>) -> Option<Wall> {
        let rolled_out = self.times.deployed().max(self.times.others_ended);
        self.is_done()
            .then(|| self.created_at(view).max(rolled_out))
    }

    /// Since when all is as it is to be, if it is.
    pub(crate) fn steady(&self, view: &View<'_>) -> Option<Steady> {
        let asked = self.created_at(view).max(self.counted_at(view));
        let anchor = asked.max(self.times.started);
        let since = anchor.max(self.times.ended);
        self.is_done().then_some(Steady { since, anchor })
    }

    /// As DescribeServices tells them.
    pub(crate) fn json(&self, view: &View<'_>) -> Vec<Value> {
        let all = self.all(view).into_iter();
        let told = all.map(|deployment| {
            let id = deployment_id(self.service.id, deployment.key);
            let label = (deployment.family, deployment.revision);
            let mut answer = json!({
                "id": id,
                "taskDefinition": view.context.definition_arn(label.0, label.1),
                "desiredCount": deployment.desired,
                "runningCount": deployment.counts.running,
                "pendingCount": deployment.counts.pending,
                "createdAt": seconds(deployment.created_at),
                "updatedAt": seconds(deployment.changed_at),
                "launchType": "EC2",
            });
            if deployment.example.is_some() {
                answer["status"] = json!("ACTIVE");
                answer["failedTasks"] = json!(0);
                return answer;
            }
            let (rollout, how) = match self.is_done() {
                true => ("COMPLETED", "completed"),
                false => ("IN_PROGRESS", "in progress"),
            };
            answer["status"] = json!("PRIMARY");
            answer["failedTasks"] = json!(self.failed(view));
            answer["rolloutState"] = json!(rollout);
            answer["rolloutStateReason"] = json!(format!("ECS deployment {id} {how}."));
            answer
        });
        told.collect()
    }

    /// The ARN of the PRIMARY one.
    pub(crate) fn current(&self, view: &View<'_>) -> String {
        let number = deployment_number(self.service.id, self.primary_key());
        let name = &self.service.settings.name;
        view.context.service_deployment_arn(name, &number)
    }

    /// What each deploys, and with how many tasks.
    pub(crate) fn revisions(&self, view: &View<'_>) -> Vec<Value> {
        let all = self.all(view);
        let revisions = all.iter().map(|one| self.revision_summary(view, one));
        revisions.collect()
    }

    /// The PRIMARY one first.
    fn all(&self, view: &View<'_>) -> Vec<Deployment<'_>> {
        let revision = self.service.revision;
        let created_at = self.created_at(view);
        let mut all = vec![Deployment {
            key: self.primary_key(),
            family: &revision.family,
            revision: revision.revision,
            desired: self.service.desired,
            counts: self.primary,
            created_at,
            changed_at: created_at.max(self.counted_at(view)),
            example: None,
        }];
        all.extend(self.others.iter().map(|(key, other)| Deployment {
            key: *key,
            family: &other.example.family,
            revision: other.example.revision,
            desired: 0,
            counts: other.counts,
            created_at: other.created_at,
            changed_at: other.created_at,
            example: Some(other.example),
        }));
        all
    }

    pub(crate) const fn primary_key(&self) -> DeploymentKey {
        let revision = self.service.revision;
        (revision.definition, revision.renewals)
    }

    /// Tasks that failed in a row, in all slots.
    fn failed(&self, view: &View<'_>) -> u32 {
        let slots = view.board.slots(self.service.id);
        let slots = slots.filter(|(index, ..)| *index < self.service.desired);
        slots.fold(0, |sum, (_, _, slot)| sum.saturating_add(slot.failures))
    }

    /// When the PRIMARY one was asked for.
    fn created_at(&self, view: &View<'_>) -> Wall {
        let written = view.written_at(&Key::ServiceRevision(self.service.id));
        written.unwrap_or(self.service.settings.created_at)
    }

    /// When its number of tasks was asked for.
    fn counted_at(&self, view: &View<'_>) -> Wall {
        let written = view.written_at(&Key::ServiceCount(self.service.id));
        written.unwrap_or(self.service.settings.created_at)
    }
}

// As ECS's operations on deployments tell one.
impl Deployments<'_> {
    fn number(&self, one: &Deployment<'_>) -> String {
        deployment_number(self.service.id, one.key)
    }

    fn revision_arn(&self, view: &View<'_>, one: &Deployment<'_>) -> String {
        let name = &self.service.settings.name;
        view.context.service_revision_arn(name, &self.number(one))
    }

    fn revision_summary(&self, view: &View<'_>, one: &Deployment<'_>) -> Value {
        json!({
            "arn": self.revision_arn(view, one),
            "requestedTaskCount": one.desired,
            "runningTaskCount": one.counts.running,
            "pendingTaskCount": one.counts.pending,
        })
    }

    fn brief_json(&self, view: &View<'_>, one: &Deployment<'_>) -> Value {
        let name = &self.service.settings.name;
        let context = &*view.context.of(Some(name));
        let mut answer = json!({
            "serviceDeploymentArn": context.service_deployment_arn(name, &self.number(one)),
            "serviceArn": context.service_arn(name),
            "clusterArn": context.cluster_arn(),
            "createdAt": seconds(one.created_at),
            "startedAt": seconds(one.created_at),
            "targetServiceRevisionArn": self.revision_arn(view, one),
        });
        let completed = self.completed_at(view);
        let (status, finished) = match (one.example, completed) {
            (Some(_), _) => ("STOPPED", Some(self.created_at(view))),
            (None, Some(_)) => ("SUCCESSFUL", completed),
            (None, None) => ("IN_PROGRESS", None),
        };
        answer["status"] = json!(status);
        set_if(&mut answer, "finishedAt", finished.map(seconds));
        let replaced = one.example.map(|_| REPLACED);
        set_if(&mut answer, "statusReason", replaced);
        answer
    }

    fn whole_json(&self, view: &View<'_>, one: &Deployment<'_>) -> Value {
        let mut answer = self.brief_json(view, one);
        let members = answer.as_object_mut().expect("it was made as an object");
        members.remove("targetServiceRevisionArn");
        answer["targetServiceRevision"] = self.revision_summary(view, one);
        let all = self.all(view);
        let is_primary = one.example.is_none();
        let sources = all
            .iter()
            .filter(|other| is_primary && other.example.is_some());
        let sources = sources.map(|other| self.revision_summary(view, other));
        answer["sourceServiceRevisions"] = sources.collect();
        let finished = answer.get("finishedAt").cloned();
        let changed = seconds(one.changed_at);
        answer["updatedAt"] = match &finished {
            Some(finished) if finished.as_f64() > changed.as_f64() => finished.clone(),
            _ => changed,
        };
        set_if(&mut answer, "stoppedAt", finished.filter(|_| !is_primary));
        answer["deploymentConfiguration"] = configuration();
        // Neither is there: a deployment goes on until another one replaces it.
        answer["deploymentCircuitBreaker"] =
            json!({"status": "DISABLED", "failureCount": 0, "threshold": 0});
        answer["alarms"] =
            json!({"status": "DISABLED", "alarmNames": [], "triggeredAlarmNames": []});
        answer
    }

    fn revision_json(&self, view: &View<'_>, one: &Deployment<'_>) -> Value {
        let name = &self.service.settings.name;
        let context = &*view.context.of(Some(name));
        json!({
            "serviceRevisionArn": self.revision_arn(view, one),
            "serviceArn": context.service_arn(name),
            "clusterArn": context.cluster_arn(),
            "taskDefinition": context.definition_arn(one.family, one.revision),
            "launchType": "EC2",
            "loadBalancers": [],
            "serviceRegistries": [],
            "containerImages": self.images(view, one),
            "guardDutyEnabled": false,
            "createdAt": seconds(one.created_at),
        })
    }

    /// With the bytes that each stands for, where a task has found out.
    fn images(&self, view: &View<'_>, one: &Deployment<'_>) -> Vec<Value> {
        let definition = view.board.definition(one.key.0);
        let containers = definition.map_or(&[][..], |known| &known.containers);
        let digest_of = |name: &str| match one.example {
            None => self.service.pins?.images.get(name).copied(),
            Some(example) => {
                let mut made = example.containers.iter();
                made.find(|made| *made.name == *name)?.image
            }
        };
        let images = containers.iter().map(|container| {
            let mut image = json!({"containerName": container.name, "image": container.image});
            let digest = digest_of(&container.name).map(|digest| digest.to_string());
            set_if(&mut image, "imageDigest", digest);
            image
        });
        images.collect()
    }
}

impl Times {
    fn note(&mut self, report: &TaskReport, is_primary: bool) {
        let (Some(started), Some(label)) = (report.started_at, &report.slot) else {
            return;
        };
        match report.stopped_at {
            None => self.started = self.started.max(started),
            Some(ended) => self.ended = self.ended.max(ended),
        }
        if !is_primary {
            let ended = report.stopped_at.unwrap_or_default();
            self.others_ended = self.others_ended.max(ended);
            return;
        }
        self.slot = match self.slot {
            Some((index, first)) if index == label.index => Some((index, first.min(started))),
            _ => {
                self.deployed = self.deployed();
                Some((label.index, started))
            }
        };
    }

    /// With the slot that is being looked at.
    fn deployed(&self) -> Wall {
        let looked_at = self.slot.map_or(Wall(0), |(_, first)| first);
        self.deployed.max(looked_at)
    }
}
