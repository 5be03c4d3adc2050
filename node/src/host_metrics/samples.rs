//! What a collection gathers, and how numbers are read from text.

use bellwether_model::MetricKind;
use bellwether_server::env::HostSample;

/// The samples of one collection, in the order in which they were found.
#[derive(Debug, Default)]
pub struct Samples(Vec<HostSample>);

impl Samples {
    /// Rises until the host restarts.
    pub fn counter(&mut self, name: impl Into<String>, help: &'static str, labels: &[(&str, &str)], value: f64) {
        self.push(MetricKind::Counter, name, help, labels, value);
    }

    /// Rises and falls.
    pub fn gauge(&mut self, name: impl Into<String>, help: &'static str, labels: &[(&str, &str)], value: f64) {
        self.push(MetricKind::Gauge, name, help, labels, value);
    }

    /// node_exporter leaves the type of some families open.
    pub fn untyped(&mut self, name: impl Into<String>, help: &'static str, labels: &[(&str, &str)], value: f64) {
        self.push(MetricKind::Unknown, name, help, labels, value);
    }

    /// Adds one sample.
    pub fn push(
        &mut self,
        kind: MetricKind,
        name: impl Into<String>,
        help: &'static str,
        labels: &[(&str, &str)],
        value: f64,
    ) {
        let labels = labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        self.0.push(HostSample { name: name.into(), labels, value, kind, help });
    }

    /// Hands the samples over.
    pub fn into_vec(self) -> Vec<HostSample> {
        self.0
    }
}

/// A count as the kernel prints it. Only digits: `f64::from_str` would also take "nan" and "inf".
pub fn count(text: &str) -> Option<f64> {
    text.parse::<u64>().ok().map(|value| value as f64)
}

/// A decimal fraction as the kernel prints it.
pub fn decimal(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|value| value.is_finite())
}

#[cfg(test)]
pub mod check {
    //! One way to state what a parser finds.

    use super::Samples;
    use proptest::prelude::*;

    /// What `parse` finds, one sample per line, as the text format writes it.
    pub fn lines(parse: impl FnOnce(&mut Samples)) -> String {
        let mut samples = Samples::default();
        parse(&mut samples);
        let mut lines = String::new();
        for sample in samples.into_vec() {
            let labels: Vec<String> = sample.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
            lines += &format!("{}{{{}}} {}\n", sample.name, labels.join(","), sample.value);
        }
        lines
    }

    /// `parse` takes any text: lines of it cut, joined and mixed with others, without a panic and without inventing
    /// values that are not numbers.
    pub fn survives_hostile_text(real: &str, parse: impl Fn(&str, &mut Samples)) {
        let check = |text: &str| {
            let mut samples = Samples::default();
            parse(text, &mut samples);
            for sample in samples.into_vec() {
                assert!(sample.value.is_finite(), "{sample:?} from {text:?}");
                assert!(!sample.name.is_empty());
            }
        };
        for end in (0..real.len()).filter(|&end| real.is_char_boundary(end)).take(4000) {
            check(&real[..end]);
        }
        proptest!(ProptestConfig::with_cases(64), |(noise in ".{0,80}", at in 0..real.len().max(1), extra in "[0-9:() ._a-z\\\\-]{0,200}")| {
            let at = (0..=at).rev().find(|&at| real.is_char_boundary(at)).unwrap_or(0);
            check(&noise);
            check(&extra);
            check(&format!("{}{noise}{}", &real[..at], &real[at..]));
            check(&format!("{}{extra}\n{}", &real[..at], &real[at..]));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_are_a_count() {
        assert_eq!(count("18446744073709551615"), Some(u64::MAX as f64));
        for text in ["", "-1", "nan", "inf", "1e5", " 1", "0x1", "18446744073709551616"] {
            assert_eq!(count(text), None, "{text:?}");
        }
        assert_eq!(decimal("0.25"), Some(0.25));
        assert_eq!(decimal("inf"), None);
        assert_eq!(decimal("NaN"), None);
    }
}
