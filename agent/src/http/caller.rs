//! Who sent a request, and whether they may deploy.

use super::App;
use crate::api::error::ApiError;
use holdfast_core::ids::HostId;
use nix::unistd::{Gid, Group, Uid, User, geteuid, getgrouplist};
use std::{ffi::CString, net::IpAddr};
use tokio::task::spawn_blocking;
use tracing::warn;

/// As the kernel vouches for it, not as the request says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    Local {
        uid: u32,
        gid: u32,
    },
    Loopback,
    /// Whoever came over TCP to where requests are signed.
    Signer,
    /// An agent of the cluster, which has checked who asks it.
    Peer(HostId),
    /// Whoever has the address `from`, and came to ours.
    Container {
        from: IpAddr,
        to: IpAddr,
    },
}

impl Caller {
    /// Root, whoever runs the agent, and the members of the group that may deploy.
    pub(super) async fn may_deploy(self, app: &App) -> bool {
        let Self::Local { uid, gid } = self else {
            return false;
        };
        if uid == 0 || uid == geteuid().as_raw() {
            return true;
        }
        // The user database may be on the network.
        let group = app.deploy_group.to_string();
        let asked = spawn_blocking(move || is_member(uid, gid, &group)).await;
        asked.unwrap_or_else(|err| {
            warn!(%err, uid, "The groups of a user could not be looked up; refused.");
            false
        })
    }

    pub(super) async fn check_may_deploy(self, app: &App, what: &str) -> Result<(), ApiError> {
        self.check(app, &format!("{what} changes the cluster, which"))
            .await
    }

    pub(super) async fn check_may_record(self, app: &App) -> Result<(), ApiError> {
        let what = "to record means to hold up the agent and to fill its disk, which";
        self.check(app, what).await
    }

    pub(super) async fn check_may_pull(self, app: &App) -> Result<(), ApiError> {
        let what = "to pull images means to fill the hosts' disks, which";
        self.check(app, what).await
    }

    pub(super) async fn check_may_reach(self, app: &App) -> Result<(), ApiError> {
        let what = "what is in a container, its logs too, may be secret, so to reach into one is \
                    what";
        self.check(app, what).await
    }

    pub(super) async fn check_may_see_secrets(self, app: &App) -> Result<(), ApiError> {
        let what = "to see which secrets there are is what";
        self.check(app, what).await
    }

    /// For people; the kernel vouches for the number alone.
    pub(super) async fn name(self) -> String {
        let Self::Local { uid, .. } = self else {
            return "somebody".to_owned();
        };
        let known = spawn_blocking(move || User::from_uid(Uid::from_raw(uid))).await;
        match known {
            Ok(Ok(Some(user))) => user.name,
            _ => format!("uid {uid}"),
        }
    }

    async fn check(self, app: &App, what: &str) -> Result<(), ApiError> {
        if self.may_deploy(app).await {
            return Ok(());
        }
        let who = match self {
            Self::Local { uid, .. } => format!("you are the user with the id {uid}"),
            Self::Peer(host) => format!("you are the agent of host {host}"),
            Self::Loopback | Self::Signer | Self::Container { .. } => {
                "over TCP nobody can tell who you are".to_owned()
            }
        };
        Err(ApiError::AccessDenied(format!(
            "{what} only root and the members of the group {:?} may do, \
             and {who}; use sudo, or have yourself added with `usermod -aG {} USER`",
            app.deploy_group, app.deploy_group
        )))
    }
}

/// By the user database, as `id USER` tells: a group that was added counts at once, without a new
/// login.
fn is_member(uid: u32, gid: u32, group: &str) -> bool {
    let Ok(Some(group)) = Group::from_name(group) else {
        return false;
    };
    if Gid::from_raw(gid) == group.gid {
        return true;
    }
    let Ok(Some(user)) = User::from_uid(Uid::from_raw(uid)) else {
        return false;
    };
    let name = CString::new(user.name);
    let groups = name.map(|name| getgrouplist(&name, user.gid).unwrap_or_default());
    groups.is_ok_and(|groups| groups.contains(&group.gid))
}
