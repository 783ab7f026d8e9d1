//! `/v1/secrets` and `/v1/configs`: what is known of values, how they are set, and who uses them.

use super::board::{board, pretty, put, with_view};
use crate::{
    api::{
        definitions::redact,
        values::{Asked, config, configs, plan_remove, plan_set, secret, secrets, set},
    },
    gossip::{ClusterKey, Keyring},
    runtime::folded,
    vault::Vault,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use expect_test::{Expect, expect, expect_file};
use holdfast_core::{
    cluster::{
        board::Board,
        body::{Body, Key},
        values::{ConfigText, Opaque, Sealed, SealedSecret, Setting},
    },
    command::{Command, NewValue, Outcome},
    ids::KeyId,
    limits,
    spec::given::ValueName,
};
use serde_json::{Value, json};

fn setting() -> Setting {
    Setting {
        number: 3,
        by: "ann".into(),
        valid_since: 0,
    }
}

fn kept() -> Board {
    let mut board = board();
    let secret = SealedSecret {
        sealed: Sealed {
            key: KeyId([0x56; 4]),
            bytes: Opaque::from(b"nobody may read these bytes".to_vec()),
        },
        size: 7,
        set: setting(),
    };
    let at = 1_700_000_000_000;
    put(
        &mut board,
        Key::Secret("db".to_owned()),
        at,
        Body::Secret(secret),
    );
    let text = Opaque::from(b"listen 80\n".to_vec());
    let set = setting();
    let body = Body::Config(ConfigText { text, set });
    put(&mut board, Key::Config("web.conf".to_owned()), at, body);
    board
}

fn vault() -> Vault {
    let ring = Keyring {
        primary: ClusterKey::known_to_everyone("test"),
        others: vec![],
    };
    Vault::new("test", Some(ring))
}

fn planned(name: ValueName, body: &Value) -> Result<(Command, bool), String> {
    let by = "ann".to_owned();
    let planned = plan_set(&vault(), Asked { name, by }, body);
    planned.map_err(|err| err.to_string())
}

fn refused(name: &str, body: Value, expected: Expect) {
    let name = ValueName::Secret(name.to_owned());
    expected.assert_eq(&folded(&planned(name, &body).unwrap_err()));
}

#[test]
fn of_a_secret_everything_is_told_but_what_it_is() {
    let board = kept();
    let all = with_view(&board, secrets);
    let one = with_view(&board, |view| secret(view, "db")).unwrap();
    assert_eq!(all["secrets"][0], one);
    expect_file!["snapshots/secret.json"].assert_eq(&pretty(&one));
    let none = with_view(&board, |view| secret(view, "web.conf")).unwrap_err();
    expect![[r#"there is no secret "web.conf"; `holdfast secret ls` lists them"#]]
        .assert_eq(&none.to_string());
}

#[test]
fn of_a_config_the_text_is_told_where_it_is_asked_for_alone() {
    let board = kept();
    let all = with_view(&board, configs);
    assert_eq!(all["configs"][0]["value"], Value::Null);
    let one = with_view(&board, |view| config(view, "web.conf")).unwrap();
    expect_file!["snapshots/config.json"].assert_eq(&pretty(&one));
}

#[test]
fn a_secret_is_sealed_before_anybody_hears_of_it() {
    let name = ValueName::Secret("db".to_owned());
    let body = json!({"value": STANDARD.encode("hunter2")});
    let (command, restart) = planned(name, &body).unwrap();
    assert!(
        restart,
        "its services take it up unless it is said otherwise"
    );
    let Command::SetValue { value, by, .. } = command else {
        panic!("{command:?}")
    };
    let NewValue::Secret { sealed, size, .. } = value else {
        panic!("{value:?}")
    };
    assert_eq!((size, &*by), (7, "ann"));
    assert_eq!(vault().open("db", &sealed).unwrap().bytes(), b"hunter2");
    let body = json!({"value": "", "restart": false});
    let config = ValueName::Config("web.conf".to_owned());
    assert!(!planned(config, &body).unwrap().1);
}

#[test]
fn what_cannot_be_kept_is_refused_without_a_word_of_it() {
    refused(
        "db",
        json!({}),
        expect!["value is missing; it must be the value in base64"],
    );
    refused(
        "db",
        json!({"value": "hunter2!"}),
        expect!["value is not base64"],
    );
    refused(
        "db",
        json!({"value": "", "restat": false}),
        expect!["restat is not an ECS field; did you mean restart?"],
    );
    refused(
        "a/b",
        json!({"value": ""}),
        expect![[r#"
            "a/b" is no name of a secret: these are 1 to 128 letters,
            digits, hyphens, underscores or dots, the first one no dot"#]],
    );
    let long = STANDARD.encode(vec![0; limits::VALUE_BYTES_MAX + 1]);
    refused(
        "db",
        json!({"value": long}),
        expect![[r#"the secret "db" has 65537 bytes, but at most 65536 are allowed"#]],
    );
    let without = Vault::new("test", None);
    let asked = Asked {
        name: ValueName::Secret("db".to_owned()),
        by: "ann".to_owned(),
    };
    let keyless = plan_set(&without, asked, &json!({"value": ""}));
    expect![[r#"
            this agent has no cluster key, so nothing can be sealed: put one
            into `key_file` and restart it"#]]
    .assert_eq(&folded(&keyless.unwrap_err().to_string()));
    let name = ValueName::Secret("db".to_owned());
    let forced = plan_remove(name.clone(), &json!({"force": true})).unwrap();
    assert_eq!(forced, Command::RemoveValue { name, force: true });
}

#[test]
fn the_answer_names_the_services_that_take_it_up_or_do_not() {
    let outcome = Outcome::ValueSet {
        name: ValueName::Secret("db".to_owned()),
        number: 2,
        used_by: vec!["web".to_owned()],
    };
    let names = |restart| {
        let told = set(&outcome, restart);
        (told["restarting"].clone(), told["notRestarted"].clone())
    };
    assert_eq!(names(true), (json!(["web"]), json!([])));
    assert_eq!(names(false), (json!([]), json!(["web"])));
}

#[test]
fn what_programs_are_called_with_is_shown_to_who_may_deploy_alone() {
    let mut answer = json!({"taskDefinition": {"containerDefinitions": [{
        "environment": [],
        "secrets": [
            {"name": "A", "valueFrom": "command:fetch --token x"},
            {"name": "B", "valueFrom": "command:fetch"},
            {"name": "C", "valueFrom": "secret:db:user name"},
        ],
    }]}});
    redact(&mut answer);
    let secrets = &answer["taskDefinition"]["containerDefinitions"][0]["secrets"];
    let from = [0, 1, 2].map(|number| secrets[number]["valueFrom"].as_str().unwrap());
    assert_eq!(
        from,
        [
            "command:fetch [redacted]",
            "command:fetch",
            "secret:db:user name"
        ]
    );
}
