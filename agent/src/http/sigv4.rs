//! Signature Version 4 of AWS, checked: who signed a request, and that nobody changed it since.
//!
//! By "Signature Version 4 signing process" in AWS's General Reference: as an `Authorization`
//! header and as parameters of the query. Only requests of the one path `/` are served, so a path
//! is never encoded here. A session token is not looked at.

use crate::{api::error::ApiError, http::client::encode, runtime::timestamp};
use axum::http::{HeaderMap, request::Parts};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// How far the clocks of client and host may be apart; AWS's own bound.
pub(super) const SKEW_MAX_MS: u64 = 5 * 60 * 1_000;
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "ecs";
const TERMINATOR: &str = "aws4_request";
const SIGNED_MAX: usize = 64;

/// A request's signature, not checked yet: what its head says of it.
#[derive(Debug)]
pub(super) struct Signature {
    pub(super) key_id: String,
    /// When it was signed, by the client's clock, in ms since 1970.
    pub(super) at_ms: u64,
    /// It holds for so long.
    lasts_ms: u64,
    pub(super) code: [u8; 32],
    scope: Scope,
    date: String,
    signed_headers: String,
    query: BTreeMap<String, String>,
}

/// What the key of a signature is derived for.
#[derive(Debug)]
struct Scope {
    date: String,
    region: String,
}

/// What says how a request was signed: a header, or parameters of the query.
struct Given<'a> {
    algorithm: &'a str,
    credential: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
    date: &'a str,
    lasts_ms: u64,
}

impl Signature {
    pub(super) fn read(parts: &Parts) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        let query = parameters(query)?;
        let header = text(&parts.headers, "authorization");
        let given = match header {
            Some(header) => Given::of_header(header, &parts.headers)?,
            None if query.contains_key("X-Amz-Signature") => Given::of_query(&query)?,
            None => {
                return Err(ApiError::MissingAuthenticationToken(
                    "Missing Authentication Token: over TCP each request is signed (AWS \
                     Signature Version 4) with a key of the host's `api_keys_file`"
                        .to_owned(),
                ));
            }
        };
        if given.algorithm != ALGORITHM {
            return Err(incomplete(&format!(
                "the algorithm of a signature must be {ALGORITHM}"
            )));
        }
        let (key_id, scope) = scope_of(given.credential)?;
        let at_ms = moment(given.date).filter(|_| given.date.starts_with(&scope.date));
        let at_ms = at_ms.ok_or_else(|| {
            incomplete("X-Amz-Date must be as 20261201T093000Z, of the credential's day")
        })?;
        check_names(given.signed_headers, parts)?;
        let code = unhex(given.signature);
        Ok(Self {
            key_id,
            at_ms,
            lasts_ms: given.lasts_ms,
            code: code.ok_or_else(|| incomplete("a signature is 64 hexadecimal digits"))?,
            scope,
            date: given.date.to_owned(),
            signed_headers: given.signed_headers.to_owned(),
            query,
        })
    }

    /// Refuses what was not signed around now.
    pub(super) fn check_moment(&self, now_ms: u64) -> Result<(), ApiError> {
        let early = self.at_ms.saturating_sub(now_ms);
        let late = now_ms.saturating_sub(self.at_ms);
        if early <= SKEW_MAX_MS && late <= self.lasts_ms {
            return Ok(());
        }
        Err(ApiError::InvalidSignature(format!(
            "Signature expired: it is of {} s {} now by this host's clock, and at most {} s are \
             taken: check both clocks",
            early.max(late) / 1_000,
            if early > late { "after" } else { "before" },
            self.lasts_ms.min(SKEW_MAX_MS) / 1_000
        )))
    }

    /// Refuses what was not signed with this secret, or was changed since.
    pub(super) fn check(&self, secret: &str, parts: &Parts, body: &[u8]) -> Result<(), ApiError> {
        let to_sign = format!(
            "{ALGORITHM}\n{}\n{}/{}/{SERVICE}/{TERMINATOR}\n{}",
            self.date,
            self.scope.date,
            self.scope.region,
            hex(&Sha256::digest(self.canonical(parts, body)))
        );
        let day = mac(format!("AWS4{secret}").as_bytes(), &self.scope.date);
        let region = mac(&day, &self.scope.region);
        let service = mac(&region, SERVICE);
        let key = mac(&service, TERMINATOR);
        let mut code = keyed(&key);
        code.update(to_sign.as_bytes());
        code.verify_slice(&self.code).map_err(|_| {
            ApiError::InvalidSignature(
                "The request signature we calculated does not match the signature you provided: \
                 check the secret of this key"
                    .to_owned(),
            )
        })
    }

    /// The request as it was signed.
    fn canonical(&self, parts: &Parts, body: &[u8]) -> String {
        let mut headers = String::new();
        for name in self.signed_headers.split(';') {
            let values = parts.headers.get_all(name).iter();
            let values = values.map(|value| value.to_str().map(squeezed).unwrap_or_default());
            let values: Vec<_> = values.collect();
            headers.push_str(&format!("{name}:{}\n", values.join(",")));
        }
        let query = self.query.iter();
        let query = query.filter(|(name, _)| *name != "X-Amz-Signature");
        let query = query.map(|(name, value)| format!("{}={}", encode(name), encode(value)));
        let mut query: Vec<_> = query.collect();
        query.sort();
        format!(
            "{}\n/\n{}\n{headers}\n{}\n{}",
            parts.method,
            query.join("&"),
            self.signed_headers,
            hex(&Sha256::digest(body))
        )
    }
}

impl<'a> Given<'a> {
    fn of_header(header: &'a str, headers: &'a HeaderMap) -> Result<Self, ApiError> {
        let (algorithm, rest) = header.split_once(' ').unwrap_or((header, ""));
        let mut fields = BTreeMap::new();
        for field in rest.split(',') {
            let (name, value) = field.trim().split_once('=').unwrap_or_default();
            fields.insert(name, value);
        }
        let field = |name: &str| {
            fields.get(name).copied().ok_or_else(|| {
                incomplete(&format!("Authorization header requires '{name}' parameter"))
            })
        };
        let date = text(headers, "x-amz-date");
        Ok(Self {
            algorithm,
            credential: field("Credential")?,
            signed_headers: field("SignedHeaders")?,
            signature: field("Signature")?,
            date: date.ok_or_else(|| incomplete("the header X-Amz-Date is missing"))?,
            lasts_ms: SKEW_MAX_MS,
        })
    }

    fn of_query(query: &'a BTreeMap<String, String>) -> Result<Self, ApiError> {
        let field = |name: &str| {
            let found = query.get(name).map(String::as_str);
            found.ok_or_else(|| incomplete(&format!("the query's parameter {name} is missing")))
        };
        let expires = field("X-Amz-Expires")?.parse::<u64>();
        let expires =
            expires.map_err(|_| incomplete("X-Amz-Expires must be a number of seconds"))?;
        Ok(Self {
            algorithm: field("X-Amz-Algorithm")?,
            credential: field("X-Amz-Credential")?,
            signed_headers: field("X-Amz-SignedHeaders")?,
            signature: field("X-Amz-Signature")?,
            date: field("X-Amz-Date")?,
            lasts_ms: expires.saturating_mul(1_000).min(SKEW_MAX_MS),
        })
    }
}

fn check_names(signed_headers: &str, parts: &Parts) -> Result<(), ApiError> {
    let names: Vec<&str> = signed_headers.split(';').collect();
    let ordered: BTreeSet<&str> = names.iter().copied().collect();
    if names.len() > SIGNED_MAX || !ordered.iter().eq(&names) || !ordered.contains("host") {
        return Err(incomplete(
            "SignedHeaders must be names in order, in small letters, with host among them",
        ));
    }
    // Whoever replays a request must not have another operation carried out with it.
    let given = ["x-amz-target", "x-amz-date"].into_iter();
    let mut given = given.filter(|name| parts.headers.contains_key(*name));
    match given.find(|name| !ordered.contains(name)) {
        Some(name) => Err(incomplete(&format!("the header {name} must be signed"))),
        None => Ok(()),
    }
}

/// `ID/20261201/eu-central-1/ecs/aws4_request`. Any region is taken: a key is of this cluster.
fn scope_of(credential: &str) -> Result<(String, Scope), ApiError> {
    let words: Vec<&str> = credential.split('/').collect();
    match words[..] {
        [id, date, region, SERVICE, TERMINATOR] if date.len() == 8 && !region.is_empty() => {
            let (date, region) = (date.to_owned(), region.to_owned());
            Ok((id.to_owned(), Scope { date, region }))
        }
        _ => Err(incomplete(
            "Credential must be KEY/DATE/REGION/ecs/aws4_request",
        )),
    }
}

/// A name that is there twice is no query of a client's.
fn parameters(query: &str) -> Result<BTreeMap<String, String>, ApiError> {
    let mut found = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let bad = || incomplete("the query cannot be read");
        let (name, value) = (
            decoded(name).ok_or_else(bad)?,
            decoded(value).ok_or_else(bad)?,
        );
        if found.insert(name, value).is_some() {
            return Err(bad());
        }
    }
    Ok(found)
}

fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match first {
            b'%' => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                rest = &rest[2..];
                u8::from_str_radix(digits, 16).ok()?
            }
            other => *other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Without spaces around it, and with one where there were several.
fn squeezed(value: &str) -> String {
    let words: Vec<_> = value.split(' ').filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// `20261201T093000Z`, in ms since 1970.
fn moment(text: &str) -> Option<u64> {
    let digits = |range: std::ops::Range<usize>| {
        let part = text.get(range)?;
        part.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then_some(part)
    };
    if text.len() != 16 || text.get(8..9)? != "T" || text.get(15..)? != "Z" {
        return None;
    }
    let long = format!(
        "{}-{}-{}T{}:{}:{}Z",
        digits(0..4)?,
        digits(4..6)?,
        digits(6..8)?,
        digits(9..11)?,
        digits(11..13)?,
        digits(13..15)?
    );
    Some(timestamp::parse(&long)?.0)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(key).expect("a key may be of any length")
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = keyed(key);
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let is_hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let byte = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok();
    let bytes = (0..32).map(|at| if is_hex { byte(at) } else { None });
    bytes.collect::<Option<Vec<_>>>()?.try_into().ok()
}

fn incomplete(why: &str) -> ApiError {
    ApiError::IncompleteSignature(why.to_owned())
}

#[cfg(test)]
impl Signature {
    /// One of many by a key.
    pub(super) fn of(key_id: &str, number: usize, at_ms: u64) -> Self {
        let mut code = [0; 32];
        code[..8].copy_from_slice(&number.to_be_bytes());
        Self {
            key_id: key_id.to_owned(),
            at_ms,
            lasts_ms: SKEW_MAX_MS,
            code,
            scope: Scope {
                date: String::new(),
                region: String::new(),
            },
            date: String::new(),
            signed_headers: String::new(),
            query: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;
    use expect_test::expect_file;

    const SECRET: &str = "0123456789abcdef0123456789abcdef01234567";
    const TARGET: &str = "AmazonEC2ContainerServiceV20141113.ListServices";
    const BODY: &[u8] = b"{\"maxResults\":  10}";
    const SIGNED_AT_MS: u64 = 1_796_117_400_000;
    /// By botocore 1.44.5's `SigV4Auth`, as the query below by its `SigV4QueryAuth`.
    const HEADERS: [(&str, &str); 5] = [
        ("host", "127.0.0.1:51680"),
        ("x-amz-target", TARGET),
        ("content-type", "application/x-amz-json-1.1"),
        ("x-amz-date", "20261201T093000Z"),
        (
            "authorization",
            "AWS4-HMAC-SHA256 Credential=HF0123456789ABCDEF/20261201/eu-central-1/ecs/\
             aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target, \
             Signature=60cb1d49e017e998976d0633bd2c9d15596577662d1e6f989b2db24061b2b7aa",
        ),
    ];
    const QUERY: &str = "/?a=b%20c&A=%C3%A4&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=\
        HF0123456789ABCDEF%2F20261201%2Feu-central-1%2Fecs%2Faws4_request&X-Amz-Date=\
        20261201T093000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host%3Bx-amz-target&X-Amz-Signature=\
        475aea2e2157a01f85a668407172b6ae16dfc8875216566f90980d4a4c2d9c62";

    fn parts(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::post(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("it is a request").into_parts().0
    }

    fn checked(parts: &Parts, body: &[u8], secret: &str, now_ms: u64) -> String {
        let read = Signature::read(parts);
        let checked = read.and_then(|signature| {
            signature.check(secret, parts, body)?;
            signature.check_moment(now_ms)?;
            Ok(format!("by {}", signature.key_id))
        });
        checked.unwrap_or_else(|err| format!("{}: {err}", err.kind()))
    }

    /// The headers with one of them changed, or left out.
    fn but(name: &str, value: Option<&'static str>) -> Vec<(&'static str, &'static str)> {
        let changed = HEADERS.into_iter().map(|(known, old)| match known == name {
            true => (known, value),
            false => (known, Some(old)),
        });
        changed
            .filter_map(|(known, value)| Some((known, value?)))
            .collect()
    }

    #[test]
    fn what_a_real_client_signed_is_known() {
        let by_header = parts("/", &HEADERS);
        let by_query = parts(QUERY, &HEADERS[..2]);
        for (signed, body) in [(&by_header, BODY), (&by_query, b"")] {
            let told = checked(signed, body, SECRET, SIGNED_AT_MS);
            assert_eq!(told, "by HF0123456789ABCDEF");
        }
    }

    #[test]
    fn what_was_changed_since_or_signed_with_another_secret_is_refused() {
        let good = parts("/", &HEADERS);
        let other = "AmazonEC2ContainerServiceV20141113.DeleteService";
        let told = [
            checked(&good, b"{}", SECRET, SIGNED_AT_MS),
            checked(&good, BODY, "another secret of some length", SIGNED_AT_MS),
            checked(
                &parts("/", &but("x-amz-target", Some(other))),
                BODY,
                SECRET,
                SIGNED_AT_MS,
            ),
            checked(&parts("/?x=1", &HEADERS), BODY, SECRET, SIGNED_AT_MS),
            checked(
                &parts("/", &but("host", Some("10.0.0.1"))),
                BODY,
                SECRET,
                SIGNED_AT_MS,
            ),
            checked(
                &parts("/", &but("x-amz-target", None)),
                BODY,
                SECRET,
                SIGNED_AT_MS,
            ),
        ];
        let mismatch = "InvalidSignatureException: The request signature we calculated does not \
                        match the signature you provided: check the secret of this key";
        assert!(told.iter().all(|told| told == mismatch), "{told:#?}");
    }

    #[test]
    fn a_signature_is_taken_for_five_minutes_and_one_of_a_query_for_as_long_as_it_says() {
        let by_header = |now| checked(&parts("/", &HEADERS), BODY, SECRET, now);
        let by_query = |now| checked(&parts(QUERY, &HEADERS[..2]), b"", SECRET, now);
        let told = [
            by_header(SIGNED_AT_MS + SKEW_MAX_MS),
            by_header(SIGNED_AT_MS - SKEW_MAX_MS),
            by_header(SIGNED_AT_MS + SKEW_MAX_MS + 1_000),
            by_header(SIGNED_AT_MS - SKEW_MAX_MS - 1_000),
            by_query(SIGNED_AT_MS + 60_000),
            by_query(SIGNED_AT_MS + 61_000),
        ];
        expect_file!["tests/signatures_expired.txt"].assert_eq(&told.join("\n"));
    }

    #[test]
    fn what_is_no_signature_is_told_what_it_lacks() {
        let told =
            |headers: &[(&str, &str)]| checked(&parts("/", headers), BODY, SECRET, SIGNED_AT_MS);
        let header = |text: &'static str| told(&but("authorization", Some(text)));
        let scoped = |credential: &str, signed: &str| {
            let text = format!(
                "AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed}, Signature=ab"
            );
            let mut headers = but("authorization", None);
            headers.push(("authorization", &text));
            told(&headers)
        };
        let good = "K/20261201/r/ecs/aws4_request";
        let told = [
            told(&but("authorization", None)),
            told(&but("x-amz-date", None)),
            told(&but("x-amz-date", Some("20261202T093000Z"))),
            told(&but("x-amz-date", Some("yesterday"))),
            header("Basic dXNlcjpwYXNz"),
            header("AWS4-HMAC-SHA256"),
            header("AWS4-HMAC-SHA1 Credential=a, SignedHeaders=host, Signature=b"),
            scoped("K/20261201/r/s3/aws4_request", "host"),
            scoped("K", "host"),
            scoped(good, "content-type"),
            scoped(good, "host;content-type"),
            scoped(good, "host;x-amz-date"),
            scoped(good, "host;x-amz-date;x-amz-target"),
            checked(
                &parts("/?X-Amz-Signature=a", &[]),
                BODY,
                SECRET,
                SIGNED_AT_MS,
            ),
            checked(&parts("/?a=%", &HEADERS), BODY, SECRET, SIGNED_AT_MS),
            checked(&parts("/?a=1&a=2", &HEADERS), BODY, SECRET, SIGNED_AT_MS),
        ];
        expect_file!["tests/signatures_incomplete.txt"].assert_eq(&told.join("\n"));
    }
}
