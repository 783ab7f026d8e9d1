//! A host that allows nothing to be root on it: such tasks run elsewhere, or say why they do not.

use e2e::{
    crew::{await_why, create_service_of, definition},
    fleet::Fleet,
};
use serde_json::json;

#[test]
fn what_would_be_root_on_its_host_runs_where_that_is_allowed_and_says_why_not_elsewhere() {
    let Some(mut fleet) = Fleet::empty() else {
        return;
    };
    fleet.add().set("privileged", "deny");
    fleet.add();
    fleet.start_all();
    fleet.await_up(2);
    let root = |name| {
        let mut body = definition(name);
        // One that Docker gives to everybody: it is asked for all the same.
        let linux = json!({"capabilities": {"add": ["NET_RAW"]}});
        body["containerDefinitions"][0]["linuxParameters"] = linux;
        body
    };
    create_service_of(&fleet.hosts[0], &root("web"), "web", 2, &json!([]));
    let allows = fleet.hosts[1].id();
    let running = fleet.await_count("web", 2);
    assert!(running.iter().all(|one| one.host == allows), "{running:?}");

    fleet.lose_host(1);
    let host = &fleet.hosts[0];
    create_service_of(host, &root("other"), "other", 1, &json!([]));
    await_why(host, "other", "1 refused by their setting privileged");
    let shown = host.cli_ok(&["host", "show", &host.name]);
    assert!(shown.contains("holdfast.privileged"), "{shown}");
}
