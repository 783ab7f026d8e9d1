//! GPUs that a host says it has: who gets them, and what is said where nobody can.

use e2e::{
    crew::{await_why, create_service_of, definition},
    fleet::Fleet,
};
use serde_json::json;

#[test]
fn who_wants_gpus_is_told_how_many_are_free_and_what_docker_lacks() {
    let Some(mut fleet) = Fleet::empty() else {
        return;
    };
    fleet.add().set("gpus", "GPU-a,GPU-b");
    fleet.start_all();
    let host = fleet.any();
    let shown = host.cli_ok(&["host", "show", &host.name]);
    assert!(shown.contains("0/2: GPU-a (free), GPU-b (free)"), "{shown}");

    for (name, gpus, says) in [
        ("large", "3", "refused by GPUs (needs 3, most free 2)"),
        ("web", "1", "install NVIDIA's container toolkit"),
    ] {
        let mut body = definition(name);
        body["containerDefinitions"][0]["resourceRequirements"] =
            json!([{"type": "GPU", "value": gpus}]);
        create_service_of(host, &body, name, 1, &json!([]));
        await_why(host, name, says);
    }
}
