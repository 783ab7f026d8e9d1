//! The operations on settings of accounts and clusters. Nothing is stored: they tell what is so
//! here, and take only what says just that, since clients say it unasked.

use super::{
    clusters::cluster_json,
    error::ApiError,
    request::{Request, Sort, listed},
    view::View,
};
use holdfast_core::spec::{
    SpecErrors, ecs_fields,
    error::Faults,
    read::{Choice, Fields, TEXT},
};
use serde_json::{Value, json};

/// ECS's own default for `ListAccountSettings`.
const LIST_MAX_DEFAULT: u32 = 10;

const CLUSTER_WANTED: &str = "a cluster's name or its ARN";

const CONTAINER_INSIGHTS: &str = "containerInsights";

const LONG_ARN: &str = "the ARNs of services, tasks and container instances name their cluster";

/// A setting of ECS's that means something here.
struct Setting {
    name: &'static str,
    value: &'static str,
    /// Completes "it is always … here, since …".
    since: &'static str,
}

/// In the order of their names, by which pages are cut.
const SETTINGS: [Setting; 7] = [
    Setting {
        name: "awsvpcTrunking",
        value: "disabled",
        since: "tasks have no network interfaces of AWS's",
    },
    Setting {
        name: CONTAINER_INSIGHTS,
        value: "disabled",
        since: "nothing is sent to CloudWatch",
    },
    Setting {
        name: "containerInstanceLongArnFormat",
        value: "enabled",
        since: LONG_ARN,
    },
    Setting {
        name: "defaultLogDriverMode",
        value: "blocking",
        since: "a log driver has the mode that its task definition or the container runtime \
                gives it, and that of Docker is to block",
    },
    Setting {
        name: "serviceLongArnFormat",
        value: "enabled",
        since: LONG_ARN,
    },
    Setting {
        name: "tagResourceAuthorization",
        value: "off",
        since: "whoever may create something may give it its tags",
    },
    Setting {
        name: "taskLongArnFormat",
        value: "enabled",
        since: LONG_ARN,
    },
];

/// Those of [`SETTINGS`], and those of Fargate, of GuardDuty and of a network mode that is not
/// served.
const NAME: Choice = Choice {
    served: &[
        "awsvpcTrunking",
        CONTAINER_INSIGHTS,
        "containerInstanceLongArnFormat",
        "defaultLogDriverMode",
        "serviceLongArnFormat",
        "tagResourceAuthorization",
        "taskLongArnFormat",
    ],
    refused: &[
        "dualStackIPv6",
        "fargateEventWindows",
        "fargateFIPSMode",
        "fargateTaskRetirementWaitPeriod",
        "guardDutyActivate",
    ],
    wanted: "\"awsvpcTrunking\", \"containerInsights\", \"containerInstanceLongArnFormat\", \
             \"defaultLogDriverMode\", \"serviceLongArnFormat\", \"tagResourceAuthorization\" or \
             \"taskLongArnFormat\"",
};

const CLUSTER_SETTING: Choice = Choice {
    served: &[CONTAINER_INSIGHTS],
    refused: &[],
    wanted: "\"containerInsights\"",
};

/// What holds is in force for everybody, whether effective settings are asked for or not.
pub(crate) fn list(view: &View<'_>, body: &Value) -> Result<Value, ApiError> {
    let known = ecs_fields::LIST_ACCOUNT_SETTINGS;
    let request = Request::read(body, known, known)?;
    let page = request.page(LIST_MAX_DEFAULT)?;
    request.flag("effectiveSettings")?;
    let principal = principal(view, &request)?;
    let (name, value) = (request.choice("name", &NAME)?, request.text("value")?);
    if name.is_none() && value.is_some() {
        return Err(ApiError::InvalidParameter(
            "value goes with the name of a setting; give name, too, or leave value out".to_owned(),
        ));
    }
    let wanted = SETTINGS.iter().filter(|setting| {
        name.is_none_or(|name| name == setting.name)
            && value.as_ref().is_none_or(|value| value == setting.value)
    });
    let told = wanted.map(|setting| (setting.name.to_owned(), setting.json(&principal)));
    Ok(listed("settings", page.cut(Sort::Ascending, told)))
}

pub(crate) fn put(view: &View<'_>, body: &Value) -> Result<Value, ApiError> {
    let known = ecs_fields::PUT_ACCOUNT_SETTING;
    let request = Request::read(body, known, known)?;
    let principal = principal(view, &request)?;
    put_for(&request, &principal)
}

pub(crate) fn put_default(view: &View<'_>, body: &Value) -> Result<Value, ApiError> {
    let known = ecs_fields::PUT_ACCOUNT_SETTING_DEFAULT;
    let request = Request::read(body, known, known)?;
    put_for(&request, &view.context.root_arn())
}

fn put_for(request: &Request<'_>, principal: &str) -> Result<Value, ApiError> {
    let setting = named(request)?;
    let value = request.required("value", "the setting's value")?;
    setting.check(&value)?;
    Ok(json!({"setting": setting.json(principal)}))
}

/// What was never set need not be taken away: what holds goes on to hold.
pub(crate) fn delete(view: &View<'_>, body: &Value) -> Result<Value, ApiError> {
    let known = ecs_fields::DELETE_ACCOUNT_SETTING;
    let request = Request::read(body, known, known)?;
    let principal = principal(view, &request)?;
    Ok(json!({"setting": named(&request)?.json(&principal)}))
}

pub(crate) fn update_cluster(view: &View<'_>, body: &Value) -> Result<Value, ApiError> {
    let served = &["cluster", "settings"];
    let request = Request::read(body, served, ecs_fields::UPDATE_CLUSTER)?;
    request.required("cluster", CLUSTER_WANTED)?;
    check_all(&request.objects("settings")?)?;
    Ok(json!({"cluster": cluster_json(view, view.context.name(), false)}))
}

pub(crate) fn update_cluster_settings(view: &View<'_>, body: &Value) -> Result<Value, ApiError> {
    let known = ecs_fields::UPDATE_CLUSTER_SETTINGS;
    let request = Request::read(body, known, known)?;
    request.required("cluster", CLUSTER_WANTED)?;
    let settings = request.objects("settings")?;
    if settings.is_empty() {
        return Err(ApiError::InvalidParameter(
            "settings is missing; it must be a list of settings with name and value".to_owned(),
        ));
    }
    check_all(&settings)?;
    Ok(json!({"cluster": cluster_json(view, view.context.name(), false)}))
}

/// Refuses any setting of a cluster that is not so.
pub(crate) fn check_all(settings: &[Fields<'_>]) -> Result<(), ApiError> {
    for fields in settings {
        let (name, value) = name_and_value(fields).map_err(ApiError::invalid)?;
        setting(name).check(&value)?;
    }
    Ok(())
}

fn name_and_value(fields: &Fields<'_>) -> Result<(&'static str, String), SpecErrors> {
    let known = ecs_fields::CLUSTER_SETTING;
    let mut faults = Faults::default();
    fields.check(known, known, &mut faults);
    faults.finish(())?;
    let name = fields.choice("name", &CLUSTER_SETTING);
    let name = fields.required("name", CLUSTER_SETTING.wanted, name)?;
    let value = fields.required("value", "the setting's value", fields.text("value", &TEXT))?;
    Ok((name, value))
}

/// The setting that a request is about.
fn named(request: &Request<'_>) -> Result<&'static Setting, ApiError> {
    request.required("name", NAME.wanted)?;
    let name = request.choice("name", &NAME)?;
    Ok(setting(name.expect("it was found to be there")))
}

fn setting(name: &str) -> &'static Setting {
    let found = SETTINGS.iter().find(|setting| setting.name == name);
    found.expect("each name that is served has a setting")
}

/// Whose settings are meant: what holds, holds for everybody.
fn principal(view: &View<'_>, request: &Request<'_>) -> Result<String, ApiError> {
    match request.text("principalArn")? {
        None => Ok(view.context.root_arn()),
        Some(given) if given.starts_with("arn:") => Ok(given),
        Some(given) => Err(ApiError::InvalidParameter(format!(
            "principalArn is {:?}, but must be the ARN of a principal; leave it out: settings are \
             the same for everybody here",
            given.chars().take(120).collect::<String>()
        ))),
    }
}

impl Setting {
    fn json(&self, principal: &str) -> Value {
        json!({
            "name": self.name,
            "value": self.value,
            "principalArn": principal,
            "type": "user",
        })
    }

    fn check(&self, value: &str) -> Result<(), ApiError> {
        let (name, holds, since) = (self.name, self.value, self.since);
        if value == holds {
            return Ok(());
        }
        // ECS's sentence: Terraform goes by its beginning when it takes such a setting away.
        let said = match (since == LONG_ARN, value) {
            (true, "disabled") => "You can no longer disable Long Arn settings: ",
            _ => "",
        };
        Err(ApiError::InvalidParameter(format!(
            "{said}{name} is {:?}, but is always {holds:?} here, since {since}; say that, or leave \
             the setting out",
            value.chars().take(64).collect::<String>()
        )))
    }
}
