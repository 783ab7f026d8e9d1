//! Parses the volumes of a task definition, and what a container takes from another's.

use super::rules::{HOST_PATH, LABEL, SCOPE, SOME_TEXT};
use crate::spec::{
    ecs_fields,
    error::{Faults, SpecError},
    read::{Fields, NAME},
    task_definition::VolumesFrom,
    volume::{DockerVolume, Volume, VolumeSource},
};

pub(super) fn volume(fields: &Fields<'_>, faults: &mut Faults) -> Volume {
    let name = faults.keep(fields.required_text("name", &NAME));
    let host = faults.keep(fields.object("host"));
    let docker = faults.keep(fields.object("dockerVolumeConfiguration"));
    let path = host.map(|host| {
        let path = faults.keep(host.text("sourcePath", &HOST_PATH));
        host.check(&["sourcePath"], ecs_fields::HOST_VOLUME_PROPERTIES, faults);
        path
    });
    let source = match (path.flatten(), docker) {
        (Some(path), None) => VolumeSource::Host(path),
        (None, None) => VolumeSource::Scratch,
        (None, Some(docker)) => VolumeSource::Docker(docker_volume(&docker, faults)),
        (Some(_), Some(_)) => {
            faults.push(SpecError::TwoSources {
                path: fields.path("dockerVolumeConfiguration"),
            });
            VolumeSource::Scratch
        }
    };
    fields.check(
        &["name", "host", "dockerVolumeConfiguration"],
        ecs_fields::VOLUME,
        faults,
    );
    Volume { name, source }
}

fn docker_volume(fields: &Fields<'_>, faults: &mut Faults) -> DockerVolume {
    let scope = faults.keep(fields.choice("scope", &SCOPE));
    let volume = DockerVolume {
        is_shared: scope == Some("shared"),
        autoprovision: faults.keep(fields.flag("autoprovision")),
        driver: faults.keep(fields.text("driver", &SOME_TEXT)),
        driver_options: fields.texts_by_name("driverOpts", &SOME_TEXT, faults),
        labels: fields.texts_by_name("labels", &LABEL, faults),
    };
    fields.check(
        &["scope", "autoprovision", "driver", "driverOpts", "labels"],
        ecs_fields::DOCKER_VOLUME,
        faults,
    );
    volume
}

pub(super) fn volumes_from(fields: &Fields<'_>, faults: &mut Faults) -> VolumesFrom {
    let from = VolumesFrom {
        container: faults.keep(fields.required_text("sourceContainer", &NAME)),
        read_only: faults.keep(fields.flag("readOnly")).unwrap_or(false),
    };
    fields.check(
        &["sourceContainer", "readOnly"],
        ecs_fields::VOLUME_FROM,
        faults,
    );
    from
}
