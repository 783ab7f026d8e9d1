//! Settings of accounts and clusters: told as they are, and taken only as they are.

use super::board::{board, call};
use crate::api::Operation;
use expect_test::{expect, expect_file};
use serde_json::{Value, json};

fn ask(operation: Operation, body: Value) -> String {
    call(&board(), operation, &body)
}

#[test]
fn settings_are_told_as_they_are() {
    let shown = ask(Operation::ListAccountSettings, json!({}));
    expect_file!["snapshots/account_settings.json"].assert_eq(&shown);
    let effective = json!({"effectiveSettings": true});
    assert_eq!(shown, ask(Operation::ListAccountSettings, effective));
}

#[test]
fn settings_are_found_by_name_and_value_and_page_by_page() {
    let list = |body: Value| -> Value {
        serde_json::from_str(&ask(Operation::ListAccountSettings, body)).unwrap()
    };
    let names = |answer: &Value| {
        let settings = answer["settings"].as_array().unwrap().clone();
        let names = settings.iter().map(|one| one["name"].to_string());
        names.collect::<Vec<_>>().join(" ")
    };
    let first = list(json!({"maxResults": 4}));
    let second = list(json!({"maxResults": 4, "nextToken": first["nextToken"]}));
    let name = "tagResourceAuthorization";
    let shown = [
        names(&first),
        names(&second),
        names(&list(json!({"name": name}))),
        names(&list(json!({"name": name, "value": "off"}))),
        names(&list(json!({"name": name, "value": "on"}))),
    ];
    expect![[r#"
        "awsvpcTrunking" "containerInsights" "containerInstanceLongArnFormat" "defaultLogDriverMode"
        "serviceLongArnFormat" "tagResourceAuthorization" "taskLongArnFormat"
        "tagResourceAuthorization"
        "tagResourceAuthorization"
    "#]]
    .assert_eq(&shown.join("\n"));
    assert_eq!(second.get("nextToken"), None);
}

#[test]
fn what_holds_may_be_said_and_taken_away() {
    let user = "arn:aws:iam::000000000000:user/me";
    let shown = [
        ask(
            Operation::PutAccountSetting,
            json!({"name": "taskLongArnFormat", "value": "enabled", "principalArn": user}),
        ),
        ask(
            Operation::PutAccountSettingDefault,
            json!({"name": "containerInsights", "value": "disabled"}),
        ),
        ask(
            Operation::DeleteAccountSetting,
            json!({"name": "defaultLogDriverMode"}),
        ),
    ];
    expect_file!["snapshots/account_settings_put.json"].assert_eq(&shown.join("\n"));
}

#[test]
fn any_other_setting_is_refused_by_name() {
    let put = |name: &str, value: &str| {
        let body = json!({"name": name, "value": value});
        ask(Operation::PutAccountSettingDefault, body)
    };
    let shown = [
        put("serviceLongArnFormat", "disabled"),
        put("containerInsights", "enhanced"),
        put("awsvpcTrunking", "enabled"),
        put("defaultLogDriverMode", "non-blocking"),
        put("tagResourceAuthorization", "on"),
        put("fargateFIPSMode", "disabled"),
        put("longArns", "enabled"),
        ask(Operation::PutAccountSetting, json!({})),
        ask(
            Operation::PutAccountSetting,
            json!({"name": "taskLongArnFormat", "value": "enabled", "principalArn": "me"}),
        ),
        ask(
            Operation::DeleteAccountSetting,
            json!({"name": "guardDutyActivate"}),
        ),
        ask(Operation::ListAccountSettings, json!({"value": "enabled"})),
        ask(Operation::ListAccountSettings, json!({"maxResults": 0})),
    ];
    expect_file!["snapshots/account_settings_refused.txt"].assert_eq(&shown.join("\n"));
}

#[test]
fn a_cluster_is_updated_to_what_it_is() {
    let settings = json!([{"name": "containerInsights", "value": "disabled"}]);
    let cluster = ask(Operation::CreateCluster, json!({}));
    for body in [
        json!({"cluster": "shop", "settings": settings}),
        json!({"cluster": "arn:aws:ecs:eu-central-1:1:cluster/shop", "settings": settings}),
    ] {
        assert_eq!(ask(Operation::UpdateClusterSettings, body.clone()), cluster);
        assert_eq!(ask(Operation::UpdateCluster, body), cluster);
    }
    assert_eq!(
        ask(Operation::UpdateCluster, json!({"cluster": "shop"})),
        cluster
    );
}

#[test]
fn a_cluster_is_updated_to_nothing_else() {
    let with = |settings: Value| {
        let body = json!({"cluster": "shop", "settings": settings});
        ask(Operation::UpdateClusterSettings, body)
    };
    let update = |body: Value| ask(Operation::UpdateCluster, body);
    let shown = [
        with(json!([{"name": "containerInsights", "value": "enabled"}])),
        with(json!([{"name": "fairness", "value": "enabled"}])),
        with(json!([{"name": "containerInsights"}])),
        with(json!([{"value": "disabled", "extra": 1}])),
        with(json!([])),
        with(json!(["containerInsights"])),
        update(json!({})),
        update(json!({"cluster": "other"})),
        update(
            json!({"cluster": "shop", "configuration": {"executeCommandConfiguration":
            {"logging": "NONE"}}}),
        ),
        update(json!({"cluster": "shop", "serviceConnectDefaults": {"namespace": "x"}})),
    ];
    expect_file!["snapshots/cluster_update_refused.txt"].assert_eq(&shown.join("\n"));
}
