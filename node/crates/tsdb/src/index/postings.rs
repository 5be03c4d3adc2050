//! Sorted lists of series refs and the operations between them.

/// The intersection of two ascending lists; fast when one is much shorter.
pub fn intersect(a: &[u32], b: &[u32]) -> Vec<u32> {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let mut out = Vec::with_capacity(short.len());
    let mut rest = long;
    for &wanted in short {
        let skip = gallop(rest, wanted);
        rest = &rest[skip..];
        match rest.first() {
            Some(&found) if found == wanted => out.push(wanted),
            Some(_) => {}
            None => break,
        }
    }
    out
}

/// How many leading elements of an ascending list are below `bound`.
fn gallop(list: &[u32], bound: u32) -> usize {
    let mut step = 1;
    while step < list.len() && list[step] < bound {
        step *= 2;
    }
    let low = step / 2;
    low + list[low..list.len().min(step + 1)].partition_point(|&found| found < bound)
}

/// The union of ascending lists that have no element in common.
pub fn union_of_disjoint<'a>(lists: impl Iterator<Item = &'a [u32]>) -> Vec<u32> {
    let mut out = Vec::new();
    let mut count = 0;
    for list in lists {
        out.extend_from_slice(list);
        count += 1;
    }
    if count > 1 {
        // The stable sort finds and merges the ascending stretches.
        out.sort();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn intersection_agrees_with_sets(
            a in proptest::collection::btree_set(0u32..200, 0..50),
            b in proptest::collection::btree_set(0u32..200, 0..150),
        ) {
            let lists: [Vec<u32>; 2] = [a.iter().copied().collect(), b.iter().copied().collect()];
            let expected: Vec<u32> = a.intersection(&b).copied().collect();
            prop_assert_eq!(intersect(&lists[0], &lists[1]), expected.clone());
            prop_assert_eq!(intersect(&lists[1], &lists[0]), expected);
        }

        #[test]
        fn union_agrees_with_sets(a in proptest::collection::btree_set(0u32..200, 0..50)) {
            let (even, odd): (Vec<u32>, Vec<u32>) = a.iter().partition(|x| **x % 2 == 0);
            let expected: BTreeSet<u32> = a;
            let union = union_of_disjoint([even.as_slice(), odd.as_slice()].into_iter());
            prop_assert_eq!(union, expected.into_iter().collect::<Vec<_>>());
        }
    }
}
