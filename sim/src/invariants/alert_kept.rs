//! Since when an alert is active survives every failover: what `for` counts from is the same for as long as the alert is there. Where
//! clocks are wrong it may be earlier than was said before, as the time of an alert group is set back with its leader's clock; that
//! it begins anew is never right.

use std::collections::BTreeSet;

/// `known` is what nodes have said, which need not have heard of the latest; it takes what one says now.
pub fn check(name: &str, known: &mut BTreeSet<String>, said: &str, may_be_set_back: bool) -> Result<(), String> {
    let is_right = known.contains(said) || known.first().is_none_or(|first| may_be_set_back && said < first.as_str());
    if is_right {
        known.insert(said.to_owned());
        return Ok(());
    }
    Err(format!("timers of alerts survive: the alert of {name} was active since {known:?}, and is now since {said}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_that_begins_anew_is_noticed() {
        let known = &mut BTreeSet::new();
        assert!(check("g", known, "5", false).is_ok());
        assert!(check("g", known, "5", false).is_ok());
        assert!(check("g", known, "6", true).is_err());
        assert!(check("g", known, "3", false).is_err());
        assert!(check("g", known, "3", true).is_ok(), "the time is set back");
        assert!(check("g", known, "5", true).is_ok(), "a node has not heard of it");
        assert!(check("g", known, "4", true).is_err());
    }
}
