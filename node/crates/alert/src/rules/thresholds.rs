//! Thresholds: what a threshold rule's value is compared with, checked.

use bellwether_promql::ast::BinaryOp;
use bellwether_promql::number_text;

use crate::state::threshold::{Grading, Zone};

/// What makes an alerting rule a threshold rule: its query is a value, not a condition.
#[derive(Debug, Clone)]
pub struct ThresholdRule {
    /// What the value is compared with.
    pub thresholds: Thresholds,
    /// What becomes of that.
    pub grading: Grading,
}

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// How: the value at the left. A comparison.
    pub compare: BinaryOp,
    /// The threshold and the recovery threshold of `critical`.
    pub critical: Option<Threshold>,
    /// Those of `warning`.
    pub warning: Option<Threshold>,
}

/// From where on it is bad, and from where on it is again as before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    /// A value that compares to it reaches the severity.
    pub reach: f64,
    /// One that compares to it keeps it.
    pub hold: f64,
}

/// Thresholds as they are written.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct WrittenThresholds {
    /// How a value is compared, if that is said.
    pub compare: Option<BinaryOp>,
    /// From where on it is critical.
    pub critical: Option<f64>,
    /// From where on it is a warning.
    pub warning: Option<f64>,
    /// From where on it is not critical any more.
    pub critical_recovery: Option<f64>,
    /// From where on it is no warning any more.
    pub warning_recovery: Option<f64>,
}

/// What is wrong with thresholds: with which of them, and what.
pub type ThresholdError = (&'static str, String);

/// The name of each number.
const NUMBERS: [&str; 4] = ["critical", "warning", "critical_recovery", "warning_recovery"];

/// The comparison that is written so.
pub fn comparison(text: &str) -> Option<BinaryOp> {
    [
        BinaryOp::Greater,
        BinaryOp::GreaterEqual,
        BinaryOp::Less,
        BinaryOp::LessEqual,
        BinaryOp::Equal,
        BinaryOp::NotEqual,
    ]
    .into_iter()
    .find(|op| op.as_str() == text)
}

impl WrittenThresholds {
    fn numbers(&self) -> [Option<f64>; 4] {
        [self.critical, self.warning, self.critical_recovery, self.warning_recovery]
    }

    /// The thresholds, if they go together.
    pub fn check(&self) -> Result<Thresholds, ThresholdError> {
        let wrong = |field, message: String| Err((field, message));
        for (field, number) in NUMBERS.into_iter().zip(self.numbers()) {
            if number.is_some_and(|number| !number.is_finite()) {
                return wrong(field, "it must be a finite number".to_owned());
            }
        }
        if self.critical.is_none() && self.warning.is_none() {
            return wrong("critical", "there must be a critical or a warning threshold".to_owned());
        }
        let pairs = [
            ("critical", self.critical, "critical_recovery", self.critical_recovery),
            ("warning", self.warning, "warning_recovery", self.warning_recovery),
        ];
        for (of, threshold, field, recovery) in pairs {
            if recovery.is_some() && threshold.is_none() {
                return wrong(field, format!("there is no {of} threshold to recover from"));
            }
        }
        let compare = self.direction()?;
        let is_above = match compare {
            BinaryOp::Greater | BinaryOp::GreaterEqual => true,
            BinaryOp::Less | BinaryOp::LessEqual => false,
            _ => {
                let op = compare.as_str();
                return match (self.critical, self.warning, self.critical_recovery.or(self.warning_recovery)) {
                    (Some(_), Some(_), _) => wrong("warning", format!("a comparison by {op} has one threshold")),
                    (_, _, Some(_)) => {
                        let field = if self.critical_recovery.is_some() { NUMBERS[2] } else { NUMBERS[3] };
                        wrong(field, format!("a comparison by {op} has no recovery threshold"))
                    }
                    _ => Ok(self.with(compare)),
                };
            }
        };
        // Whether a value on its way to the worse comes by the first before the second.
        let is_before = |first: f64, second: f64| if is_above { first < second } else { first > second };
        if let (Some(critical), Some(warning)) = (self.critical, self.warning)
            && !is_before(warning, critical)
        {
            let critical = number_text(critical);
            return wrong("warning", format!("it must be reached before the critical one, {critical}"));
        }
        for (of, threshold, field, recovery) in pairs {
            if let (Some(threshold), Some(recovery)) = (threshold, recovery)
                && is_before(threshold, recovery)
            {
                let side = if is_above { "above" } else { "below" };
                let threshold = number_text(threshold);
                return wrong(field, format!("it must not be {side} the {of} threshold, {threshold}"));
            }
        }
        Ok(self.with(compare))
    }

    /// What is worse follows from two numbers that differ.
    fn direction(&self) -> Result<BinaryOp, ThresholdError> {
        if let Some(compare) = self.compare {
            return Ok(compare);
        }
        let pairs = [
            (self.critical, self.warning),
            (self.critical, self.critical_recovery),
            (self.warning, self.warning_recovery),
        ];
        for pair in pairs {
            match pair {
                (Some(worse), Some(better)) if worse > better => return Ok(BinaryOp::Greater),
                (Some(worse), Some(better)) if worse < better => return Ok(BinaryOp::Less),
                _ => {}
            }
        }
        Err((
            "compare",
            "say whether what is above a threshold is bad ('>', '>=') or what is below ('<', '<=')".to_owned(),
        ))
    }

    fn with(&self, compare: BinaryOp) -> Thresholds {
        let of =
            |reach: Option<f64>, hold: Option<f64>| reach.map(|reach| Threshold { reach, hold: hold.unwrap_or(reach) });
        Thresholds {
            compare,
            critical: of(self.critical, self.critical_recovery),
            warning: of(self.warning, self.warning_recovery),
        }
    }
}

impl Thresholds {
    /// What a value reaches. One that is no number reaches nothing.
    pub fn zone(&self, value: f64) -> Zone {
        let compares = |threshold: f64| match self.compare {
            BinaryOp::Greater => value > threshold,
            BinaryOp::GreaterEqual => value >= threshold,
            BinaryOp::Less => value < threshold,
            BinaryOp::LessEqual => value <= threshold,
            BinaryOp::Equal => value == threshold,
            _ => value != threshold && !value.is_nan(),
        };
        let mut zone = Zone::default();
        for (threshold, reached, held) in
            [(self.critical, Zone::CRITICAL, Zone::CRITICAL_HELD), (self.warning, Zone::WARNING, Zone::WARNING_HELD)]
        {
            if let Some(Threshold { reach, hold }) = threshold {
                zone = zone.with(reached, compares(reach)).with(held, compares(hold));
            }
        }
        zone
    }

    /// As they are written: the comparison only where it does not follow from the numbers.
    pub fn written(&self) -> WrittenThresholds {
        let hold = |threshold: Option<Threshold>| {
            threshold.filter(|threshold| threshold.hold != threshold.reach).map(|threshold| threshold.hold)
        };
        let reach = |threshold: Option<Threshold>| threshold.map(|threshold| threshold.reach);
        let written = WrittenThresholds {
            compare: None,
            critical: reach(self.critical),
            warning: reach(self.warning),
            critical_recovery: hold(self.critical),
            warning_recovery: hold(self.warning),
        };
        let is_said = written.direction() != Ok(self.compare);
        WrittenThresholds { compare: is_said.then_some(self.compare), ..written }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thresholds(compare: &str, numbers: [Option<f64>; 4]) -> Result<Thresholds, String> {
        let [critical, warning, critical_recovery, warning_recovery] = numbers;
        let compare = comparison(compare);
        let written = WrittenThresholds { compare, critical, warning, critical_recovery, warning_recovery };
        written.check().map_err(|(field, message)| format!("{field}: {message}"))
    }

    #[test]
    fn what_is_worse_follows_or_is_said() {
        let compare = |compare, numbers| thresholds(compare, numbers).map(|all| all.compare.as_str());
        assert_eq!(compare("", [Some(5.0), Some(2.0), None, None]), Ok(">"));
        assert_eq!(compare("", [Some(2.0), Some(5.0), None, None]), Ok("<"));
        assert_eq!(compare("", [None, Some(5.0), None, Some(6.0)]), Ok("<"));
        assert_eq!(compare("<=", [Some(2.0), None, None, None]), Ok("<="));
        assert_eq!(compare("==", [Some(0.0), None, None, None]), Ok("=="));
        let unsaid = "compare: say whether what is above a threshold is bad ('>', '>=') or what is below ('<', '<=')";
        assert_eq!(compare("", [Some(2.0), None, Some(2.0), None]), Err(unsaid.to_owned()));
        for (op, numbers, error) in [
            ("", [None; 4], "critical: there must be a critical or a warning threshold"),
            (
                ">",
                [Some(1.0), None, None, Some(1.0)],
                "warning_recovery: there is no warning threshold to recover from",
            ),
            (">", [Some(1.0), Some(1.0), None, None], "warning: it must be reached before the critical one, 1"),
            ("<", [Some(2.0), Some(1.0), None, None], "warning: it must be reached before the critical one, 2"),
            (
                ">",
                [Some(2.0), None, Some(3.0), None],
                "critical_recovery: it must not be above the critical threshold, 2",
            ),
            (
                "",
                [Some(1.0), Some(2.0), Some(0.5), None],
                "critical_recovery: it must not be below the critical threshold, 1",
            ),
            (">", [Some(f64::NAN), None, None, None], "critical: it must be a finite number"),
            ("==", [Some(1.0), Some(2.0), None, None], "warning: a comparison by == has one threshold"),
            (
                "!=",
                [None, Some(2.0), None, Some(1.0)],
                "warning_recovery: a comparison by != has no recovery threshold",
            ),
        ] {
            assert_eq!(compare(op, numbers), Err(error.to_owned()));
        }
    }

    #[test]
    fn a_value_reaches_thresholds_as_it_is_compared() {
        let zones = |op, numbers, values: [f64; 5]| {
            let thresholds = thresholds(op, numbers).unwrap();
            values.map(|value| thresholds.zone(value).bits())
        };
        let all = [Some(10.0), Some(5.0), Some(8.0), Some(3.0)];
        assert_eq!(zones("", all, [3.0, 4.0, 6.0, 9.0, 11.0]), [0, 8, 12, 14, 15]);
        assert_eq!(zones(">=", all, [3.0, f64::NAN, 5.0, 8.0, 10.0]), [8, 0, 12, 14, 15]);
        assert_eq!(
            zones("<", [Some(5.0), None, None, None], [5.0, 4.0, f64::NEG_INFINITY, f64::NAN, 6.0]),
            [0, 3, 3, 0, 0]
        );
        assert_eq!(
            zones("!=", [Some(5.0), None, None, None], [5.0, 4.0, f64::NAN, f64::INFINITY, 6.0]),
            [0, 3, 0, 3, 3]
        );
    }
}
