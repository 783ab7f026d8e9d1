//! Every field that ECS takes stands in the documentation, served or refused.

use crate::spec::ecs_fields;

const PAGE: &str = include_str!("../../../../../docs/task-definitions.md");

#[test]
fn each_field_of_a_task_definition_stands_on_its_page() {
    let lists = [
        ecs_fields::REGISTER_TASK_DEFINITION,
        ecs_fields::CONTAINER_DEFINITION,
        ecs_fields::PORT_MAPPING,
        ecs_fields::MOUNT_POINT,
        ecs_fields::VOLUME,
        ecs_fields::HOST_VOLUME_PROPERTIES,
        ecs_fields::KEY_VALUE_PAIR,
        ecs_fields::CONTAINER_DEPENDENCY,
        ecs_fields::HOST_ENTRY,
        ecs_fields::ULIMIT,
        ecs_fields::SYSTEM_CONTROL,
        ecs_fields::LINUX_PARAMETERS,
        ecs_fields::KERNEL_CAPABILITIES,
        ecs_fields::DEVICE,
        ecs_fields::TMPFS,
        ecs_fields::HEALTH_CHECK,
        ecs_fields::LOG_CONFIGURATION,
        ecs_fields::RESTART_POLICY,
        ecs_fields::RESOURCE_REQUIREMENT,
        ecs_fields::VOLUME_FROM,
        ecs_fields::RUNTIME_PLATFORM,
        ecs_fields::DOCKER_VOLUME,
        ecs_fields::SECRET,
        ecs_fields::ENVIRONMENT_FILE,
    ];
    let quoted = PAGE.split('`').skip(1).step_by(2);
    // `volumes[].host.sourcePath` names three of them.
    let words = quoted.flat_map(|code| code.split(|c: char| !c.is_ascii_alphanumeric()));
    let documented: Vec<&str> = words.collect();
    let all = lists.concat();
    let missing = all.iter().filter(|field| !documented.contains(*field));
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<&&str>::new());
}
