//! Once nothing is under way any more, people know of an alert what is so: the last spell of which they were told has not ended if the
//! alert fires, and has ended if it does not. A spell may pass by unheard, and one that began again before anybody looked goes on.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::alerts::changing::Told;

/// `firing` are the alerts that fire.
pub fn check(firing: &BTreeSet<String>, told: &Told) -> Result<(), String> {
    // The last spell of an alert overwrites those before it.
    let known: BTreeMap<&String, bool> = told.iter().map(|((alert, _), [_, ends])| (alert, ends.is_empty())).collect();
    if let Some(alert) = firing.iter().find(|alert| known.get(alert) != Some(&true)) {
        return Err(format!("{alert} fires, and nobody knows: {told:?}"));
    }
    match known.iter().find(|(alert, fires)| **fires && !firing.contains(**alert)) {
        Some((alert, _)) => Err(format!("{alert} is over, and who knew that it fires does not know: {told:?}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_of(firing: &[&str], told: &[(&str, &str, bool)]) -> bool {
        let mut all = Told::new();
        for (alert, began, is_over) in told {
            let keys = &mut all.entry(((*alert).to_owned(), (*began).to_owned())).or_default()[usize::from(*is_over)];
            keys.insert("key".to_owned());
        }
        check(&firing.iter().map(|alert| (*alert).to_owned()).collect(), &all).is_ok()
    }

    #[test]
    fn an_end_or_a_begin_of_which_nobody_hears_is_noticed() {
        assert!(check_of(&[], &[]) && check_of(&["a"], &[("a", "1", false)]));
        assert!(!check_of(&["a"], &[]) && !check_of(&[], &[("a", "1", false)]));
        let ended = [("a", "1", false), ("a", "1", true)];
        assert!(check_of(&[], &ended) && !check_of(&["a"], &ended));
        assert!(!check_of(&["a", "b"], &[("a", "1", false)]));
    }

    #[test]
    fn the_last_spell_says_what_is_known_whenever_its_messages_come() {
        let began_again = [("a", "2", false), ("a", "1", true), ("a", "1", false)];
        assert!(check_of(&["a"], &began_again) && !check_of(&[], &began_again));
        assert!(check_of(&[], &[("a", "1", false), ("a", "2", true)]), "the second began before anybody looked");
    }
}
