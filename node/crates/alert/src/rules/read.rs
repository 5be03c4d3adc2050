//! From a file's text to rules. All that is wrong is told together, in Prometheus's words where it has some.

mod threshold_rule;

use std::collections::BTreeMap;

use bellwether_model::METRIC_NAME;
use bellwether_promql::parse;

use super::{AlertingRule, Composite, Expansion, Mute, Query, RecordingRule, Rule, RuleFile, RuleGroup};
use crate::limits::{GROUPS_PER_FILE_MAX, MUTES_PER_RULE_MAX, RULES_PER_GROUP_MAX};
use crate::template::alert::AlertTemplate;
use crate::yaml::fields::{Fields, Pair, text};
use crate::yaml::problems::{Problem, Problems};
use crate::yaml::{self, Node, Place};

const GROUP_FIELDS: &[&str] = &["name", "interval", "query_offset", "limit", "labels", "rules"];
const RULE_FIELDS: &[&str] = &[
    "record",
    "alert",
    "expr",
    "for",
    "keep_firing_for",
    "critical",
    "labels",
    "annotations",
    "thresholds",
    "checks",
    "no_data",
    "mute",
    "composite",
];

/// Reads a rule file.
pub fn read(file: &str) -> Result<RuleFile, Vec<Problem>> {
    let root = match yaml::read(file) {
        Ok(Some(root)) => root,
        Ok(None) => return Ok(RuleFile::default()),
        Err(problem) => return Err(vec![problem]),
    };
    let mut reader = Reader { file, problems: Problems::default() };
    let groups = reader.file(&root);
    reader.problems.into_result(RuleFile { groups })
}

/// Reads one group, written as it stands in the list of a rule file's groups.
pub fn read_group(text: &str) -> Result<RuleGroup, Vec<Problem>> {
    let empty = || vec![Problem { place: Place::START, message: "there is no rule group".to_owned() }];
    let root = yaml::read(text).map_err(|problem| vec![problem])?.ok_or_else(empty)?;
    let mut reader = Reader { file: text, problems: Problems::default() };
    let group = reader.group(&root);
    reader.problems.set_context(String::new());
    if let Some(group) = group.as_ref().filter(|group| group.name.is_empty()) {
        reader.problems.add(group.place, "Groupname must not be empty");
    }
    // What there is none of is a problem, so that here there is one.
    reader.problems.into_result(group)?.ok_or_else(empty)
}

struct Reader<'f> {
    file: &'f str,
    problems: Problems,
}

/// Labels of a group or a rule, as written.
type Pairs<'n> = Vec<Pair<'n>>;

impl Reader<'_> {
    fn file(&mut self, root: &Node) -> Vec<RuleGroup> {
        let Some(fields) = Fields::of(root, "a rule file", &["groups"], &mut self.problems) else {
            return Vec::new();
        };
        let nodes = fields.list("groups", &mut self.problems);
        if let Some(node) = nodes.get(GROUPS_PER_FILE_MAX) {
            self.problems.add(node.place, format!("a file has at most {GROUPS_PER_FILE_MAX} groups"));
            return Vec::new();
        }
        let mut names: BTreeMap<String, Place> = BTreeMap::new();
        let mut groups = Vec::with_capacity(nodes.len());
        for node in nodes {
            self.problems.set_context(String::new());
            let group = self.group(node);
            self.problems.set_context(String::new());
            let Some(group) = group else { continue };
            if group.name.is_empty() {
                self.problems.add(group.place, "Groupname must not be empty");
            } else if let Some(first) = names.insert(group.name.clone(), group.place) {
                let message = format!(
                    "groupname: {:?} is repeated in the same file; it is there already, at {first}",
                    group.name
                );
                self.problems.add(group.place, message);
            }
            groups.push(group);
        }
        groups
    }

    fn group(&mut self, node: &Node) -> Option<RuleGroup> {
        let fields = Fields::of(node, "a group", GROUP_FIELDS, &mut self.problems)?;
        let name = fields.text("name", &mut self.problems);
        let place = name.as_ref().map_or(fields.place, |name| name.place);
        let name = name.map(|name| name.value).unwrap_or_default();
        self.problems.set_context(format!("group {name:?}: "));
        let interval = fields.duration_ms("interval", &mut self.problems);
        let query_offset = fields.duration_ms("query_offset", &mut self.problems);
        let limit = fields.whole("limit", &mut self.problems);
        let labels = self.labels(&fields, "labels", "label");
        let nodes = fields.list("rules", &mut self.problems);
        if let Some(node) = nodes.get(RULES_PER_GROUP_MAX) {
            self.problems.add(node.place, format!("a group has at most {RULES_PER_GROUP_MAX} rules"));
            return None;
        }
        let mut rules = Vec::with_capacity(nodes.len());
        for (at, node) in nodes.iter().enumerate() {
            self.problems.set_context(format!("group {name:?}, rule {}: ", at + 1));
            rules.extend(self.rule(node, (&name, at + 1), &labels));
        }
        Some(RuleGroup {
            name,
            interval_ms: interval.map(|interval| interval.value).filter(|ms| *ms > 0),
            // As in Prometheus, what is not positive limits nothing.
            limit: limit.and_then(|limit| usize::try_from(limit.value).ok()).filter(|limit| *limit > 0),
            query_offset_ms: query_offset.map(|offset| offset.value),
            rules,
            place,
        })
    }

    fn rule(&mut self, node: &Node, (group, number): (&str, usize), of_group: &Pairs<'_>) -> Option<Rule> {
        let fields = Fields::of(node, "a rule", RULE_FIELDS, &mut self.problems)?;
        let record = fields.text("record", &mut self.problems);
        let alert = fields.text("alert", &mut self.problems);
        let name = alert.as_ref().or(record.as_ref()).map(|name| name.value.clone()).unwrap_or_default();
        self.problems.set_context(format!("group {group:?}, rule {number}, {name:?}: "));
        let empty = |name: &str| name.is_empty();
        let record = record.filter(|record| !empty(&record.value));
        let alert = alert.filter(|alert| !empty(&alert.value));
        let composite = self.composite(&fields, &name);
        let query = match fields.get("composite") {
            None => self.query(&fields),
            Some(_) => composite.as_ref().and_then(|composite| self.query_of(composite, &fields)),
        };
        let own = self.labels(&fields, "labels", "label");
        let labels = merged(of_group, own);
        let for_ms = fields.duration_ms("for", &mut self.problems).map_or(0, |duration| duration.value);
        let keep = fields.duration_ms("keep_firing_for", &mut self.problems).map_or(0, |duration| duration.value);
        let critical = fields.truth("critical", &mut self.problems).unwrap_or(false);
        let annotations = self.labels(&fields, "annotations", "annotation");
        match (record, alert) {
            (Some(_), Some(alert)) => {
                self.problems.add(alert.place, "only one of 'record' and 'alert' must be set");
                None
            }
            (None, None) => {
                self.problems.add(fields.place, "one of 'record' or 'alert' must be set");
                None
            }
            (Some(record), None) => {
                self.check_record(&record.value, record.place);
                let unfit = [
                    ("annotations", !annotations.is_empty()),
                    ("for", for_ms != 0),
                    ("keep_firing_for", keep != 0),
                    ("critical", critical),
                ];
                let of_alerts = threshold_rule::KEYS.into_iter().chain(["mute", "composite"]);
                let of_alerts = of_alerts.map(|key| (key, fields.get(key).is_some()));
                for (field, is_set) in unfit.into_iter().chain(of_alerts) {
                    if is_set {
                        let place = fields.key_place(field);
                        self.problems.add(place, format!("invalid field '{field}' in recording rule"));
                    }
                }
                let mut labels: Vec<(String, String)> =
                    labels.iter().map(|pair| (pair.name.to_owned(), pair.value.to_owned())).collect();
                labels.sort();
                Some(Rule::Recording(RecordingRule {
                    record: record.value,
                    query: query?,
                    labels,
                    place: record.place,
                }))
            }
            (None, Some(alert)) => {
                let labels = self.expansions(&alert.value, &labels, "label");
                let annotations = self.expansions(&alert.value, &annotations, "annotation");
                let thresholds = self.threshold_rule(&fields, query.as_ref(), &labels);
                if critical && fields.get("checks").is_some() {
                    let message = "'critical' does not go with 'checks': these are counted by the group's interval";
                    self.problems.add(fields.key_place("critical"), message);
                }
                Some(Rule::Alerting(AlertingRule {
                    alert: alert.value,
                    query: query?,
                    for_ms,
                    keep_firing_for_ms: keep,
                    critical,
                    labels,
                    annotations,
                    composite: composite.map(Box::new),
                    thresholds,
                    mute: self.mutes(&fields),
                    place: alert.place,
                }))
            }
        }
    }

    /// What decides in place of a query, if that is written.
    fn composite(&mut self, fields: &Fields<'_>, rule: &str) -> Option<Composite> {
        let node = fields.get("composite")?;
        for key in ["expr", "thresholds"] {
            if fields.get(key).is_some() {
                self.problems.add(fields.key_place(key), format!("only one of '{key}' and 'composite' must be set"));
            }
        }
        let text = text(node, "composite", &mut self.problems)?;
        match Composite::parse(text) {
            Ok(mut composite) => {
                for reference in &mut composite.references {
                    reference.place = node.place_within(self.file, reference.offset);
                    if reference.name == rule {
                        self.problems.add(reference.place, "composite: it depends on itself");
                    }
                }
                Some(composite)
            }
            Err(error) => {
                self.problems.add_within(self.file, node, error.offset, format!("composite: {error}"));
                None
            }
        }
    }

    fn query_of(&mut self, composite: &Composite, fields: &Fields<'_>) -> Option<Query> {
        let text = composite.to_promql();
        match parse(&text) {
            Ok(expr) => Some(Query { text, expr }),
            Err(error) => {
                self.problems.add(fields.key_place("composite"), format!("composite: as PromQL, {text}: {error}"));
                None
            }
        }
    }

    fn mutes(&mut self, fields: &Fields<'_>) -> Vec<Mute> {
        let nodes = fields.list("mute", &mut self.problems);
        if let Some(node) = nodes.get(MUTES_PER_RULE_MAX) {
            self.problems.add(node.place, format!("a rule has at most {MUTES_PER_RULE_MAX} spans of 'mute'"));
            return Vec::new();
        }
        let mut mutes = Vec::with_capacity(nodes.len());
        for node in nodes {
            let Some(of) = Fields::of(node, "a span of 'mute'", &["schedule", "time_zone"], &mut self.problems) else {
                continue;
            };
            let (schedule, time_zone) =
                (of.text("schedule", &mut self.problems), of.text("time_zone", &mut self.problems));
            let Some(schedule) = schedule else {
                if of.get("schedule").is_none() {
                    self.problems.add(node.place, "a span of 'mute' needs 'schedule'");
                }
                continue;
            };
            let time_zone_text = time_zone.as_ref().map(|time_zone| time_zone.value.as_str());
            match Mute::new(&schedule.value, time_zone_text) {
                Ok(mute) => mutes.push(mute),
                Err((field, message)) => {
                    let place = of.get(field).map_or(node.place, |node| node.place);
                    self.problems.add(place, format!("mute: {field}: {message}"));
                }
            }
        }
        mutes
    }

    fn check_record(&mut self, record: &str, place: Place) {
        if record.contains(['{', '}']) {
            let message = format!("braces present in the recording rule name; should it be in expr?: {record}");
            self.problems.add(place, message);
        }
    }

    fn query(&mut self, fields: &Fields<'_>) -> Option<Query> {
        let node = fields.get("expr");
        let Some(node) = node else {
            self.problems.add(fields.place, "field 'expr' must be set in rule");
            return None;
        };
        let text = text(node, "expr", &mut self.problems)?;
        if text.trim().is_empty() {
            self.problems.add(node.place, "field 'expr' must be set in rule");
            return None;
        }
        match parse(text) {
            Ok(expr) => Some(Query { text: text.to_owned(), expr }),
            Err(error) => {
                let message = format!("could not parse expression: {error}");
                self.problems.add_within(self.file, node, error.span.start as usize, message);
                None
            }
        }
    }

    fn labels<'n>(&mut self, fields: &Fields<'n>, field: &str, what: &str) -> Pairs<'n> {
        let mut pairs = fields.pairs(field, &mut self.problems);
        pairs.retain(|pair| {
            // The metric's name can be an annotation's.
            let is_valid = !pair.name.is_empty() && (pair.name != METRIC_NAME || what == "annotation");
            if !is_valid {
                self.problems.add(pair.name_place, format!("invalid {what} name: {}", pair.name));
            }
            is_valid
        });
        pairs
    }

    fn expansions(&mut self, alert: &str, pairs: &Pairs<'_>, what: &str) -> Vec<Expansion> {
        let mut expansions = Vec::with_capacity(pairs.len());
        for pair in pairs {
            match AlertTemplate::parse(alert, pair.value) {
                Ok(template) => {
                    let (name, text) = (pair.name.to_owned(), pair.value.to_owned());
                    expansions.push(Expansion { name, text, template });
                }
                Err(error) => {
                    let message = format!("{what} {:?}: {error}", pair.name);
                    self.problems.add_within(self.file, pair.node, AlertTemplate::offset(error.offset), message);
                }
            }
        }
        expansions.sort_by(|a, b| a.name.cmp(&b.name));
        expansions
    }
}

/// The labels of a rule above those of its group.
fn merged<'n>(of_group: &Pairs<'n>, own: Pairs<'n>) -> Pairs<'n> {
    let mut labels: Pairs<'n> =
        of_group.iter().filter(|pair| own.iter().all(|own| own.name != pair.name)).copied().collect();
    labels.extend(own);
    labels
}
