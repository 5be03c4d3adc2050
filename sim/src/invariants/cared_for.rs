//! Once somebody takes care of an alert nobody else is woken for it: no step of an escalation is made any more. What was made before may
//! still be on its way.

use std::time::Duration;

/// Nothing is on its way for longer, whatever goes wrong meanwhile.
const ON_ITS_WAY_MAX: Duration = Duration::from_secs(120);

/// The first message of a step came at this time; since the other one somebody takes care.
pub fn check(name: &str, since: Duration, told: Duration) -> Result<(), String> {
    if told <= since + ON_ITS_WAY_MAX {
        return Ok(());
    }
    Err(format!(
        "who takes care is enough: of {name} somebody else is told at {told:?}, which is taken care of since {since:?}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_is_made_all_the_same_is_noticed() {
        let at = Duration::from_secs;
        assert!(check("g", at(10), at(40)).is_ok());
        assert!(check("g", at(10), at(140)).is_err());
    }
}
