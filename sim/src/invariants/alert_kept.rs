//! Since when an alert is active survives every failover: what `for` counts from is the same for as long as the alert is there. Nothing
//! is claimed once the time of an alert group was set back, since rules may then not find what they have recorded for later.

/// `known` is what the first node said that told it.
pub fn check(name: &str, known: &str, said: &str) -> Result<(), String> {
    if known == said {
        return Ok(());
    }
    Err(format!("timers of alerts survive: the alert of {name} was active since {known}, and is now since {said}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_timer_that_begins_anew_is_noticed() {
        assert!(super::check("g", "1", "1").is_ok());
        assert!(super::check("g", "1", "2").is_err());
    }
}
