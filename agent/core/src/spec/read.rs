//! Reads JSON objects field by field, so that every fault knows its path.

use super::{
    error::{Faults, SpecError, quoted, shown},
    refuse,
};
use crate::limits;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// An object and where it is.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    path: String,
    object: &'a Map<String, Value>,
}

/// What a text must be like.
#[derive(Debug)]
pub struct Rule {
    /// Completes "it must be …".
    pub wanted: &'static str,
    pub holds: fn(&str) -> bool,
}

/// Which whole numbers are allowed; `min` and `max` are.
#[derive(Debug)]
pub struct Range {
    pub min: i64,
    pub max: i64,
    /// Follows the number: " MiB".
    pub unit: &'static str,
}

/// One of several words of ECS's, some of which Holdfast does not serve.
#[derive(Debug)]
pub struct Choice {
    pub served: &'static [&'static str],
    pub refused: &'static [&'static str],
    /// Completes "it must be …".
    pub wanted: &'static str,
}

/// ECS's rule for the names of families, containers, volumes, services and clusters.
pub const NAME: Rule = Rule {
    wanted: "1 to 255 letters, digits, hyphens or underscores",
    holds: is_name,
};

pub const TEXT: Rule = Rule {
    wanted: "a text without NUL characters",
    holds: |text| !text.contains('\0'),
};

/// A text that refers to something was not written as such a reference is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{got:?} must be {wanted}")]
pub struct RefError {
    pub got: String,
    pub wanted: &'static str,
}

impl<'a> Fields<'a> {
    /// The fields of a whole request.
    pub fn of_request(json: &'a Value) -> Result<Self, SpecError> {
        Self::at(String::new(), json)
    }

    /// The fields of the object at `path`, which is empty for a whole request.
    pub fn at(path: String, value: &'a Value) -> Result<Self, SpecError> {
        match value {
            Value::Object(object) => Ok(Self { path, object }),
            other if path.is_empty() => {
                Err(wrong_type("the request".to_owned(), "an object", other))
            }
            other => Err(wrong_type(path, "an object", other)),
        }
    }

    /// Where this object's field of that name is.
    pub fn path(&self, name: &str) -> String {
        join(&self.path, name)
    }

    /// Nothing is said in it.
    pub fn is_empty(&self) -> bool {
        self.object.values().all(Value::is_null)
    }

    /// `null` is how exported files say that there is nothing.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    pub fn text(&self, name: &str, rule: &Rule) -> Result<Option<String>, SpecError> {
        self.get(name)
            .map(|value| text(self.path(name), value, rule))
            .transpose()
    }

    pub fn texts(&self, name: &str, rule: &Rule) -> Result<Vec<String>, SpecError> {
        let items = self.items(name, "a list of strings")?.iter().enumerate();
        items
            .map(|(i, item)| text(self.item_path(name, i), item, rule))
            .collect()
    }

    pub fn flag(&self, name: &str) -> Result<Option<bool>, SpecError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(on)) => Ok(Some(*on)),
            Some(other) => Err(wrong_type(self.path(name), "true or false", other)),
        }
    }

    /// A whole number of a range without negative ones.
    pub fn number(&self, name: &str, range: &Range) -> Result<Option<u32>, SpecError> {
        let number = self.integer(name, range)?;
        Ok(number.map(|number| u32::try_from(number).expect("the range is of such numbers")))
    }

    pub fn integer(&self, name: &str, range: &Range) -> Result<Option<i64>, SpecError> {
        self.get(name)
            .map(|value| integer(self.path(name), value, range))
            .transpose()
    }

    pub fn integers(&self, name: &str, range: &Range) -> Result<Vec<i64>, SpecError> {
        let items = self
            .items(name, "a list of whole numbers")?
            .iter()
            .enumerate();
        items
            .map(|(i, item)| integer(self.item_path(name, i), item, range))
            .collect()
    }

    pub fn choice(&self, name: &str, choice: &Choice) -> Result<Option<&'static str>, SpecError> {
        self.get(name)
            .map(|value| chosen(self.path(name), value, choice))
            .transpose()
    }

    pub fn choices(&self, name: &str, choice: &Choice) -> Result<Vec<&'static str>, SpecError> {
        let items = self.items(name, "a list of strings")?.iter().enumerate();
        items
            .map(|(i, item)| chosen(self.item_path(name, i), item, choice))
            .collect()
    }

    /// Something that is named by a text with a form of its own.
    pub fn reference<T>(
        &self,
        name: &str,
        parse: fn(&str) -> Result<T, RefError>,
    ) -> Result<Option<T>, SpecError> {
        let Some(text) = self.text(name, &TEXT)? else {
            return Ok(None);
        };
        let malformed = |err: RefError| SpecError::Malformed {
            path: self.path(name),
            got: err.got,
            wanted: err.wanted,
        };
        parse(&text).map(Some).map_err(malformed)
    }

    pub fn object(&self, name: &str) -> Result<Option<Self>, SpecError> {
        self.get(name)
            .map(|value| Self::at(self.path(name), value))
            .transpose()
    }

    /// The texts of an object whose fields have names of their own. Faulty ones are left out.
    pub fn texts_by_name(
        &self,
        name: &str,
        rule: &Rule,
        faults: &mut Faults,
    ) -> BTreeMap<String, String> {
        let Some(object) = faults.keep(self.object(name)) else {
            return BTreeMap::new();
        };
        let mut texts = BTreeMap::new();
        // In the order of names, which an object of serde_json may have or not.
        for (key, value) in object.object.iter().collect::<BTreeMap<_, _>>() {
            if !(rule.holds)(key) {
                faults.push(SpecError::Malformed {
                    path: object.path.clone(),
                    got: shown(key),
                    wanted: rule.wanted,
                });
            }
            let path = join_foreign(&object.path, key);
            texts.insert(key.clone(), faults.keep(text(path, value, &TEXT)));
        }
        texts
    }

    /// The objects of a list. Whatever else is in it is a fault and left out.
    pub fn objects(&self, name: &str, faults: &mut Faults) -> Vec<Self> {
        let items = faults.keep(self.items(name, "a list of objects"));
        let mut objects = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            match Self::at(self.item_path(name, i), item) {
                Ok(object) => objects.push(object),
                Err(fault) => faults.push(fault),
            }
        }
        objects
    }

    /// The objects of a list, parsed.
    pub fn each<T>(
        &self,
        name: &str,
        parse: fn(&Self, &mut Faults) -> T,
        faults: &mut Faults,
    ) -> Vec<T> {
        let objects = self.objects(name, faults);
        objects.iter().map(|one| parse(one, faults)).collect()
    }

    /// A text that must not be left out.
    pub fn required_text(&self, name: &str, rule: &Rule) -> Result<String, SpecError> {
        self.required(name, rule.wanted, self.text(name, rule))
    }

    /// What was read from the field of that name, which must not be left out.
    pub fn required<T>(
        &self,
        name: &str,
        wanted: &'static str,
        read: Result<Option<T>, SpecError>,
    ) -> Result<T, SpecError> {
        read?.ok_or_else(|| SpecError::Missing {
            path: self.path(name),
            wanted,
        })
    }

    /// Refuses each field that is not served; see [`refuse::check_fields`].
    pub fn check(&self, served: &[&str], known: &[&str], faults: &mut Faults) {
        if let Err(found) = refuse::check_fields(&self.path, self.object, served, known) {
            faults.absorb(found);
        }
    }

    /// The items of a list; none where it was left out.
    fn items(&self, name: &str, wanted: &'static str) -> Result<&'a [Value], SpecError> {
        match self.get(name) {
            None => Ok(&[]),
            Some(Value::Array(items)) => Ok(items),
            Some(other) => Err(wrong_type(self.path(name), wanted, other)),
        }
    }

    fn item_path(&self, name: &str, index: usize) -> String {
        format!("{}[{index}]", self.path(name))
    }
}

/// The path of a field of the object at `path`, as in [`Fields::at`].
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        return name.to_owned();
    }
    format!("{path}.{name}")
}

/// As [`join`], of a name that somebody else chose: it must not break the lines of an answer or a
/// log.
pub(super) fn join_foreign(path: &str, name: &str) -> String {
    join(path, &shown(&name.escape_debug().to_string()))
}

pub(super) fn is_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=limits::FAMILY_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

fn text(path: String, value: &Value, rule: &Rule) -> Result<String, SpecError> {
    let Value::String(text) = value else {
        return Err(wrong_type(path, "a string", value));
    };
    matching(path, text, rule)
}

/// A text as the rule wants it.
pub(super) fn matching(path: String, text: &str, rule: &Rule) -> Result<String, SpecError> {
    if (rule.holds)(text) {
        return Ok(text.to_owned());
    }
    let (got, wanted) = (shown(text), rule.wanted);
    Err(SpecError::Malformed { path, got, wanted })
}

fn integer(path: String, value: &Value, range: &Range) -> Result<i64, SpecError> {
    let number = match value {
        Value::Number(number) if number.is_i64() || number.is_u64() => number,
        other => return Err(wrong_type(path, "a whole number", other)),
    };
    within(path, number.as_i64(), number.to_string(), range)
}

/// A number that is written as a text.
pub(super) fn number_in_text(path: String, text: &str, range: &Range) -> Result<u32, SpecError> {
    let number = text.parse::<u32>().ok();
    let number = within(path, number.map(i64::from), quoted(text), range)?;
    Ok(u32::try_from(number).expect("the range is of such numbers"))
}

/// The number, if there is one and it is in the range; `got` is what was written.
fn within(path: String, number: Option<i64>, got: String, range: &Range) -> Result<i64, SpecError> {
    let (min, max, unit) = (range.min, range.max, range.unit);
    let within = number.filter(|number| (min..=max).contains(number));
    within.ok_or(SpecError::OutOfRange {
        path,
        got,
        min,
        max,
        unit,
    })
}

fn chosen(path: String, value: &Value, choice: &Choice) -> Result<&'static str, SpecError> {
    let Value::String(text) = value else {
        return Err(wrong_type(path, "a string", value));
    };
    if let Some(served) = choice.served.iter().find(|served| *served == text) {
        return Ok(served);
    }
    let (got, wanted) = (shown(text), choice.wanted);
    Err(if choice.refused.contains(&text.as_str()) {
        SpecError::RefusedValue { path, got, wanted }
    } else {
        SpecError::Malformed { path, got, wanted }
    })
}

fn wrong_type(path: String, wanted: &'static str, value: &Value) -> SpecError {
    let got = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a number with a fraction or an exponent",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    SpecError::WrongType { path, wanted, got }
}
