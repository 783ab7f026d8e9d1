//! The network between the hosts: delay, loss, repetition, cuts in one or both directions, sides.

use holdfast_core::rng::Rng;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const PORT: u16 = 7946;
const NET: u8 = 10;

/// How the whole network behaves; cuts between pairs come on top.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub delay_min_us: u64,
    /// Mean of the exponential tail on top of the minimum.
    pub delay_tail_us: u64,
    pub loss_ppm: u64,
    pub duplicate_ppm: u64,
    /// Datagrams that get a further delay of up to `reorder_us`.
    pub reorder_ppm: u64,
    pub reorder_us: u64,
}

impl Weather {
    pub const FAIR: Self = Self {
        delay_min_us: 150,
        delay_tail_us: 150,
        loss_ppm: 0,
        duplicate_ppm: 0,
        reorder_ppm: 0,
        reorder_us: 0,
    };
}

#[derive(Debug)]
pub struct Network {
    hosts: usize,
    pub weather: Weather,
    /// Of all that this host sends or is sent, so much is lost on top.
    lossy_ppm: Vec<u64>,
    /// Larger datagrams from and to this host are lost.
    datagram_bytes_max: Vec<usize>,
    /// How many faults cut this direction at the moment, by `from * hosts + to`.
    cuts: Vec<u8>,
    /// All of them together; zero spares the look-up.
    cuts_total: u32,
    /// How often the pair's streams were broken by a cut, for either direction.
    breaks: Vec<u16>,
    /// How often the machine at each place was given a new address.
    moved: Vec<u8>,
    /// When the last message of the stream arrives: the next one may not overtake it.
    stream_at: Vec<u64>,
    rng: Rng,
}

/// When a message arrives, and when again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrivals {
    pub first: u64,
    pub again: Option<u64>,
}

impl Network {
    pub fn new(hosts: usize, seed: u64) -> Self {
        Self {
            hosts,
            weather: Weather::FAIR,
            lossy_ppm: vec![0; hosts],
            datagram_bytes_max: vec![usize::MAX; hosts],
            cuts: vec![0; hosts * hosts],
            cuts_total: 0,
            breaks: vec![0; hosts * hosts],
            moved: vec![0; hosts],
            stream_at: vec![0; hosts * hosts],
            rng: Rng::new(seed),
        }
    }

    /// The address of the machine at this place; a host that returns as a new one has it again.
    pub fn address(&self, place: usize) -> SocketAddr {
        address(NET + self.moved.get(place).copied().unwrap_or(0), place)
    }

    /// Where a machine is as long as it was not moved.
    pub fn first_address(place: usize) -> SocketAddr {
        address(NET, place)
    }

    /// The machine gets another address; nobody is at the one it had.
    pub fn move_host(&mut self, place: usize) {
        self.moved[place] += 1;
    }

    pub fn place(&self, address: SocketAddr) -> Option<usize> {
        let IpAddr::V4(ip) = address.ip() else {
            return None;
        };
        let [net, a, b, c] = ip.octets();
        let place = (u32::from_be_bytes([0, a, b, c]) as usize).checked_sub(1)?;
        let moved = NET + self.moved.get(place)?;
        (net == moved && address.port() == PORT).then_some(place)
    }

    pub fn datagram(
        &mut self,
        now: u64,
        (from, to): (usize, usize),
        bytes: impl FnOnce() -> usize,
    ) -> Option<Arrivals> {
        let Weather {
            loss_ppm,
            duplicate_ppm,
            ..
        } = self.weather;
        if !self.is_open(from, to) || (loss_ppm > 0 && self.rng.chance_ppm(loss_ppm)) {
            return None;
        }
        let lossy_ppm = self.lossy_ppm[from].max(self.lossy_ppm[to]);
        if lossy_ppm > 0 && self.rng.chance_ppm(lossy_ppm) {
            return None;
        }
        let bytes_max = self.datagram_bytes_max[from].min(self.datagram_bytes_max[to]);
        if bytes_max < usize::MAX && bytes() > bytes_max {
            return None;
        }
        let first = now + self.delay();
        let again = duplicate_ppm > 0 && self.rng.chance_ppm(duplicate_ppm);
        Some(Arrivals {
            first,
            again: again.then(|| now + self.delay()),
        })
    }

    /// A stream needs both directions, for its acknowledgements; loss only delays it.
    pub fn stream(&mut self, now: u64, from: usize, to: usize) -> Option<Arrivals> {
        if !self.is_open(from, to) || !self.is_open(to, from) {
            return None;
        }
        let mut at = now + 2 * self.delay();
        while self.weather.loss_ppm > 0 && self.rng.chance_ppm(self.weather.loss_ppm) {
            at += 200_000;
        }
        let last = &mut self.stream_at[from * self.hosts + to];
        at = at.max(*last + 1);
        *last = at;
        Some(Arrivals {
            first: at,
            again: None,
        })
    }

    fn delay(&mut self) -> u64 {
        let Weather {
            delay_min_us,
            delay_tail_us,
            reorder_ppm,
            reorder_us,
            ..
        } = self.weather;
        let mut delay = delay_min_us + exponential(&mut self.rng, delay_tail_us);
        if reorder_ppm > 0 && self.rng.chance_ppm(reorder_ppm) {
            delay += self.rng.below(reorder_us + 1);
        }
        delay
    }

    pub fn is_open(&self, from: usize, to: usize) -> bool {
        self.cuts_total == 0 || self.cuts[from * self.hosts + to] == 0
    }

    /// Streams of the pair that were open before this number grew are broken.
    pub fn breaks(&self, from: usize, to: usize) -> u16 {
        self.breaks[from.min(to) * self.hosts + from.max(to)]
    }

    pub fn cut(&mut self, from: usize, to: usize) {
        self.cuts[from * self.hosts + to] += 1;
        self.cuts_total += 1;
        let pair = from.min(to) * self.hosts + from.max(to);
        self.breaks[pair] = self.breaks[pair].wrapping_add(1);
    }

    pub fn mend(&mut self, from: usize, to: usize) {
        let cut = &mut self.cuts[from * self.hosts + to];
        if *cut > 0 {
            *cut -= 1;
            self.cuts_total -= 1;
        }
    }

    /// Of the datagrams to and from this host, so many are lost.
    pub fn lose_around(&mut self, host: usize, ppm: u64) {
        self.lossy_ppm[host] = ppm;
    }

    /// Larger datagrams to and from this host are lost without a word, as where a tunnel is on the
    /// way and nobody says so.
    pub fn lose_large_around(&mut self, host: usize, bytes_max: usize) {
        self.datagram_bytes_max[host] = bytes_max;
    }

    pub fn mend_all(&mut self) {
        self.lossy_ppm.fill(0);
        self.datagram_bytes_max.fill(usize::MAX);
        self.cuts.fill(0);
        self.cuts_total = 0;
        self.weather = Weather::FAIR;
    }

    /// The connected sides: for each place the number of its side. Places are joined when news can
    /// pass between them in at least one direction, by whatever way.
    pub fn sides(&self) -> Vec<usize> {
        let mut side: Vec<_> = (0..self.hosts).collect();
        if self.cuts_total == 0 {
            side.fill(0);
            return side;
        }
        for a in 0..self.hosts {
            for b in a + 1..self.hosts {
                if side[a] != side[b] && (self.is_open(a, b) || self.is_open(b, a)) {
                    let (old, new) = (side[b].max(side[a]), side[b].min(side[a]));
                    side.iter_mut()
                        .filter(|s| **s == old)
                        .for_each(|s| *s = new);
                }
            }
        }
        side
    }

    /// Whoever is on one side reaches everyone on it, both ways: only then does "on each connected
    /// side" mean one thing.
    pub fn is_cleanly_split(&self) -> bool {
        if self.lossy_ppm.iter().any(|ppm| *ppm > 0) {
            return false;
        }
        if self.cuts_total == 0 {
            return true;
        }
        let side = self.sides();
        let all = |a: usize| (0..self.hosts).all(|b| side[a] != side[b] || self.is_open(a, b));
        (0..self.hosts).all(all)
    }
}

/// A draw from an exponential distribution of this mean, by integers alone: the leading zeros of a
/// random word are geometric, the bits behind them even out the steps.
pub fn exponential(rng: &mut Rng, mean: u64) -> u64 {
    let word = rng.next_u64() | 1;
    let zeros = u64::from(word.leading_zeros());
    let rest = (word << zeros << 1) >> 48;
    let halvings = (zeros << 16) + (0x1_0000 - rest);
    // 45,426 is ln 2 in 1/65,536; the mean of `halvings` is 1.5 in these units, of ln it is 1.04.
    (u128::from(mean) * u128::from(halvings) * 45_426 / (1 << 32)) as u64
}

fn address(net: u8, place: usize) -> SocketAddr {
    let [_, a, b, c] = u32::try_from(place + 1)
        .expect("fewer hosts than addresses")
        .to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(net, a, b, c)), PORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_has_about_its_mean() {
        let mut rng = Rng::new(1);
        let mean = (0..10_000)
            .map(|_| exponential(&mut rng, 1_000))
            .sum::<u64>()
            / 10_000;
        assert!((950..1_130).contains(&mean), "{mean}");
    }

    #[test]
    fn addresses_lead_back_to_their_places() {
        let network = Network::new(300, 1);
        for place in [0, 1, 255, 256, 299] {
            assert_eq!(network.place(network.address(place)), Some(place));
        }
        assert_eq!(network.place(network.address(300)), None);
    }

    #[test]
    fn sides_are_what_news_can_pass_between() {
        let mut network = Network::new(4, 1);
        assert_eq!(network.sides(), [0, 0, 0, 0]);
        for (a, b) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
            network.cut(a, b);
            network.cut(b, a);
        }
        assert_eq!(network.sides(), [0, 0, 2, 2]);
        assert!(network.is_cleanly_split());
        network.mend(0, 2);
        assert_eq!(network.sides(), [0, 0, 0, 0]);
        assert!(!network.is_cleanly_split());
        assert_eq!(network.stream(0, 0, 2), None);
        assert!(network.datagram(0, (0, 2), || 1).is_some());
        assert_eq!(network.datagram(0, (2, 0), || 1), None);
    }

    #[test]
    fn a_stream_keeps_its_order_under_loss() {
        let mut network = Network::new(2, 1);
        network.weather.loss_ppm = 300_000;
        let mut last = 0;
        for now in 0..1_000 {
            let at = network.stream(now, 0, 1).expect("open").first;
            assert!(at > last);
            last = at;
        }
    }
}
