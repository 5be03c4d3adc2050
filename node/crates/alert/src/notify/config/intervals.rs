//! `time_intervals`, and `mute_time_intervals` as they were called before.

use super::Reader;
use crate::notify::interval::{
    Intervals, Minutes, Range, TimeInterval, minutes, parse_days_of_month, parse_location, parse_minute, parse_months,
    parse_weekdays, parse_years,
};
use crate::yaml::Node;
use crate::yaml::fields::Fields;

const FIELDS: [&str; 6] = ["times", "weekdays", "days_of_month", "months", "years", "location"];

impl Reader {
    /// Reads both; they share their names.
    pub fn intervals(&mut self, fields: &Fields<'_>) -> Intervals {
        let mut intervals = Intervals::new();
        for list in ["mute_time_intervals", "time_intervals"] {
            for node in fields.list(list, &mut self.problems) {
                let Some(fields) = Fields::of(node, "a time interval", &["name", "time_intervals"], &mut self.problems)
                else {
                    continue;
                };
                let name = fields.text("name", &mut self.problems).filter(|name| !name.value.is_empty());
                let Some(name) = name else {
                    self.problems.add(node.place, "a time interval needs a name");
                    continue;
                };
                let parts = fields.list("time_intervals", &mut self.problems);
                let parts = parts.iter().filter_map(|part| self.interval(part)).collect();
                if intervals.insert(name.value.clone(), parts).is_some() {
                    self.problems.add(name.place, format!("there is a time interval {:?} already", name.value));
                }
            }
        }
        intervals
    }

    fn interval(&mut self, node: &Node) -> Option<TimeInterval> {
        let fields = Fields::of(node, "a time interval", &FIELDS, &mut self.problems)?;
        let location = fields.text("location", &mut self.problems).and_then(|name| {
            let zone = parse_location(&name.value);
            zone.map_err(|message| self.problems.add(name.place, format!("location: {message}"))).ok()
        });
        Some(TimeInterval {
            times: self.times(&fields),
            weekdays: self.ranges(&fields, "weekdays", parse_weekdays),
            days_of_month: self.ranges(&fields, "days_of_month", parse_days_of_month),
            months: self.ranges(&fields, "months", parse_months),
            years: self.ranges(&fields, "years", parse_years),
            location,
        })
    }

    fn times(&mut self, fields: &Fields<'_>) -> Option<Vec<Minutes>> {
        fields.get("times")?;
        let mut all = Vec::new();
        for node in fields.list("times", &mut self.problems) {
            let Some(fields) = Fields::of(node, "times", &["start_time", "end_time"], &mut self.problems) else {
                continue;
            };
            let mut end = |name: &str| {
                let Some(text) = fields.text(name, &mut self.problems) else {
                    self.problems.add(node.place, format!("times needs {name}"));
                    return None;
                };
                let minute = parse_minute(&text.value);
                minute.map_err(|message| self.problems.add(text.place, format!("{name}: {message}"))).ok()
            };
            let (begin, end) = (end("start_time"), end("end_time"));
            if let (Some(begin), Some(end)) = (begin, end) {
                match minutes(begin, end) {
                    Ok(minutes) => all.push(minutes),
                    Err(message) => self.problems.add(node.place, message),
                }
            }
        }
        Some(all)
    }

    fn ranges(
        &mut self,
        fields: &Fields<'_>,
        name: &str,
        parse: impl Fn(&str) -> Result<Range, String>,
    ) -> Option<Vec<Range>> {
        fields.get(name)?;
        let mut all = Vec::new();
        for item in fields.texts(name, &mut self.problems) {
            match parse(&item.value) {
                Ok(range) => all.push(range),
                Err(message) => self.problems.add(item.place, format!("{name}: {message}")),
            }
        }
        Some(all)
    }
}
