//! Whatever dies and whatever is lost, a receiver that knows a message by its key is told of an alert's begin once, and of its end
//! once: there may be copies of a message, all with one key. As of [`super::alert_kept`], nothing is claimed once time was set back.

use std::collections::BTreeSet;

/// The keys of the messages that told of one thing.
pub fn check(name: &str, keys: &BTreeSet<String>) -> Result<(), String> {
    if keys.len() <= 1 {
        return Ok(());
    }
    Err(format!("receivers are told once: of {name} by messages with different keys, {keys:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_key_is_noticed() {
        let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        assert!(check("g", &keys(&["a"])).is_ok());
        assert!(check("g", &keys(&["a", "b"])).is_err());
    }
}
