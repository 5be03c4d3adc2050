//! Labels as people write them on a command line: `name=value`, quoted where matchers are.

use bellwether_model::{Labels, LabelsBuilder, MatchOp, PatternBudget};

use super::parse_matchers;

/// Labels from several texts, each of which may hold several with commas between.
pub fn parse_labels(texts: &[String]) -> Result<Labels, String> {
    let mut labels = LabelsBuilder::default();
    for text in texts {
        let wrong = |message: String| format!("{text:?} is no label: {message}");
        let matchers = parse_matchers(text, &mut PatternBudget::default())
            .map_err(|error| wrong(format!("at character {}: {error}", error.column(text))))?;
        for matcher in matchers.iter() {
            if matcher.op() != MatchOp::Equal {
                return Err(wrong("write name=value".to_owned()));
            }
            labels.push(matcher.name(), matcher.value());
        }
    }
    labels.build().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_names_with_values() {
        let read = |text: &str| parse_labels(&[text.to_owned()]);
        assert_eq!(read("b=c d,a=\"x,y\""), Ok(Labels::of(&[("a", "x,y"), ("b", "c d")])));
        assert_eq!(read(""), Ok(Labels::empty()));
        for bad in ["a", "a!=b", "a=~b", "=b", "a=b,a=c"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
