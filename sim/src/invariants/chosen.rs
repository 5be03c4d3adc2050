//! A setting is what somebody chose: the process that acknowledged a choice shows that or a later one for as long as it runs, and
//! so does everybody once nothing is under way. Others may be late.

use bellwether_server::meta::settings::SettingInfo;

use crate::cluster::operator::Choice;

/// Says what is wrong with a value that was shown by somebody who must know of the acknowledged choices that `is_known` names.
pub fn check(
    info: &SettingInfo,
    choices: &[Choice],
    shown: u64,
    is_known: impl Fn(&Choice) -> bool,
) -> Result<(), String> {
    let known = choices.iter().filter(|choice| is_known(choice) && choice.acknowledged.is_some());
    let last = known.max_by_key(|choice| choice.begun);
    let is_over = |choice: &Choice| {
        last.is_some_and(|last| !choice.may_come_again && choice.acknowledged.is_some_and(|at| at < last.begun))
    };
    if choices.iter().any(|choice| choice.value == shown && !is_over(choice)) {
        return Ok(());
    }
    let shown = info.print(shown);
    Err(format!("settings are those that were chosen: {} is {shown} after {last:?} of {choices:?}", info.name))
}

#[cfg(test)]
mod tests {
    use bellwether_server::meta::settings::SettingKey;

    use crate::cluster::operator::Choices;

    const KEY: SettingKey = SettingKey::Transfers;

    #[test]
    fn who_acknowledged_a_choice_shows_it_or_a_later_one() {
        let mut choices = Choices::default();
        let (here, there, later) = (Some((1, 0)), Some((2, 0)), Some((1, 1)));
        let first = choices.begin(KEY, Some(1));
        let before = choices.moment();
        choices.acknowledge(KEY, first, here, false);
        let shown = |choices: &Choices, value, by| choices.shown(KEY, value, by, choices.moment()).is_ok();
        assert!(shown(&choices, 1, here) && !shown(&choices, 8, here), "the default was before");
        assert!(
            shown(&choices, 8, there) && shown(&choices, 8, later) && shown(&choices, 8, None),
            "others may be late"
        );
        assert!(choices.shown(KEY, 8, here, before).is_ok(), "it was asked before");
        assert!(!shown(&choices, 2, there), "nobody chose it");
        let second = choices.begin(KEY, Some(2));
        assert!(shown(&choices, 2, here) && shown(&choices, 1, here), "it may hold by now");
        choices.acknowledge(KEY, second, there, false);
        assert!(shown(&choices, 1, here) && !shown(&choices, 1, there));
    }

    #[test]
    fn at_rest_the_last_choice_holds_or_one_whose_outcome_is_unknown() {
        let mut choices = Choices::default();
        let _lost = choices.begin(KEY, Some(1));
        let (second, third) = (choices.begin(KEY, Some(2)), choices.begin(KEY, Some(3)));
        choices.acknowledge(KEY, third, None, false);
        choices.acknowledge(KEY, second, None, false);
        let holds = |choices: &Choices, value| choices.holds(|_| value).is_ok();
        assert!([1, 2, 3].iter().all(|value| holds(&choices, *value)), "they were chosen at the same time");
        assert!(!holds(&choices, 8));
        let last = choices.begin(KEY, None);
        choices.acknowledge(KEY, last, None, true);
        assert!(holds(&choices, 8) && holds(&choices, 1), "nobody knows what became of the first");
        assert!(!holds(&choices, 2) && !holds(&choices, 3));
    }
}
