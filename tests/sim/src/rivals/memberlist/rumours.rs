//! What memberlist makes of what it hears (state.go, `aliveNode`, `suspectNode`, `deadNode`).

use super::{
    Memberlist, Message, Standing,
    queue::Name,
    suspicion::Suspicion,
    wire::{Held, Rumour},
};
use crate::rivals::Out;

impl Memberlist {
    pub(super) fn on_rumour(&mut self, now: u64, rumour: Rumour, out: &mut Out<Message>) {
        match rumour {
            Rumour::Alive { host, incarnation } => self.alive(now, (host, incarnation), out),
            Rumour::Suspect {
                host,
                incarnation,
                from,
            } => self.suspect(now, (host, incarnation), from, out),
            Rumour::Dead { host, incarnation } => self.dead(now, (host, incarnation), out),
            Rumour::Told if self.knows_told => {}
            Rumour::Told => {
                self.knows_told = true;
                self.broadcast(now, Name::Told, rumour);
            }
        }
    }

    fn alive(&mut self, now: u64, (host, incarnation): (u32, u32), out: &mut Out<Message>) {
        let place = host as usize;
        let known = self.view[place].incarnation;
        if place == self.me {
            if incarnation > known {
                self.refute(now, incarnation);
            }
            return;
        }
        if self.view[place].standing == Standing::Reaped {
            // Back on the list, at a random place, so that probing it does not wait for a round.
            let offset = self.rng.below(self.order.len() as u64 + 1) as usize;
            self.order.push(host);
            let last = self.order.len() - 1;
            self.order.swap(offset, last);
        } else if incarnation <= known {
            return;
        }
        self.suspicions.remove(&place);
        self.broadcast(now, Name::Host(place), Rumour::Alive { host, incarnation });
        self.view[place].incarnation = incarnation;
        self.believe(now, place, Standing::Alive, out);
    }

    pub(super) fn suspect(
        &mut self,
        now: u64,
        (host, incarnation): (u32, u32),
        from: u32,
        out: &mut Out<Message>,
    ) {
        let place = host as usize;
        let entry = self.view[place];
        if entry.standing == Standing::Reaped || incarnation < entry.incarnation {
            return;
        }
        let rumour = Rumour::Suspect {
            host,
            incarnation,
            from,
        };
        if let Some(suspicion) = self.suspicions.get_mut(&place) {
            if suspicion.confirm(from) {
                self.broadcast(now, Name::Host(place), rumour);
            }
            return;
        }
        if entry.standing != Standing::Alive {
            return;
        }
        if place == self.me {
            self.refute(now, incarnation);
            return;
        }
        self.broadcast(now, Name::Host(place), rumour);
        self.view[place].incarnation = incarnation;
        self.believe(now, place, Standing::Suspect, out);
        let suspicion = Suspicion::new(now, from, self.count());
        self.suspicions.insert(place, suspicion);
    }

    fn dead(&mut self, now: u64, (host, incarnation): (u32, u32), out: &mut Out<Message>) {
        let place = host as usize;
        let entry = self.view[place];
        if entry.standing == Standing::Reaped || incarnation < entry.incarnation {
            return;
        }
        self.suspicions.remove(&place);
        if entry.standing == Standing::Dead {
            return;
        }
        if place == self.me {
            self.refute(now, incarnation);
            return;
        }
        self.broadcast(now, Name::Host(place), Rumour::Dead { host, incarnation });
        self.view[place].incarnation = incarnation;
        self.believe(now, place, Standing::Dead, out);
    }

    /// We are accused: a higher incarnation says that we live, and we doubt ourselves a little.
    fn refute(&mut self, now: u64, accused: u32) {
        self.incarnation = self.incarnation.max(accused) + 1;
        let incarnation = self.incarnation;
        self.view[self.me].incarnation = incarnation;
        self.change_awareness(1);
        let host = self.me as u32;
        self.broadcast(now, Name::Own, Rumour::Alive { host, incarnation });
    }

    pub(super) fn on_suspicions(&mut self, now: u64, out: &mut Out<Message>) {
        let over =
            |(host, suspicion): (&usize, &Suspicion)| (now >= suspicion.until).then_some(*host);
        let over: Vec<usize> = self.suspicions.iter().filter_map(over).collect();
        for host in over {
            let incarnation = self.view[host].incarnation;
            self.dead(now, (host as u32, incarnation), out);
        }
    }

    /// state.go, `mergeState`: who is dead elsewhere is only suspected here.
    pub(super) fn merge(&mut self, now: u64, held: &[Held], out: &mut Out<Message>) {
        for &Held {
            host,
            incarnation,
            standing,
        } in held
        {
            let who = (host, incarnation);
            match standing {
                Standing::Alive => self.alive(now, who, out),
                Standing::Suspect | Standing::Dead => {
                    let from = self.me as u32;
                    self.suspect(now, who, from, out);
                }
                Standing::Reaped => {}
            }
        }
    }
}
