//! Sets and maps in order, made by inserting one item after the other.
//!
//! `collect` sorts its items first, and the code of a sort is 5 kB for each type: with a dozen types it was a fiftieth
//! of the program. What is collected here is short.

use std::collections::{BTreeMap, BTreeSet};

/// The items in order, each once.
pub fn set<T: Ord>(items: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    let mut set = BTreeSet::new();
    set.extend(items);
    set
}

/// The values by key. Of several with the same key, the last one counts.
pub fn map<K: Ord, V>(items: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    map.extend(items);
    map
}
