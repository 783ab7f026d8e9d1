//! Who asks for something in a container, and the record of what they did there.

use super::{App, Place};
use crate::{api::error::ApiError, http::caller::Caller, http::client::encode};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use nix::unistd::{Uid, User};
use std::time::Instant;
use tokio::task::spawn_blocking;
use tracing::info;

/// Says to a peer who asks this agent. Nobody else is believed.
pub(super) const CALLER: HeaderName = HeaderName::from_static("holdfast-caller");
/// As long as a user's name may be, percents and all.
const USER_BYTES_MAX: usize = 256;

/// A person, and the host on which they are that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Who {
    pub(super) uid: u32,
    /// Empty where the user database has none of that id.
    pub(super) user: String,
    pub(super) host: String,
}

impl Who {
    /// Refuses whoever may not deploy: logs and files hold secrets, and commands change what runs.
    pub(super) async fn of(
        app: &App,
        caller: Caller,
        headers: &HeaderMap,
    ) -> Result<Self, ApiError> {
        match caller {
            Caller::Peer(_) => Self::told(headers),
            Caller::Local { uid, .. } => {
                caller.check_may_reach(app).await?;
                let user = spawn_blocking(move || User::from_uid(Uid::from_raw(uid)));
                let user = user.await.ok().and_then(Result::ok).flatten();
                let user = user.map(|user| user.name).unwrap_or_default();
                let host = super::answer::look(app, |view, _| view.host_name(view.me)).await?;
                Ok(Self { uid, user, host })
            }
            Caller::Loopback | Caller::Signer | Caller::Container { .. } => {
                caller.check_may_reach(app).await?;
                unreachable!("nobody may deploy over TCP")
            }
        }
    }

    fn told(headers: &HeaderMap) -> Result<Self, ApiError> {
        let read = || {
            let text = headers.get(CALLER)?.to_str().ok()?;
            let mut words = text.splitn(3, ' ');
            let (uid, host, user) = (words.next()?, words.next()?, words.next()?);
            let uid = uid.parse().ok()?;
            let short = |text: &str| text.chars().take(USER_BYTES_MAX).collect::<String>();
            Some(Self {
                uid,
                user: short(user),
                host: short(host),
            })
        };
        read().ok_or_else(|| {
            ApiError::AccessDenied("the agent that asks does not say for whom".to_owned())
        })
    }

    pub(super) fn header(&self) -> HeaderValue {
        let text = format!("{} {} {}", self.uid, encode(&self.host), encode(&self.user));
        HeaderValue::try_from(text).expect("what is encoded is ASCII")
    }
}

/// Something that somebody does in a container; it is on record from its beginning on.
pub(super) struct Deed {
    who: Who,
    what: &'static str,
    task: String,
    container: String,
    detail: String,
    begun: Instant,
}

impl Deed {
    pub(super) fn begin(
        who: &Who,
        what: &'static str,
        place: &Place,
        container: &str,
        detail: String,
    ) -> Self {
        let deed = Self {
            who: who.clone(),
            what,
            task: place.task.to_string(),
            container: container.to_owned(),
            detail,
            begun: Instant::now(),
        };
        info!(
            target: "audit",
            what,
            user = deed.who.user,
            uid = deed.who.uid,
            from = deed.who.host,
            task = deed.task,
            container,
            detail = deed.detail,
            "Begun."
        );
        deed
    }

    /// `outcome`: an exit code, or in words what became of it.
    pub(super) fn end(self, outcome: &str) {
        info!(
            target: "audit",
            what = self.what,
            user = self.who.user,
            uid = self.who.uid,
            from = self.who.host,
            task = self.task,
            container = self.container,
            detail = self.detail,
            seconds = self.begun.elapsed().as_secs_f64(),
            outcome,
            "Ended."
        );
    }
}
