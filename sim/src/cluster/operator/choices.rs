//! Settings that operators chose, and which process acknowledged it.

use std::collections::BTreeMap;

use bellwether_server::meta::settings::SettingKey;

use crate::invariants::chosen;

/// Counts what is begun and what is acknowledged.
pub type Moment = u64;

/// A machine, and which of its processes.
pub type Process = (usize, u64);

/// A value that somebody chose, or the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The value.
    pub value: u64,
    /// When it was asked for.
    pub begun: Moment,
    /// When it was acknowledged.
    pub acknowledged: Option<Moment>,
    /// Whether an attempt of it may still be under way after that.
    pub may_come_again: bool,
    /// Who acknowledged it, if that is known.
    pub by: Option<Process>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Choices {
    moment: Moment,
    of: BTreeMap<SettingKey, Vec<Choice>>,
}

impl Choices {
    /// Somebody is about to choose a value, or the default: from now on it may hold. Gives its number among those of the setting.
    pub fn begin(&mut self, key: SettingKey, value: Option<u64>) -> usize {
        self.moment += 1;
        let default = key.info().default;
        let open = |value, begun| Choice { value, begun, acknowledged: None, may_come_again: true, by: None };
        let of_key = self
            .of
            .entry(key)
            .or_insert_with(|| vec![Choice { acknowledged: Some(0), may_come_again: false, ..open(default, 0) }]);
        of_key.push(open(value.unwrap_or(default), self.moment));
        of_key.len() - 1
    }

    /// A choice holds, or a later one does.
    pub fn acknowledge(&mut self, key: SettingKey, number: usize, by: Option<Process>, may_come_again: bool) {
        self.moment += 1;
        if let Some(choice) = self.of.get_mut(&key).and_then(|of_key| of_key.get_mut(number)) {
            *choice = Choice { acknowledged: Some(self.moment), may_come_again, by, ..choice.clone() };
        }
    }

    /// Now.
    pub fn moment(&self) -> Moment {
        self.moment
    }

    /// Judges what a process showed, or anybody, who was asked at a moment.
    pub fn shown(&self, key: SettingKey, value: u64, by: Option<Process>, asked: Moment) -> Result<(), String> {
        let Some(choices) = self.of.get(&key) else { return Ok(()) };
        let is_known = |choice: &Choice| choice.by.is_some() && choice.by == by;
        chosen::check(key.info(), choices, value, |choice| is_known(choice) && choice.acknowledged <= Some(asked))
    }

    /// Judges what holds once nothing is under way.
    pub fn holds(&self, value_of: impl Fn(SettingKey) -> u64) -> Result<(), String> {
        self.of.iter().try_for_each(|(key, choices)| chosen::check(key.info(), choices, value_of(*key), |_| true))
    }
}
