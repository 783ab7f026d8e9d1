//! Parses what a container is given from outside its definition.

use super::rules::{FILE_TYPE, SECRET_PLACE};
use crate::{
    limits,
    spec::{
        ecs_fields,
        error::{Faults, SpecError, shown},
        given::{EnvironmentFile, Secret, SecretPlace, SecretSource},
        read::{Fields, RefError, TEXT},
    },
};

/// What begins so belongs to AWS, and what to do instead.
const OF_AWS: [(&str, &str, &str); 4] = [
    (
        "arn:aws:secretsmanager:",
        "a secret of AWS Secrets Manager",
        WITHOUT_AWS,
    ),
    (
        "arn:aws:ssm:",
        "a parameter of AWS Systems Manager",
        WITHOUT_AWS,
    ),
    ("arn:aws:s3:", "an object of Amazon S3", WITHOUT_S3),
    ("arn:", "something of AWS", WITHOUT_AWS),
];
const WITHOUT_AWS: &str = "keep the value in the cluster with `holdfast secret set NAME` and say \
                           \"secret:NAME\", or have each host fetch it, with \"command:NAME\"";
const WITHOUT_S3: &str = "keep the file in the cluster with `holdfast config set NAME FILE` and \
                          say \"config:NAME\", or put it on the hosts and say \"file:/PATH\"";

pub(super) fn secrets(container: &Fields<'_>, faults: &mut Faults) -> Vec<Secret> {
    let max = limits::SECRETS_PER_CONTAINER_MAX;
    let objects = at_most(container, "secrets", max, faults);
    objects
        .iter()
        .filter_map(|one| secret(one, faults))
        .collect()
}

pub(super) fn environment_files(
    container: &Fields<'_>,
    faults: &mut Faults,
) -> Vec<EnvironmentFile> {
    let max = limits::ENVIRONMENT_FILES_MAX;
    let objects = at_most(container, "environmentFiles", max, faults);
    let files = objects.iter().filter_map(|fields| {
        let read = referred(fields, "value", EnvironmentFile::parse, faults);
        // ECS has one word for it, which there says where the file is.
        let kind = fields.required("type", FILE_TYPE.wanted, fields.choice("type", &FILE_TYPE));
        faults.keep(kind);
        fields.check(&["value", "type"], ecs_fields::ENVIRONMENT_FILE, faults);
        read
    });
    files.collect()
}

fn secret(fields: &Fields<'_>, faults: &mut Faults) -> Option<Secret> {
    let name = faults.keep(fields.required_text("name", &SECRET_PLACE));
    let from = referred(fields, "valueFrom", SecretSource::parse, faults);
    fields.check(&["name", "valueFrom"], ecs_fields::SECRET, faults);
    let at = match name.starts_with('/') {
        true => SecretPlace::File(name),
        false => SecretPlace::Variable(name),
    };
    Some(Secret { at, from: from? })
}

fn referred<T>(
    fields: &Fields<'_>,
    name: &str,
    parse: fn(&str) -> Result<T, RefError>,
    faults: &mut Faults,
) -> Option<T> {
    let wanted = "where the value comes from";
    let text = fields.required(name, wanted, fields.text(name, &TEXT));
    // Empty where it was no text at all, which has been told of.
    let text = faults.keep(text.map(Some))?;
    let of_aws = OF_AWS.iter().find(|(begin, ..)| text.starts_with(begin));
    let fault = match (of_aws, parse(&text)) {
        (None, Ok(source)) => return Some(source),
        (Some((_, what, instead)), _) => SpecError::OfAws {
            path: fields.path(name),
            got: shown(&text),
            what,
            instead,
        },
        (None, Err(RefError { got, wanted })) => SpecError::Malformed {
            path: fields.path(name),
            got,
            wanted,
        },
    };
    faults.push(fault);
    None
}

fn at_most<'a>(
    container: &Fields<'a>,
    name: &str,
    max: usize,
    faults: &mut Faults,
) -> Vec<Fields<'a>> {
    let objects = container.objects(name, faults);
    if objects.len() > max {
        faults.push(SpecError::TooMany {
            path: container.path(name),
            got: objects.len(),
            max,
        });
    }
    objects
}
