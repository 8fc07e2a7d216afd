//! The replay window of one lane: a counter is taken once, and only if it is not too old (RFC 6479).
//!
//! Enters: counters. Leaves: whether one is new. Asked twice per datagram: [`Window::check`] before the tag is verified,
//! [`Window::commit`] after, so that a forged counter moves nothing.

const WORD_BITS: u64 = u64::BITS as u64;
/// One word more than the window, so that sliding clears whole words and no bit of the window (RFC 6479 section 3).
const WORDS: usize = 129;
/// How far behind the newest counter one may be: underlays reorder less than this by far.
pub const SIZE: u64 = (WORDS as u64 - 1) * WORD_BITS;

/// The window of one lane: about 1 KB.
#[derive(Clone, Debug)]
pub struct Window {
    /// The counter behind the newest one taken: all at or above are new.
    next: u64,
    /// A ring of words; bit `counter % 64` of word `counter / 64 % WORDS`.
    words: [u64; WORDS],
}

/// The counter was taken before, or is too old to tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the counter was seen before, or is older than the window")]
pub struct Replayed;

impl Default for Window {
    fn default() -> Self {
        Window { next: 0, words: [0; WORDS] }
    }
}

impl Window {
    /// Whether `counter` could be taken.
    ///
    /// # Errors
    /// [`Replayed`].
    #[inline]
    pub fn check(&self, counter: u64) -> Result<(), Replayed> {
        if counter >= self.next {
            // The last number of all cannot be behind `next`.
            return if counter == u64::MAX { Err(Replayed) } else { Ok(()) };
        }
        let (word, bit) = place(counter);
        if self.next - 1 - counter >= SIZE || self.words[word] & bit != 0 { Err(Replayed) } else { Ok(()) }
    }

    /// Takes `counter`, whose datagram was found to be genuine.
    ///
    /// # Errors
    /// [`Replayed`]; the window is as it was.
    #[inline]
    pub fn commit(&mut self, counter: u64) -> Result<(), Replayed> {
        self.check(counter)?;
        let (word, bit) = place(counter);
        if counter >= self.next {
            // Words between the newest one so far and this one are from a lap ago; after a whole lap, all are.
            let (newest, now) = (self.next.saturating_sub(1) / WORD_BITS, counter / WORD_BITS);
            for stale in (newest + 1..=now).take(WORDS) {
                self.words[(stale % WORDS as u64) as usize] = 0;
            }
            self.next = counter + 1;
        }
        self.words[word] |= bit;
        Ok(())
    }
}

#[inline]
fn place(counter: u64) -> (usize, u64) {
    ((counter / WORD_BITS % WORDS as u64) as usize, 1 << (counter % WORD_BITS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    /// The window as one would explain it: every counter taken so far, and the newest.
    #[derive(Default)]
    struct Model {
        taken: HashSet<u64>,
        newest: Option<u64>,
    }

    impl Model {
        fn commit(&mut self, counter: u64) -> Result<(), Replayed> {
            let too_old = self.newest.is_some_and(|newest| newest.saturating_sub(counter) >= SIZE);
            if too_old || counter == u64::MAX || !self.taken.insert(counter) {
                return Err(Replayed);
            }
            self.newest = self.newest.max(Some(counter));
            Ok(())
        }
    }

    #[test]
    fn the_window_is_as_large_as_promised() {
        const { assert!(SIZE >= 8192) };
        let mut window = Window::default();
        window.commit(SIZE + 4).unwrap();
        assert_eq!(window.check(4), Err(Replayed), "just too old");
        assert_eq!(window.commit(5), Ok(()), "just inside");
        assert_eq!(window.commit(5), Err(Replayed));
    }

    #[test]
    fn a_check_moves_nothing() {
        let mut window = Window::default();
        window.commit(7).unwrap();
        window.check(1 << 40).unwrap();
        assert_eq!((window.commit(7), window.commit(6)), (Err(Replayed), Ok(())));
    }

    #[test]
    fn the_ends_of_the_numbers_hold() {
        let mut window = Window::default();
        assert_eq!(window.commit(0), Ok(()));
        assert_eq!(window.commit(0), Err(Replayed));
        assert_eq!(window.commit(u64::MAX), Err(Replayed), "no number is behind it");
        assert_eq!(window.commit(u64::MAX - 1), Ok(()));
        assert_eq!(window.commit(u64::MAX - 1), Err(Replayed));
        assert_eq!(window.commit(u64::MAX - SIZE), Ok(()));
        assert_eq!(window.commit(u64::MAX - 1 - SIZE), Err(Replayed));
    }

    /// Mostly near the newest so far, sometimes a window or a lap away.
    fn step() -> impl Strategy<Value = i64> {
        let size = SIZE as i64;
        prop_oneof![
            8 => -70_i64..70,
            2 => -size - 3..size + 3,
            1 => Just(-size),
            1 => Just(1 - size),
            1 => size..4 * size,
            1 => Just(1 << 40),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
        /// Whatever the order, window and model take and refuse the same.
        #[test]
        fn agrees_with_the_model(start in prop_oneof![Just(0_u64), any::<u64>()], steps in prop::collection::vec(step(), 1..400)) {
            let (mut window, mut model, mut newest) = (Window::default(), Model::default(), start);
            for step in steps {
                let counter = newest.saturating_add_signed(step);
                let expected = model.commit(counter);
                prop_assert_eq!(window.check(counter), expected, "check of {}", counter);
                prop_assert_eq!(window.commit(counter), expected, "commit of {}", counter);
                newest = newest.max(counter);
            }
        }
    }
}
