//! What gives a task the powers of root on its host, for hosts that allow no such task.

use crate::spec::{
    linux::LinuxParameters,
    task_definition::{Container, Namespace, TaskDefinition},
};

/// A host has this attribute, with [`DENIED`], that allows no task of the kind.
pub const PRIVILEGE_ATTRIBUTE: &str = "holdfast.privileged";
pub const DENIED: &str = "denied";

impl TaskDefinition {
    /// The first thing of it that makes it root on its host, in words.
    pub fn privilege(&self) -> Option<String> {
        let shares = |namespace: Option<Namespace>| namespace == Some(Namespace::Host);
        if shares(self.pid) {
            return Some("pidMode is host".to_owned());
        }
        if shares(self.ipc) {
            return Some("ipcMode is host".to_owned());
        }
        let mut containers = self.containers.iter();
        containers.find_map(|container| {
            let what = container.privilege()?;
            Some(format!("container {} {what}", container.name))
        })
    }
}

impl Container {
    fn privilege(&self) -> Option<String> {
        let LinuxParameters {
            capabilities_add,
            devices,
            ..
        } = &self.linux;
        if self.privileged == Some(true) {
            return Some("is privileged".to_owned());
        }
        if let Some(capability) = capabilities_add.first() {
            return Some(format!("adds the capability {capability}"));
        }
        if let Some(device) = devices.first() {
            return Some(format!("has the device {}", device.host_path));
        }
        let loosens = |option: &&String| option.as_str() != "no-new-privileges";
        let loosened = self.security_options.iter().find(loosens);
        loosened.map(|option| format!("has the security option {option}"))
    }
}

#[cfg(test)]
mod tests {
    use crate::spec::parse_task_definition;
    use serde_json::{Value, json};

    fn privilege(task: &Value, container: &Value) -> Option<String> {
        let mut definition = task.clone();
        let mut all = json!({"name": "web", "image": "web", "memory": 16});
        let given = container.as_object().expect("it is an object").clone();
        all.as_object_mut().expect("it is an object").extend(given);
        definition["family"] = json!("web");
        definition["containerDefinitions"] = json!([all]);
        let definition = parse_task_definition(&definition).expect("it is a good definition");
        definition.privilege()
    }

    #[test]
    fn what_makes_a_task_root_on_its_host_is_told_by_name() {
        let (task, container) = (json!({}), json!({}));
        for (given, what) in [
            (json!({"privileged": true}), "is privileged"),
            (
                json!({"linuxParameters": {"capabilities": {"add": ["SYS_ADMIN"]}}}),
                "adds the capability SYS_ADMIN",
            ),
            (
                json!({"linuxParameters": {"devices": [{"hostPath": "/dev/sda"}]}}),
                "has the device /dev/sda",
            ),
            (
                json!({"dockerSecurityOptions": ["no-new-privileges", "seccomp:unconfined"]}),
                "has the security option seccomp:unconfined",
            ),
        ] {
            let told = privilege(&task, &given);
            assert_eq!(told, Some(format!("container web {what}")));
        }
        let shared = json!({"pidMode": "host"});
        assert_eq!(
            privilege(&shared, &container),
            Some("pidMode is host".to_owned())
        );
        let shared = json!({"ipcMode": "host"});
        assert_eq!(
            privilege(&shared, &container),
            Some("ipcMode is host".to_owned())
        );
        for harmless in [
            json!({"privileged": false}),
            json!({"linuxParameters": {"capabilities": {"drop": ["ALL"]}}}),
            json!({"dockerSecurityOptions": ["no-new-privileges"]}),
        ] {
            assert_eq!(privilege(&json!({"pidMode": "task"}), &harmless), None);
        }
    }
}
