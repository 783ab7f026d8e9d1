//! The sink `event_webhook`: events in a JSON array, posted and signed.

use super::{
    sink::Outcome,
    spool::{BATCH_BYTES_MAX, Kept},
};
use crate::{
    gossip::{Guarded, KEY_FILE_BYTES_MAX, now_wall_ms, read_guarded},
    http::hex,
};
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, Response, StatusCode, Uri, body::Incoming, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, Error, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use sha2::Sha256;
use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::timeout;

/// For a whole request, from the look-up of the name to the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Connections that are not used are closed: most hosts have an event now and then.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
const ANSWER_BYTES_MAX: usize = 16 * 1_024;
const COMPLAINT_CHARS_MAX: usize = 160;
const SECRET_BYTES_MIN: usize = 16;
const URL_BYTES_MAX: usize = 2_048;
/// Whoever verifies one sees that the body is as we sent it, and when that was.
const SIGNATURE: &str = "holdfast-signature";

const AGENT: &str = concat!("holdfast/", env!("CARGO_PKG_VERSION"));

/// Where events are posted to: http or https, a host, and no user.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct WebhookUrl(Uri);

#[derive(Debug, thiserror::Error)]
pub(crate) enum WebhookError {
    #[error("cannot read event_webhook_secret_file {path}")]
    Read {
        path: PathBuf,
        #[source]
        err: io::Error,
    },
    #[error("event_webhook_secret_file {path} is not a file")]
    NotAFile { path: PathBuf },
    #[error(
        "event_webhook_secret_file {path} can be read by others (mode {mode:04o}): chmod 600 {path}"
    )]
    Open { path: PathBuf, mode: u32 },
    #[error("event_webhook_secret_file {path} has too little in it: put at least {min} bytes there",
        min = SECRET_BYTES_MIN)]
    Short { path: PathBuf },
    #[error(
        "event_webhook_secret_file {path} has more than {} bytes in it: is it the right file?",
        KEY_FILE_BYTES_MAX
    )]
    Long { path: PathBuf },
    #[error("cannot read this machine's certificates, which an event_webhook by https needs")]
    Roots(#[source] io::Error),
}

enum Transport {
    Plain(Client<HttpConnector, Full<Bytes>>),
    Tls(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

pub(super) struct Webhook {
    url: WebhookUrl,
    secret_file: Option<PathBuf>,
    transport: Transport,
}

impl WebhookUrl {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let authority = uri.authority()?;
        let fits = matches!(uri.scheme_str(), Some("http" | "https"))
            && !authority.host().is_empty()
            && !authority.as_str().contains('@')
            && text.len() <= URL_BYTES_MAX;
        fits.then_some(Self(uri))
    }

    fn is_tls(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }
}

/// Not its path: that is often a secret.
impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.0.scheme_str().unwrap_or_default();
        let host = self
            .0
            .authority()
            .map_or("", |authority| authority.as_str());
        write!(f, "{scheme}://{host}")
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Webhook {
    pub(super) fn new(url: WebhookUrl, secret_file: Option<PathBuf>) -> Result<Self, WebhookError> {
        // Found out at the start, not with the first event.
        secret_file.as_deref().map(read_secret).transpose()?;
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(1)
            .pool_timer(TokioTimer::new());
        let transport = if url.is_tls() {
            let connector = HttpsConnectorBuilder::new()
                .with_native_roots()
                .map_err(WebhookError::Roots)?;
            let connector = connector.https_only().enable_http1().build();
            Transport::Tls(builder.build(connector))
        } else {
            Transport::Plain(builder.build(HttpConnector::new()))
        };
        Ok(Self {
            url,
            secret_file,
            transport,
        })
    }

    pub(super) fn shown(&self) -> String {
        self.url.to_string()
    }

    pub(super) async fn deliver(&self, batch: &[Kept]) -> Outcome {
        match timeout(ANSWER_TIMEOUT, self.post(batch)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(reason)) => Outcome::Failed(reason),
            Err(_) => Outcome::Failed(format!(
                "it has not answered within {} s",
                ANSWER_TIMEOUT.as_secs()
            )),
        }
    }

    async fn post(&self, batch: &[Kept]) -> Result<Outcome, String> {
        let body = array(batch);
        let mut request = Request::post(self.url.0.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, AGENT);
        if let Some(path) = &self.secret_file {
            // Read each time, so that it can be changed while the agent runs.
            let secret = read_secret(path).map_err(|err| crate::disk::chain(&err))?;
            let signature = signature(&secret, now_wall_ms() / 1_000, &body);
            request = request.header(SIGNATURE, signature);
        }
        let request = request.body(Full::from(body));
        let request = request.map_err(|err| format!("the request is not one: {err}"))?;
        let answer = self.send(request).await;
        let answer = answer.map_err(|err| crate::disk::chain(&err))?;
        let status = answer.status();
        // Read to its end, so that the connection can be used again.
        let said = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await;
        let said = said.map(|said| said.to_bytes()).unwrap_or_default();
        Ok(outcome(status, &String::from_utf8_lossy(&said)))
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Error> {
        match &self.transport {
            Transport::Plain(client) => client.request(request).await,
            Transport::Tls(client) => client.request(request).await,
        }
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Webhook").field(&self.url).finish()
    }
}

/// Only what is said of the events themselves is a reason to drop them: a receiver that is not
/// there, does not know us or has moved may be put right.
fn outcome(status: StatusCode, said: &str) -> Outcome {
    if status.is_success() {
        return Outcome::Taken;
    }
    let said: String = said.chars().filter(|c| !c.is_control()).collect();
    let said: String = said.trim().chars().take(COMPLAINT_CHARS_MAX).collect();
    let reason = match said.is_empty() {
        true => format!("it answered {status}"),
        false => format!("it answered {status}: {said}"),
    };
    match status {
        StatusCode::BAD_REQUEST
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNPROCESSABLE_ENTITY => Outcome::Refused(reason),
        _ => Outcome::Failed(reason),
    }
}

fn array(batch: &[Kept]) -> Vec<u8> {
    let mut body = Vec::with_capacity(BATCH_BYTES_MAX.min(batch.len() * 4_096));
    body.push(b'[');
    for (place, kept) in batch.iter().enumerate() {
        if place > 0 {
            body.push(b',');
        }
        body.extend(&kept.json);
    }
    body.push(b']');
    body
}

/// `t=SECONDS,v1=HEX`: HMAC-SHA256 over the seconds, a point, and the body.
fn signature(secret: &[u8], seconds: u64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key may be of any length");
    mac.update(seconds.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    let code = mac.finalize().into_bytes();
    format!("t={seconds},v1={}", hex(&code))
}

/// All of the file, less the end of the last line.
fn read_secret(path: &Path) -> Result<Vec<u8>, WebhookError> {
    let path = path.to_owned();
    let (text, mode) = match read_guarded(&path) {
        Ok(Guarded::Text(text, mode)) => (text, mode),
        Ok(Guarded::NotAFile) => return Err(WebhookError::NotAFile { path }),
        Err(err) => return Err(WebhookError::Read { path, err }),
    };
    if mode & 0o077 != 0 {
        return Err(WebhookError::Open { path, mode });
    }
    if text.len() as u64 > KEY_FILE_BYTES_MAX {
        return Err(WebhookError::Long { path });
    }
    let secret = text.trim_end_matches(['\n', '\r']);
    match secret.len() < SECRET_BYTES_MIN {
        true => Err(WebhookError::Short { path }),
        false => Ok(secret.as_bytes().to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;
    use expect_test::expect;
    use std::{fs, os::unix::fs::PermissionsExt as _};

    #[test]
    fn a_secret_is_private_and_neither_short_nor_cut_off() {
        let dir = TestDir::new("webhook-secret");
        let path = dir.join("secret");
        let read = |text: &str, mode| {
            fs::write(&path, text).expect("the directory is ours");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("so is the file");
            let read = read_secret(&path).map_err(|err| err.to_string());
            let shown = read.map(|secret| secret.len().to_string());
            shown.unwrap_or_else(|err| err.replace(&*path.to_string_lossy(), "FILE"))
        };
        let most = usize::try_from(KEY_FILE_BYTES_MAX).expect("it is small");
        let shown = [
            read("sixteen bytes or more\n", 0o600),
            read("sixteen bytes or more\n", 0o640),
            read("x", 0o600),
            read(&"x".repeat(most), 0o600),
            read(&"x".repeat(most + 1), 0o600),
        ];
        expect![[r#"
            21
            event_webhook_secret_file FILE can be read by others (mode 0640): chmod 600 FILE
            event_webhook_secret_file FILE has too little in it: put at least 16 bytes there
            4096
            event_webhook_secret_file FILE has more than 4096 bytes in it: is it the right file?"#]]
        .assert_eq(&shown.join("\n"));
    }

    #[test]
    fn a_body_is_signed_with_the_time_as_openssl_signs_it() {
        // printf '1700000000.[{}]' | openssl dgst -sha256 -hmac 'a secret of some length'
        let signed = signature(b"a secret of some length", 1_700_000_000, b"[{}]");
        expect!["t=1700000000,v1=bc39228567a402688b7b238417b203cbd6731d008fb2dedd6f301bef760c374d"]
            .assert_eq(&signed);
    }

    #[test]
    fn only_what_is_said_of_the_events_themselves_drops_them() {
        let mut lines = Vec::new();
        for code in [
            200, 204, 302, 400, 401, 404, 408, 410, 413, 422, 429, 500, 503,
        ] {
            let status = StatusCode::from_u16(code).expect("it is one");
            let told = match outcome(status, "") {
                Outcome::Taken => "taken",
                Outcome::Failed(_) => "again",
                Outcome::Refused(_) => "dropped",
            };
            lines.push(format!("{code} {told}"));
        }
        expect![[r#"
            200 taken
            204 taken
            302 again
            400 dropped
            401 again
            404 again
            408 again
            410 again
            413 dropped
            422 dropped
            429 again
            500 again
            503 again"#]]
        .assert_eq(&lines.join("\n"));
    }

    #[test]
    fn urls_are_shown_without_what_may_be_secret_in_them() {
        let parse = |text: &str| WebhookUrl::parse(text).map(|url| url.to_string());
        let shown = parse("https://hooks.example.com:8443/T0/B0/s3cret?key=1");
        assert_eq!(shown.as_deref(), Some("https://hooks.example.com:8443"));
        for bad in [
            "",
            "example.com",
            "ftp://a",
            "http://",
            "http://u:p@a/",
            "/x",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
