//! A run as a file: what a seed drew, written down so that it can be replayed when draws have changed, and cut short.
//!
//! What nodes and clients draw while the run goes on still comes from the seed, from a stream for each of them: an event that
//! is taken out shifts nobody's draws. The delays of messages are drawn as messages are sent, so they do change.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::options::{NODES_MAX, Options};
use super::schedule::{self, Event, Kind};

/// In a run that is not over after an hour nodes trust their clocks, and drop what is old also when all should be at rest.
const LEAPS_WITHIN: Duration = Duration::from_secs(600);

/// See the module.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Case {
    /// What it shows, for people.
    pub note: String,
    /// A bug that it catches when it is planted, by name: without one it shows only that something is well now.
    pub catches: Option<String>,
    /// What is decided beforehand.
    pub options: Options,
    /// What goes wrong, and when.
    pub schedule: Vec<Event>,
}

impl Case {
    /// What a seed draws for so many nodes.
    pub fn of(seed: u64, nodes: usize) -> Case {
        Case::lasting(seed, nodes, None)
    }

    /// The same, where things go wrong for so long, if that is said.
    pub fn lasting(seed: u64, nodes: usize, chaos: Option<Duration>) -> Case {
        let drawn = Options::of(seed, nodes);
        let mut options = Options { chaos: chaos.unwrap_or(drawn.chaos), ..drawn };
        if options.chaos > LEAPS_WITHIN {
            options.kinds.remove(&Kind::Leap);
        }
        Case { note: String::new(), catches: None, schedule: schedule::draw(&options), options }
    }

    /// As JSON, an event to a line.
    pub fn to_json(&self) -> String {
        let plain = "strings, numbers and lists have JSON";
        let note = serde_json::to_string(&self.note).expect(plain);
        let options = serde_json::to_string_pretty(&self.options).expect(plain).replace('\n', "\n  ");
        let events = self.schedule.iter().map(|event| serde_json::to_string(event).expect(plain));
        let events = events.collect::<Vec<_>>().join(",\n    ");
        let catches = serde_json::to_string(&self.catches).expect(plain);
        format!(
            "{{\n  \"note\": {note},\n  \"catches\": {catches},\n  \"options\": {options},\n  \"schedule\": [\n    {events}\n  ]\n}}\n"
        )
    }

    /// Reads JSON back. Options that it does not have, because they are newer, are those of its seed.
    pub fn of_json(text: &str) -> Result<Case, String> {
        let json: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let number = |name: &str| json["options"][name].as_u64().ok_or_else(|| format!("options: no number {name:?}"));
        let (seed, nodes) = (number("seed")?, number("nodes")?);
        if !(1..=NODES_MAX as u64).contains(&nodes) {
            return Err(format!("options: {nodes} nodes, not 1 to {NODES_MAX}"));
        }
        let drawn = Options::of(seed, nodes as usize);
        let mut options = serde_json::to_value(drawn).map_err(|error| error.to_string())?;
        overlay(&mut options, &json["options"])?;
        let options: Options = serde_json::from_value(options).map_err(|error| format!("options: {error}"))?;
        if options.clocks.len() != options.nodes {
            return Err(format!("options: {} clocks for {} nodes", options.clocks.len(), options.nodes));
        }
        let schedule =
            serde_json::from_value(json["schedule"].clone()).map_err(|error| format!("schedule: {error}"))?;
        let text = |name: &str| json[name].as_str().map(str::to_owned);
        Ok(Case { note: text("note").unwrap_or_default(), catches: text("catches"), options, schedule })
    }
}

/// Puts what is given in the place of what is known.
fn overlay(known: &mut Value, given: &Value) -> Result<(), String> {
    let (Value::Object(known), Value::Object(given)) = (&mut *known, given) else {
        *known = given.clone();
        return Ok(());
    };
    for (name, value) in given {
        overlay(known.get_mut(name).ok_or_else(|| format!("options: nothing is called {name:?}"))?, value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_travels() {
        for seed in 0..20_u64 {
            let catches = seed.is_multiple_of(2).then(|| "stale-read".to_owned());
            let case = Case { note: "it \"broke\"".to_owned(), catches, ..Case::of(seed, 3 + seed as usize % 3) };
            assert_eq!(Case::of_json(&case.to_json()), Ok(case));
        }
    }

    #[test]
    fn an_option_that_is_newer_than_a_case_is_that_of_its_seed() {
        let mut case = Case::of(7, 3);
        let mut json: Value = serde_json::from_str(&case.to_json()).unwrap();
        json["options"].as_object_mut().unwrap().remove("readers");
        json["options"]["workload"].as_object_mut().unwrap().remove("tenants");
        json["options"]["writers"] = 9.into();
        case.options.writers = 9;
        assert_eq!(Case::of_json(&json.to_string()), Ok(case));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let json = Case::of(7, 3).to_json();
        assert!(Case::of_json(&json[..json.len() / 2]).is_err());
        assert!(Case::of_json(&json.replace("\"nodes\": 3", "\"nodes\": 4")).unwrap_err().contains("clocks"));
        assert!(Case::of_json(&json.replace("\"writers\"", "\"riders\"")).unwrap_err().contains("riders"));
    }
}
