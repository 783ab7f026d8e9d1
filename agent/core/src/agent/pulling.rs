//! Images that people want on hosts before any task needs them: those hosts are asked until each
//! has said what became of it, and this host does what others ask of it.
//!
//! Nothing of it is on the board: a host that is away has failed, and is not caught up with later.
//! An agent that was started again is asked again, under the same number, and begins anew.

use super::Agent;
use crate::{
    cluster::{
        body::HostStatus,
        message::{Message, PullStage},
        repair,
    },
    command::{CommandId, Outcome, Refusal},
    effect::{Effect, Effects, Send},
    ids::HostId,
    limits,
    spec::image::ImageRef,
    task::runtime::{PulledImage, RuntimeCommand, RuntimeFailure},
    time::{Mono, Now, Span},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::SocketAddr};

/// Between two questions, as either or its answer may be lost.
const ASKED_EACH: Span = Span::from_secs(1);
/// Who is up answers each question, unless its agent knows no such question. An agent that is
/// started again is back before so many, and one of ours that stood still has asked none meanwhile.
const UNANSWERED_MAX: u32 = 10;
/// For as long as somebody may ask whom the answer has not reached.
const ENDED_KEPT: Span = Span::from_secs(60);

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Pulls {
    /// What people here want of a host, under a number of ours.
    asked: BTreeMap<(HostId, u64), Asked>,
    /// What is wanted of this host: by whom, under their number.
    taken: BTreeMap<(HostId, u64), Taken>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Asked {
    image: ImageRef,
    /// Who waits to be told.
    callers: Vec<CommandId>,
    /// Questions since the host last answered.
    unanswered: u32,
    next: Mono,
    progress: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Taken {
    image: ImageRef,
    /// Where the asker is.
    address: SocketAddr,
    /// When it began; from its end on, when that was.
    at: Mono,
    stage: PullStage,
}

impl Taken {
    const fn is_under_way(&self) -> bool {
        matches!(self.stage, PullStage::UnderWay { .. })
    }
}

impl Pulls {
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.asked.values().map(|asked| asked.next).min()
    }

    /// The container runtime tells how far it is.
    pub(super) fn on_progress(&mut self, image: &ImageRef, progress: String) {
        let stage = PullStage::UnderWay { progress }.cut();
        for taken in self.under_way(image) {
            taken.stage = stage.clone();
        }
    }

    /// Forgets what ended long ago.
    pub(super) fn tidy(&mut self, now: Mono) {
        self.taken
            .retain(|_, taken| taken.is_under_way() || now.since(taken.at) < ENDED_KEPT);
    }

    fn under_way(&mut self, image: &ImageRef) -> impl Iterator<Item = &mut Taken> {
        let taken = self.taken.values_mut();
        taken.filter(move |taken| taken.is_under_way() && taken.image == *image)
    }

    fn asked_of(&self, host: HostId, image: &ImageRef) -> Option<u64> {
        let mut asked = self.asked.range((host, 0)..=(host, u64::MAX));
        let found = asked.find(|(_, asked)| asked.image == *image);
        found.map(|((_, number), _)| *number)
    }
}

impl Agent {
    /// How far a host has come with an image that people here wait for.
    pub fn pull_progress(&self, host: HostId, image: &ImageRef) -> Option<&str> {
        let number = self.pulls.asked_of(host, image)?;
        Some(&self.pulls.asked.get(&(host, number))?.progress)
    }

    /// Begins to ask, or joins who asks already; answered when it is over.
    pub(super) fn have_pulled(
        &mut self,
        now: Now,
        id: CommandId,
        (host, image): (HostId, ImageRef),
        fx: &mut Effects,
    ) -> Result<(), Refusal> {
        if let Some(reason) = self.why_not_asked(host) {
            return Err(Refusal::NotPulled { reason });
        }
        let limit = |what, max: usize| Refusal::Limit {
            what,
            max: max as u64,
        };
        if let Some(number) = self.pulls.asked_of(host, &image)
            && let Some(asked) = self.pulls.asked.get_mut(&(host, number))
        {
            if asked.callers.len() >= limits::PULL_CALLERS_MAX {
                let what = "the number of callers that wait for one image on one host";
                return Err(limit(what, limits::PULL_CALLERS_MAX));
            }
            asked.callers.push(id);
            return Ok(());
        }
        if self.pulls.asked.len() >= limits::PULLS_ASKED_MAX {
            let what = "the number of images that this host waits for on others";
            return Err(limit(what, limits::PULLS_ASKED_MAX));
        }
        let number = self.rng.next_u64();
        let asked = Asked {
            image,
            callers: vec![id],
            unanswered: 0,
            next: now.mono,
            progress: String::new(),
        };
        self.pulls.asked.insert((host, number), asked);
        self.ask_for_pulls(now, fx);
        Ok(())
    }

    /// To be called when it is time, or more often: asks again, and gives up whoever is gone.
    pub(super) fn ask_for_pulls(&mut self, now: Now, fx: &mut Effects) {
        let due = self.pulls.asked.iter_mut();
        let due = due.filter(|(_, asked)| now.mono >= asked.next);
        let due = due.map(|(key, asked)| {
            asked.next = now.mono + ASKED_EACH;
            asked.unanswered += 1;
            (*key, asked.image.clone(), asked.unanswered)
        });
        for ((host, number), image, unanswered) in due.collect::<Vec<_>>() {
            let is_silent = unanswered > UNANSWERED_MAX;
            let silence = || {
                format!(
                    "it has not answered for {UNANSWERED_MAX} s: its agent stands still, or is of \
                     a version that does not pull for others"
                )
            };
            let given_up = self.why_not_asked(host);
            match given_up.or_else(|| is_silent.then(silence)) {
                Some(reason) => {
                    let result = Err(Refusal::NotPulled { reason });
                    self.end_asking((host, number), &result, fx);
                }
                None => self.ask_to_pull(now, (host, number), image, fx),
            }
        }
    }

    /// Of a host that is not there nothing is to be had.
    fn why_not_asked(&self, host: HostId) -> Option<String> {
        if host == self.config.host {
            return None;
        }
        let Some((_, report)) = self.board.host(host) else {
            return Some("there is no such host (any more)".to_owned());
        };
        if report.status == HostStatus::Left {
            return Some("it has left the cluster".to_owned());
        }
        let is_down = self.board.is_down(host);
        is_down.then(|| "it is down; ask again when it is back".to_owned())
    }

    fn ask_to_pull(
        &mut self,
        now: Now,
        (host, number): (HostId, u64),
        image: ImageRef,
        fx: &mut Effects,
    ) {
        if host == self.config.host {
            self.on_pull(now, (host, self.config.address), (number, image), fx);
        } else {
            self.send_to(host, Message::Pull { number, image }, fx);
        }
    }

    fn end_asking(
        &mut self,
        key: (HostId, u64),
        result: &Result<Outcome, Refusal>,
        fx: &mut Effects,
    ) {
        let asked = self.pulls.asked.remove(&key);
        for id in asked.into_iter().flat_map(|asked| asked.callers) {
            let result = result.clone();
            fx.push(Effect::Reply { id, result });
        }
    }

    /// Somebody asks, perhaps not for the first time: begins, or says how far it is.
    pub(super) fn on_pull(
        &mut self,
        now: Now,
        (from, address): (HostId, SocketAddr),
        (number, image): (u64, ImageRef),
        fx: &mut Effects,
    ) {
        let key = (from, number);
        if !self.pulls.taken.contains_key(&key) {
            self.pulls.tidy(now.mono);
            if self.pulls.taken.len() >= limits::PULLS_TAKEN_MAX {
                let reason = format!(
                    "it is asked for {} pulls already; try again in a minute",
                    limits::PULLS_TAKEN_MAX
                );
                self.tell_stage((key, address), PullStage::Failed { reason }, fx);
                return;
            }
            if self.pulls.under_way(&image).next().is_none() {
                let image = image.clone();
                fx.push(Effect::Runtime(RuntimeCommand::Pull { image }));
            }
        }
        let taken = self.pulls.taken.entry(key).or_insert_with(|| Taken {
            image,
            address,
            at: now.mono,
            stage: PullStage::UnderWay {
                progress: String::new(),
            },
        });
        taken.address = address;
        let stage = taken.stage.clone();
        self.tell_stage((key, address), stage, fx);
    }

    /// It is over: whoever asked is told at once.
    pub(super) fn on_image_pulled(
        &mut self,
        now: Now,
        image: &ImageRef,
        outcome: Result<PulledImage, RuntimeFailure>,
        fx: &mut Effects,
    ) {
        let taken = self.pulls.taken.iter_mut();
        let meant = taken.filter(|(_, taken)| taken.is_under_way() && taken.image == *image);
        let told = meant.map(|(key, taken)| {
            let took_ms = u32::try_from(now.mono.since(taken.at).as_ms()).unwrap_or(u32::MAX);
            let stage = match outcome.clone() {
                Ok(image) => PullStage::Pulled { image, took_ms },
                Err(RuntimeFailure { reason, .. }) => PullStage::Failed { reason },
            };
            (taken.at, taken.stage) = (now.mono, stage.cut());
            ((*key, taken.address), taken.stage.clone())
        });
        for (to, stage) in told.collect::<Vec<_>>() {
            self.tell_stage(to, stage, fx);
        }
    }

    fn tell_stage(
        &mut self,
        ((asker, number), to): ((HostId, u64), SocketAddr),
        stage: PullStage,
        fx: &mut Effects,
    ) {
        if asker == self.config.host {
            self.on_pull_stage((asker, number), stage, fx);
            return;
        }
        let message = Message::Pulling { number, stage };
        fx.push(Effect::Send(Send {
            to,
            host: Some(asker),
            via: repair::way(&message),
            message,
        }));
    }

    /// A host that we asked says how far it is.
    pub(super) fn on_pull_stage(&mut self, key: (HostId, u64), stage: PullStage, fx: &mut Effects) {
        let Some(asked) = self.pulls.asked.get_mut(&key) else {
            return;
        };
        asked.unanswered = 0;
        let result = match stage {
            PullStage::UnderWay { progress } => {
                asked.progress = progress;
                return;
            }
            PullStage::Pulled { image, took_ms } => Ok(Outcome::ImagePulled {
                digest: image.digest,
                was_here: image.was_here,
                took: Span::from_ms(took_ms.into()),
            }),
            PullStage::Failed { reason } => Err(Refusal::NotPulled { reason }),
        };
        self.end_asking(key, &result, fx);
    }
}
