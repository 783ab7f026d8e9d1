//! Reads the requests of the operations that have no type of their own in the core, page by page.

use super::error::ApiError;
use holdfast_core::{
    spec::{
        SpecError, SpecErrors, ecs_fields,
        error::Faults,
        read::{Choice, Fields, Range, TEXT},
        service::cluster_name,
    },
    time::Wall,
};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// How many answers one page holds where the client does not say, and at most.
pub(crate) const PAGE_MAX: u32 = 100;

/// How much of a wrong time an error shows.
const SHOWN_CHARS_MAX: usize = 64;

const MAX_RESULTS: Range = Range {
    min: 1,
    max: PAGE_MAX as i64,
    unit: " results",
};

const INCLUDE: Choice = Choice {
    served: &["TAGS"],
    refused: &["CONTAINER_INSTANCE_HEALTH"],
    wanted: "\"TAGS\"",
};

/// A request of which all fields were checked before any is read.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    fields: Fields<'a>,
}

/// Which part of a list is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// Only what comes behind this key: it stays right whatever comes and goes in between.
    pub(crate) after: Option<String>,
    pub(crate) max: usize,
}

/// A span of time without its ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TimeSpan {
    after: Option<Wall>,
    before: Option<Wall>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    Ascending,
    Descending,
}

impl<'a> Request<'a> {
    /// Refuses by name what is not served.
    pub(crate) fn read(body: &'a Value, served: &[&str], known: &[&str]) -> Result<Self, ApiError> {
        Self::read_including(body, (served, known), &INCLUDE)
    }

    /// As [`Request::read`], where `include` means something else than elsewhere.
    pub(crate) fn read_including(
        body: &'a Value,
        (served, known): (&[&str], &[&str]),
        include: &Choice,
    ) -> Result<Self, ApiError> {
        let fields = Fields::of_request(body).map_err(ApiError::invalid)?;
        let mut faults = Faults::default();
        fields.check(served, known, &mut faults);
        if served.contains(&"include") {
            faults.keep(fields.choices("include", include));
        }
        faults.finish(()).map_err(ApiError::invalid)?;
        let request = Self { fields };
        if known.contains(&"cluster") {
            let cluster = request.fields.reference("cluster", cluster_name);
            cluster.map_err(ApiError::invalid)?;
        }
        Ok(request)
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, ApiError> {
        self.fields.text(name, &TEXT).map_err(ApiError::invalid)
    }

    pub(crate) fn required(&self, name: &str, wanted: &'static str) -> Result<String, ApiError> {
        let read = self.fields.text(name, &TEXT);
        let read = self.fields.required(name, wanted, read);
        read.map_err(ApiError::invalid)
    }

    pub(crate) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        let flag = self.fields.flag(name).map_err(ApiError::invalid)?;
        Ok(flag.unwrap_or(false))
    }

    pub(crate) fn includes(&self, what: &str, include: &Choice) -> Result<bool, ApiError> {
        let chosen = self.fields.choices("include", include);
        Ok(chosen.map_err(ApiError::invalid)?.contains(&what))
    }

    pub(crate) fn number(&self, name: &str, range: &Range) -> Result<Option<u32>, ApiError> {
        self.fields.number(name, range).map_err(ApiError::invalid)
    }

    pub(crate) fn choice(
        &self,
        name: &str,
        choice: &Choice,
    ) -> Result<Option<&'static str>, ApiError> {
        self.fields.choice(name, choice).map_err(ApiError::invalid)
    }

    pub(crate) fn choices(
        &self,
        name: &str,
        choice: &Choice,
    ) -> Result<Vec<&'static str>, ApiError> {
        self.fields.choices(name, choice).map_err(ApiError::invalid)
    }

    /// The objects of a list.
    pub(crate) fn objects(&self, name: &str) -> Result<Vec<Fields<'a>>, ApiError> {
        let mut faults = Faults::default();
        let objects = self.fields.objects(name, &mut faults);
        faults.finish(objects).map_err(ApiError::invalid)
    }

    /// A span of time; all of it where the field is left out.
    pub(crate) fn span(&self, name: &str) -> Result<TimeSpan, ApiError> {
        let read = || -> Result<TimeSpan, SpecErrors> {
            let Some(fields) = self.fields.object(name)? else {
                return Ok(TimeSpan::default());
            };
            let mut faults = Faults::default();
            fields.check(ecs_fields::CREATED_AT, ecs_fields::CREATED_AT, &mut faults);
            let after = faults.keep(moment(&fields, "after"));
            let before = faults.keep(moment(&fields, "before"));
            faults.finish(TimeSpan { after, before })
        };
        read().map_err(ApiError::invalid)
    }

    /// As [`Request::texts`]; `None` where the list is absent or empty.
    pub(crate) fn texts_if_any(
        &self,
        name: &str,
        wanted: &'static str,
        max: usize,
    ) -> Result<Option<Vec<String>>, ApiError> {
        let texts = self.fields.texts(name, &TEXT).map_err(ApiError::invalid)?;
        match texts.is_empty() {
            true => Ok(None),
            false => self.texts(name, wanted, max).map(Some),
        }
    }

    /// A list that must hold from one to `max` texts.
    pub(crate) fn texts(
        &self,
        name: &str,
        wanted: &'static str,
        max: usize,
    ) -> Result<Vec<String>, ApiError> {
        let texts = self.fields.texts(name, &TEXT);
        let texts = texts.map_err(ApiError::invalid)?;
        let path = name.to_owned();
        let fault = match texts.len() {
            0 => SpecError::Missing { path, wanted },
            got if got > max => SpecError::TooMany { path, got, max },
            _ => return Ok(texts),
        };
        Err(ApiError::InvalidParameter(
            SpecErrors::from(fault).to_string(),
        ))
    }

    pub(crate) fn page(&self, default_max: u32) -> Result<Page, ApiError> {
        let max = self.fields.number("maxResults", &MAX_RESULTS);
        let max = max.map_err(ApiError::invalid)?.unwrap_or(default_max);
        let after = match self.text("nextToken")? {
            None => None,
            Some(token) => Some(key_of_token(&token)?),
        };
        Ok(Page {
            after,
            max: max as usize,
        })
    }
}

impl Page {
    /// Takes the page out of `items`, which come in the order of their keys, and the token for
    /// the next one where there is more.
    pub(crate) fn cut<T>(
        &self,
        sort: Sort,
        items: impl Iterator<Item = (String, T)>,
    ) -> (Vec<T>, Option<String>) {
        let behind = |key: &String| match (&self.after, sort) {
            (None, _) => true,
            (Some(after), Sort::Ascending) => key > after,
            (Some(after), Sort::Descending) => key < after,
        };
        let mut items = items.filter(|(key, _)| behind(key)).peekable();
        let mut page = Vec::new();
        while let Some((key, item)) = items.next() {
            page.push(item);
            if page.len() == self.max {
                return (page, items.peek().map(|_| token_of_key(&key)));
            }
        }
        (page, None)
    }
}

impl TimeSpan {
    pub(crate) fn contains(self, at: Wall) -> bool {
        self.after.is_none_or(|after| at > after) && self.before.is_none_or(|before| at < before)
    }
}

/// A timestamp as ECS's clients write it, with or without a fraction.
fn moment(fields: &Fields<'_>, name: &str) -> Result<Option<Wall>, SpecError> {
    let Some(value) = fields.get(name) else {
        return Ok(None);
    };
    let seconds = value.as_f64().filter(|seconds| *seconds >= 0.0);
    let seconds = seconds.ok_or_else(|| {
        let got = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        SpecError::Malformed {
            path: fields.path(name),
            got: got.chars().take(SHOWN_CHARS_MAX).collect(),
            wanted: "a number of seconds since 1970",
        }
    })?;
    Ok(Some(Wall((seconds * 1_000.0).round() as u64)))
}

/// An answer with one list, and the token for the next page where there is one.
pub(crate) fn listed(name: &str, (items, token): (Vec<Value>, Option<String>)) -> Value {
    let mut answer = json!({name: items});
    if let Some(token) = token {
        answer["nextToken"] = json!(token);
    }
    answer
}

/// ECS's way to say that something asked for by name isn't there.
pub(crate) fn missing(arn: &str) -> Value {
    json!({"arn": arn, "reason": "MISSING"})
}

fn token_of_key(key: &str) -> String {
    key.bytes().fold("hf1".to_owned(), |mut token, byte| {
        write!(token, "{byte:02x}").expect("a string takes all");
        token
    })
}

pub(crate) fn key_of_token(token: &str) -> Result<String, ApiError> {
    let bad = || {
        ApiError::InvalidParameter(
            "nextToken is not one of this cluster's; repeat the call without it".to_owned(),
        )
    };
    let hex = token.strip_prefix("hf1").ok_or_else(bad)?;
    if hex.len() % 2 != 0 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(bad());
    }
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16);
    let bytes: Result<Vec<u8>, _> = (0..hex.len()).step_by(2).map(byte).collect();
    String::from_utf8(bytes.map_err(|_| bad())?).map_err(|_| bad())
}
