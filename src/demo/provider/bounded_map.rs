//! A small map with a bound: when it is full, the oldest entry makes room. Pure.

use std::collections::VecDeque;

/// At most [`CAPACITY`] values by name. Looking one up walks all of them, which is as fast as a demo
/// needs and keeps the order of arrival for free.
pub(super) struct BoundedMap<Value>(VecDeque<(String, Value)>);

impl<Value> BoundedMap<Value> {
    pub(super) const fn new() -> Self {
        Self(VecDeque::new())
    }

    /// Adds a value under a name that was not there before.
    pub(super) fn insert(&mut self, name: String, value: Value) {
        if self.0.len() == CAPACITY {
            self.0.pop_front();
        }
        self.0.push_back((name, value));
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        self.0
            .iter_mut()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    /// Keeps what `wanted` says.
    pub(super) fn retain(&mut self, mut wanted: impl FnMut(&Value) -> bool) {
        self.0.retain(|(_, value)| wanted(value));
    }
}

const CAPACITY: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_room() {
        let mut bounded_map = BoundedMap::new();
        for number in 0..=CAPACITY {
            bounded_map.insert(number.to_string(), number);
        }
        assert_eq!(bounded_map.get("0"), None);
        assert_eq!(bounded_map.get("1"), Some(&1));
        bounded_map.remove("1");
        assert_eq!(bounded_map.get("1"), None);
        assert_eq!(bounded_map.0.len(), CAPACITY - 1);
    }
}
