//! What templates ask while they are expanded. Expanding does not wait; asking does. So a rule's alerts are expanded, what
//! was asked and is not known yet is found out, and they are expanded again, until everything that is asked is known.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bellwether_alert::evaluate::External;
use bellwether_alert::template::Surroundings;
use bellwether_model::{Labels, Timestamp};

/// Different queries that the templates of one rule may ask in one evaluation.
pub const QUERIES_MAX: usize = 1_000;

/// What a query came to: each series' labels and value.
pub type Answer = Result<Vec<(Labels, f64)>, String>;

/// What is known at one evaluation of a rule.
pub struct Answers {
    now: Timestamp,
    external: Arc<External>,
    known: BTreeMap<String, Answer>,
    asked: RefCell<BTreeSet<String>>,
}

impl Answers {
    /// Nothing yet.
    pub fn new(now: Timestamp, external: Arc<External>) -> Answers {
        Answers { now, external, known: BTreeMap::new(), asked: RefCell::default() }
    }

    /// The time of the evaluation.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// What was asked since the last time and is not known; nothing if what was expanded is right.
    pub fn take_asked(&mut self) -> BTreeSet<String> {
        std::mem::take(self.asked.get_mut())
    }

    /// Takes note of an answer.
    pub fn learn(&mut self, query: String, answer: Answer) {
        self.known.insert(query, answer);
    }
}

impl Surroundings for Answers {
    fn now_ms(&self) -> i64 {
        self.now
    }

    fn external_url(&self) -> &str {
        &self.external.url
    }

    fn query(&self, text: &str) -> Answer {
        if let Some(answer) = self.known.get(text) {
            return answer.clone();
        }
        let mut asked = self.asked.borrow_mut();
        if self.known.len() + asked.len() >= QUERIES_MAX {
            return Err(format!("the templates of this rule ask more than {QUERIES_MAX} different queries"));
        }
        asked.insert(text.to_owned());
        Err("not known yet".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use bellwether_alert::template::alert::{AlertData, AlertTemplate};
    use bellwether_promql::{Point, VectorSample};

    use super::*;

    #[test]
    fn what_depends_on_an_answer_is_asked_once_that_is_known() {
        let text = r#"{{ with query "a" }}{{ . | first | value }}{{ query "b" | first | value }}{{ end }}"#;
        let template = AlertTemplate::parse("A", text).unwrap();
        let sample =
            VectorSample { labels: Labels::empty(), point: Point { timestamp: 0, value: 1.0 }, histogram: None };
        let data = AlertData::new(&sample, &Labels::empty(), "");
        let mut answers = Answers::new(5, Arc::default());
        let mut rounds = Vec::new();
        let expanded = loop {
            let (text, _) = AlertTemplate::expand(&template, "A", &data, &answers);
            let asked = answers.take_asked();
            if asked.is_empty() {
                break text;
            }
            for query in &asked {
                answers.learn(query.clone(), Ok(vec![(Labels::empty(), 7.0)]));
            }
            rounds.push(asked.into_iter().collect::<Vec<_>>());
        };
        assert_eq!(rounds, [["a"], ["b"]]);
        assert_eq!(expanded, "77");
    }

    #[test]
    fn the_number_of_queries_is_bounded() {
        let mut answers = Answers::new(5, Arc::default());
        for number in 0..QUERIES_MAX {
            answers.query(&number.to_string()).unwrap_err();
        }
        let error = answers.query("one more").unwrap_err();
        assert!(error.contains("more than 1000"), "{error}");
        assert_eq!(answers.take_asked().len(), QUERIES_MAX);
    }
}
