//! How large a datagram one path carries, both ways (RFC 8899 without its timers).
//!
//! Enters: the size that the networks need, and which of the sizes asked for were answered. Leaves: the sizes to ask for
//! in the next round, and in the end the largest that came through. An answer is as large as its question, so a path
//! that is narrower on its way back counts as narrow. Each round asks for a small size too: a path that carries nothing
//! at all is not called narrow.

use arrayvec::ArrayVec;

/// Rounds in which the needed size is asked for before it counts as too large. An answered one ends it at once.
const TRIES: u8 = 3;
/// Sizes between two bounds that one round of the search asks for: four rounds find one of 1,500.
const SPREAD: u16 = 8;
/// Searches of one probe: where more are wanted the path loses so much that no figure is better than another.
const SEARCHES: u8 = 3;

/// The sizes of one round.
pub type Sizes = ArrayVec<u16, { SPREAD as usize + 1 }>;

/// What a round came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// There is another round.
    On,
    /// Nothing was answered: no word about sizes.
    Silent,
    /// The largest that comes through: what is needed, or less.
    Found(u16),
}

/// One probe of one path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Search {
    small: u16,
    needed: u16,
    /// What was found before.
    known: Option<u16>,
    state: State,
    searches: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Whether the needed size comes through, for the n-th time.
    Asking(u8),
    /// The largest that comes through is at least the first, and less than the second.
    Between(u16, u16),
}

impl Search {
    /// A probe for `needed` bytes; `small` is the least size of an echo, `known` what an earlier probe has found.
    pub fn new(small: u16, needed: u16, known: Option<u16>) -> Search {
        let known = known.filter(|known| *known < needed);
        Search { small, needed, known, state: State::Asking(0), searches: 0 }
    }

    /// What it is for.
    pub fn needed(&self) -> u16 {
        self.needed
    }

    /// The sizes to ask for now, in rising order.
    pub fn sizes(&self) -> Sizes {
        let mut sizes = Sizes::new();
        sizes.push(self.small);
        match self.state {
            // One more than what is known: a path that has become a little wider, or was found too narrow by bad luck.
            State::Asking(_) => sizes.extend(self.known.into_iter().flat_map(|known| [known, known + 1])),
            State::Between(low, high) => {
                let gap = u32::from(high - low);
                sizes.extend((1..=SPREAD).map(|n| low + (gap * u32::from(n) / (u32::from(SPREAD) + 1)) as u16));
            }
        }
        if matches!(self.state, State::Asking(_)) {
            sizes.push(self.needed);
        }
        let mut last = 0;
        sizes.retain(|size| std::mem::replace(&mut last, *size) < *size);
        sizes
    }

    /// A round is over: `passed` is the largest of its sizes that was answered.
    pub fn round(&mut self, passed: Option<u16>) -> Outcome {
        let Some(passed) = passed else { return Outcome::Silent };
        if passed >= self.needed {
            return Outcome::Found(self.needed);
        }
        match self.state {
            State::Asking(tries) if tries + 1 < TRIES && self.known.is_none_or(|known| passed <= known) => {
                self.state = State::Asking(tries + 1);
                Outcome::On
            }
            State::Asking(_) if self.known == Some(passed) || self.searches == SEARCHES => Outcome::Found(passed),
            State::Asking(_) => {
                self.searches += 1;
                self.between(passed, self.needed)
            }
            State::Between(low, high) => {
                let above = self.sizes().into_iter().find(|size| *size > passed.max(low));
                self.between(passed.max(low), above.unwrap_or(high))
            }
        }
    }

    /// Goes on between two bounds, or asks once more for what was found.
    fn between(&mut self, low: u16, high: u16) -> Outcome {
        self.state = if high - low > 1 {
            State::Between(low, high)
        } else {
            self.known = Some(low);
            State::Asking(TRIES - 1)
        };
        Outcome::On
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SMALL: u16 = 76;

    /// Rounds until the outcome, on a path that carries `path` and loses what `lost` says.
    fn probe(needed: u16, known: Option<u16>, path: u16, mut lost: impl FnMut(u16) -> bool) -> (u32, Outcome) {
        let mut search = Search::new(SMALL, needed, known);
        for round in 1..=100 {
            let passed = search.sizes().into_iter().filter(|size| *size <= path && !lost(*size)).max();
            match search.round(passed) {
                Outcome::On => {}
                outcome => return (round, outcome),
            }
        }
        panic!("no end: {search:?}")
    }

    #[test]
    fn a_path_that_carries_what_is_needed_takes_one_round() {
        assert_eq!(probe(1500, None, 1500, |_| false), (1, Outcome::Found(1500)));
        assert_eq!(probe(1500, Some(1400), 9000, |_| false), (1, Outcome::Found(1500)));
    }

    #[test]
    fn a_narrow_path_is_measured_to_the_byte() {
        for path in SMALL..1500 {
            let (rounds, outcome) = probe(1500, None, path, |_| false);
            assert_eq!(outcome, Outcome::Found(path));
            assert!(rounds <= 8, "{rounds} rounds for {path}");
        }
        assert_eq!(probe(9000, None, 1500, |_| false), (9, Outcome::Found(1500)));
    }

    #[test]
    fn what_is_known_is_confirmed_and_what_changed_is_found() {
        assert_eq!(probe(1500, Some(1400), 1400, |_| false), (3, Outcome::Found(1400)));
        for path in [1399, 1401, 1300, 1450] {
            assert_eq!(probe(1500, Some(1400), path, |_| false).1, Outcome::Found(path));
        }
    }

    #[test]
    fn a_path_that_carries_nothing_is_not_called_narrow() {
        assert_eq!(probe(1500, None, 0, |_| false), (1, Outcome::Silent));
        assert_eq!(probe(1500, Some(1400), SMALL - 1, |_| false), (1, Outcome::Silent));
    }

    #[test]
    fn two_lost_rounds_do_not_make_a_path_narrow() {
        let mut asked = 0;
        let lost = |size| {
            asked += u32::from(size == 1500);
            size == 1500 && asked <= 2
        };
        assert_eq!(probe(1500, None, 1500, lost), (3, Outcome::Found(1500)));
    }

    proptest! {
        /// Whatever is lost: it ends, and never finds more than the path carries.
        #[test]
        fn it_ends(needed in 1280u16..9200, known in proptest::option::of(SMALL..9200), path in 0u16..9200, seed: u64) {
            let mut random = seed | 1;
            let lost = |_| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                random >> 62 == 0
            };
            let (rounds, outcome) = probe(needed, known, path, lost);
            prop_assert!(rounds <= 60, "{} rounds", rounds);
            if let Outcome::Found(mtu) = outcome {
                prop_assert!(mtu <= path && mtu <= needed);
            }
        }
    }
}
