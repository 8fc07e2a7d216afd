//! Who may occupy the listener, and who makes room.
//!
//! A party (a source address, a node) holds a bounded number of places, and all parties together do. When a bound is
//! reached the newcomer gets in and the oldest place of the party that holds most is taken away: a flood of silent
//! connections pushes out itself, and an honest peer that is done in milliseconds is hardly ever the oldest.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Places for parties of kind `K`. Clones are handles to the same places.
pub(crate) struct Slots<K: Hash + Eq + Clone> {
    shared: Arc<Mutex<Shared<K>>>,
}

struct Shared<K> {
    each: usize,
    all: usize,
    held: HashMap<K, VecDeque<(u64, Arc<Notify>)>>,
    count: usize,
    next: u64,
}

/// A place. It is given back when this value is dropped.
pub(crate) struct Slot<K: Hash + Eq + Clone> {
    slots: Slots<K>,
    party: K,
    number: u64,
    evicted: Arc<Notify>,
}

impl<K: Hash + Eq + Clone> Slots<K> {
    /// At most `each` places for a party and `all` in all; both at least 1.
    pub(crate) fn new(each: usize, all: usize) -> Slots<K> {
        assert!(each > 0 && all > 0);
        let shared = Shared { each, all, held: HashMap::new(), count: 0, next: 0 };
        Slots { shared: Arc::new(Mutex::new(shared)) }
    }

    /// A place for `party`, at somebody's expense if need be.
    pub(crate) fn enter(&self, party: K) -> Slot<K> {
        let mut shared = self.lock();
        if shared.held.get(&party).is_some_and(|held| held.len() >= shared.each) {
            shared.evict(&party);
        } else if shared.count >= shared.all {
            let oldest = |held: &VecDeque<(u64, Arc<Notify>)>| held.front().map_or(u64::MAX, |(number, _)| *number);
            let most = shared.held.iter().max_by_key(|(_, held)| (held.len(), std::cmp::Reverse(oldest(held))));
            if let Some(most) = most.map(|(party, _)| party.clone()) {
                shared.evict(&most);
            }
        }
        let (number, evicted) = (shared.next, Arc::new(Notify::new()));
        shared.next += 1;
        shared.count += 1;
        shared.held.entry(party.clone()).or_default().push_back((number, evicted.clone()));
        drop(shared);
        Slot { slots: self.clone(), party, number, evicted }
    }

    /// Takes all places away.
    pub(crate) fn clear(&self) {
        let mut shared = self.lock();
        shared.held.drain().flat_map(|(_, held)| held).for_each(|(_, evicted)| evicted.notify_one());
        shared.count = 0;
    }

    /// How many places are held.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.lock().count
    }

    fn lock(&self) -> MutexGuard<'_, Shared<K>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq> Shared<K> {
    /// Takes the party's oldest place away.
    fn evict(&mut self, party: &K) {
        let Some(held) = self.held.get_mut(party) else { return };
        if let Some((_, evicted)) = held.pop_front() {
            self.count -= 1;
            evicted.notify_one();
        }
        if held.is_empty() {
            self.held.remove(party);
        }
    }
}

impl<K: Hash + Eq + Clone> Clone for Slots<K> {
    fn clone(&self) -> Self {
        Slots { shared: self.shared.clone() }
    }
}

impl<K: Hash + Eq + Clone> Slot<K> {
    /// Returns when the place has been taken away.
    pub(crate) async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl<K: Hash + Eq + Clone> Drop for Slot<K> {
    fn drop(&mut self) {
        let mut shared = self.slots.lock();
        let Some(held) = shared.held.get_mut(&self.party) else { return };
        let before = held.len();
        held.retain(|(number, _)| *number != self.number);
        let given_back = before - held.len();
        if held.is_empty() {
            shared.held.remove(&self.party);
        }
        shared.count -= given_back;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn gone<K: Hash + Eq + Clone>(slot: &Slot<K>) -> bool {
        slot.evicted().now_or_never().is_some()
    }

    #[test]
    fn a_full_party_loses_its_oldest_place() {
        let slots = Slots::new(2, 10);
        let first = slots.enter("a");
        let second = slots.enter("a");
        let other = slots.enter("b");
        let third = slots.enter("a");
        assert!(gone(&first) && !gone(&second) && !gone(&third) && !gone(&other));
        assert_eq!(slots.count(), 3);
        drop(first);
        assert_eq!(slots.count(), 3);
    }

    #[test]
    fn where_all_is_full_the_largest_party_makes_room() {
        let slots = Slots::new(3, 4);
        let honest = slots.enter("honest");
        let flood: Vec<_> = (0..3).map(|_| slots.enter("flood")).collect();
        let newcomer = slots.enter("newcomer");
        assert!(!gone(&honest) && gone(&flood[0]) && !gone(&flood[1]) && !gone(&newcomer));
        assert_eq!(slots.count(), 4);
    }

    #[test]
    fn all_places_can_be_taken_away() {
        let slots = Slots::new(2, 2);
        let (first, second) = (slots.enter(1), slots.enter(2));
        slots.clear();
        assert!(gone(&first) && gone(&second) && slots.count() == 0);
        let third = slots.enter(1);
        drop((first, second));
        assert!(!gone(&third) && slots.count() == 1);
    }

    #[test]
    fn what_is_given_back_is_free_again() {
        let slots = Slots::new(2, 2);
        drop((slots.enter(1), slots.enter(2)));
        assert_eq!(slots.count(), 0);
        assert!(slots.lock().held.is_empty());
    }
}
