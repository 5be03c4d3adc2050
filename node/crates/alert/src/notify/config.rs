//! Alertmanager's configuration file (<https://prometheus.io/docs/alerting/latest/configuration/>), accepted as it is, checked
//! as Alertmanager does, with the place of each problem and all problems together.
//!
//! What it does not do: read other files. Names of files stay as they are written, relative to the configuration's own.

mod address;
mod global;
mod hidden;
mod http;
mod inhibitions;
mod intervals;
pub mod kinds;
mod label_matchers;
mod on_call;
mod own;
mod routes;
mod schema;
mod secret;
pub mod settings;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use bellwether_model::{PatternBudget, Timestamp};

use super::escalation::Policy;
use super::inhibition::{Inhibition, circle};
use super::interval::Intervals;
use super::on_call::{Overrides, Schedule};
use super::route::Routes;
use super::throttle::Throttle;
use crate::yaml::fields::{Fields, Placed};
use crate::yaml::problems::{Problem, Problems};
use crate::yaml::{self, Node, Place};

pub use hidden::without_secrets;
use kinds::{KINDS, Kind};
pub use secret::Secret;
use settings::Settings;

/// Receivers of one configuration.
pub const RECEIVERS_MAX: usize = 10_000;
/// Routes of one configuration.
pub const ROUTES_MAX: usize = 100_000;
/// Inhibition rules of one configuration: each pair of them is looked at.
pub const INHIBITIONS_MAX: usize = 1_000;

const FIELDS: [&str; 9] = [
    "global",
    "route",
    "inhibit_rules",
    "receivers",
    "templates",
    "mute_time_intervals",
    "time_intervals",
    "on_call",
    "escalation_policies",
];

/// A configuration that is right.
#[derive(Debug)]
pub struct Config {
    /// What holds for all receivers.
    pub global: Settings,
    /// Where alerts go.
    pub routes: Routes,
    /// Who is told, by name.
    pub receivers: BTreeMap<String, Receiver>,
    /// Which alerts keep others quiet.
    pub inhibitions: Vec<Inhibition>,
    /// Times, by name.
    pub intervals: Intervals,
    /// Who is on call, by name.
    pub on_call: BTreeMap<String, Schedule>,
    /// Who is told if nobody takes care, by name.
    pub escalations: BTreeMap<String, Policy>,
    /// Patterns of names of files with templates.
    pub templates: Vec<Placed<String>>,
    /// What is right and yet not as it should be.
    pub warnings: Vec<Problem>,
}

/// Somebody who is told.
#[derive(Debug)]
pub struct Receiver {
    /// By which ways; none is a receiver that tells nobody.
    // Invariant: in the order of `Integration::at`.
    pub integrations: Vec<Integration>,
    /// The schedule by which another receiver is told, that of who is on call; this one if nobody is.
    pub on_call: Option<String>,
    /// How much it is told, if there is a bound.
    pub throttle: Option<Throttle>,
    /// Where the receiver stands.
    pub place: Place,
}

/// A way to tell somebody.
#[derive(Debug)]
pub struct Integration {
    /// Its kind.
    pub kind: Kind,
    /// Its number among the receiver's of that kind.
    pub number: usize,
    /// What it is told, `global` and defaults included.
    pub settings: Settings,
}

/// Which of a receiver's integrations: the same one whatever integrations of other kinds come or go, so that what was told by it stays
/// its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct IntegrationAt {
    /// Its kind.
    pub kind: Kind,
    /// Its number among the receiver's of that kind.
    pub number: usize,
}

impl fmt::Display for IntegrationAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.kind.name(), self.number)
    }
}

impl Integration {
    /// Which it is.
    pub fn at(&self) -> IntegrationAt {
        IntegrationAt { kind: self.kind, number: self.number }
    }
}

impl Receiver {
    /// One of its integrations.
    pub fn integration(&self, at: IntegrationAt) -> Option<&Integration> {
        let found = self.integrations.binary_search_by_key(&at, Integration::at).ok()?;
        self.integrations.get(found)
    }
}

/// What readers of parts share.
struct Reader {
    problems: Problems,
    warnings: Vec<Problem>,
    patterns: PatternBudget,
}

/// What holds where nobody configured anything.
const NOBODY: &str = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n";

impl Config {
    /// One by which nobody is told.
    pub fn nobody() -> &'static Config {
        static CONFIG: LazyLock<Config> =
            LazyLock::new(|| Config::read(NOBODY).expect("the configuration of the program is right"));
        &CONFIG
    }

    /// How long an alert without an end is believed.
    pub fn resolve_timeout_ms(&self) -> i64 {
        self.global.ms("resolve_timeout").unwrap_or(global::RESOLVE_TIMEOUT_MS_DEFAULT)
    }

    /// By which integrations a receiver is told, if it is there.
    pub fn integrations_of(&self, receiver: &str) -> impl Iterator<Item = IntegrationAt> {
        self.receivers.get(receiver).into_iter().flat_map(|receiver| receiver.integrations.iter().map(Integration::at))
    }

    /// The receiver that is told for another: that of who is on call, if that one names a schedule.
    pub fn on_duty<'c>(&'c self, receiver: &'c str, overrides: &'c Overrides, at: Timestamp) -> &'c str {
        let schedule = self.receivers.get(receiver).and_then(|receiver| receiver.on_call.as_deref());
        schedule.and_then(|schedule| self.who_is_on_call(schedule, overrides, at)).unwrap_or(receiver)
    }

    /// The receiver of who is on call by a schedule.
    pub fn who_is_on_call<'c>(&'c self, schedule: &str, overrides: &'c Overrides, at: Timestamp) -> Option<&'c str> {
        self.on_call.get(schedule)?.at(schedule, overrides, self, at)
    }

    /// Reads a file.
    pub fn read(text: &str) -> Result<Config, Vec<Problem>> {
        let root = yaml::read(text).map_err(|problem| vec![problem])?;
        let missing = || vec![Problem { place: Place::START, message: "the file has no route".to_owned() }];
        let root = root.ok_or_else(missing)?;
        let mut reader =
            Reader { problems: Problems::default(), warnings: Vec::new(), patterns: PatternBudget::default() };
        let config = reader.config(&root, text);
        let Reader { problems, mut warnings, .. } = reader;
        warnings.sort_by_key(|warning| warning.place);
        let config = problems.into_result(config)?;
        // What there is none of is a problem, so that here there is one.
        let mut config = config.ok_or_else(missing)?;
        config.warnings = warnings;
        Ok(config)
    }
}

impl Reader {
    fn warn(&mut self, place: Place, message: String) {
        if self.warnings.len() < crate::limits::PROBLEMS_MAX {
            self.warnings.push(Problem { place, message });
        }
    }

    fn config(&mut self, root: &Node, text: &str) -> Option<Config> {
        let fields = Fields::of(root, "the configuration", &FIELDS, &mut self.problems)?;
        let global = match fields.get("global") {
            Some(node) => Settings::read(node, &global::GLOBAL, &mut self.problems),
            None => Settings::defaults(&global::GLOBAL),
        };
        let receivers = self.receivers(&fields, &global);
        let intervals = self.intervals(&fields);
        let inhibitions = self.inhibitions(&fields, text);
        let on_call = self.schedules(&fields, &receivers, &intervals);
        let escalations = self.escalations(&fields, &receivers, &on_call);
        let routes = self.routes(&fields, text, (&receivers, &escalations), &intervals);
        let templates = fields.texts("templates", &mut self.problems);
        let warnings = Vec::new();
        routes.map(|routes| Config {
            global,
            routes,
            receivers,
            inhibitions,
            intervals,
            on_call,
            escalations,
            templates,
            warnings,
        })
    }

    fn receivers(&mut self, fields: &Fields<'_>, global: &Settings) -> BTreeMap<String, Receiver> {
        let nodes = fields.list("receivers", &mut self.problems);
        if nodes.len() > RECEIVERS_MAX {
            self.problems.add(fields.key_place("receivers"), format!("more than {RECEIVERS_MAX} receivers"));
        }
        let mut known = vec!["name", "throttle", "on_call"];
        known.extend(KINDS.iter().map(|(_, setting)| *setting));
        let mut receivers: BTreeMap<String, Receiver> = BTreeMap::new();
        for node in nodes.iter().take(RECEIVERS_MAX) {
            let Some(fields) = Fields::of(node, "a receiver", &known, &mut self.problems) else { continue };
            let name = fields.text("name", &mut self.problems).filter(|name| !name.value.is_empty());
            let Some(name) = name else {
                self.problems.add(node.place, "a receiver needs a name");
                continue;
            };
            self.problems.set_context(format!("receiver {:?}: ", name.value));
            let throttle = self.throttle(&fields);
            let on_call = fields.text("on_call", &mut self.problems).map(|schedule| schedule.value);
            let mut receiver = Receiver { integrations: Vec::new(), on_call, throttle, place: node.place };
            for (kind, setting) in KINDS {
                for (number, node) in fields.list(setting, &mut self.problems).iter().enumerate() {
                    let schema = kind.schema();
                    let mut settings = Settings::read(node, schema, &mut self.problems);
                    settings.inherit(global, schema, &mut self.problems);
                    if !kind.is_sent() {
                        let message = format!("receiver {:?}: nothing is sent by {}", name.value, kind.name());
                        self.warn(node.place, message);
                    }
                    receiver.integrations.push(Integration { kind, number, settings });
                }
            }
            self.problems.set_context(String::new());
            if let Some(first) = receivers.get(&name.value) {
                let message = format!("there is a receiver {:?} already, at {}", name.value, first.place);
                self.problems.add(name.place, message);
            } else {
                receivers.insert(name.value, receiver);
            }
        }
        receivers
    }

    fn inhibitions(&mut self, fields: &Fields<'_>, text: &str) -> Vec<Inhibition> {
        let nodes = fields.list("inhibit_rules", &mut self.problems);
        if nodes.len() > INHIBITIONS_MAX {
            self.problems
                .add(fields.key_place("inhibit_rules"), format!("more than {INHIBITIONS_MAX} inhibition rules"));
        }
        let nodes = &nodes[..nodes.len().min(INHIBITIONS_MAX)];
        let rules: Vec<(Place, Inhibition)> =
            nodes.iter().filter_map(|node| Some((node.place, self.inhibition(node, text)?))).collect();
        let (places, rules): (Vec<Place>, Vec<Inhibition>) = rules.into_iter().unzip();
        if let Some(rules_of_circle) = circle(&rules) {
            let first = places[rules_of_circle[0]];
            let others: Vec<String> = rules_of_circle[1..].iter().map(|at| places[*at].to_string()).collect();
            let message = format!(
                "this rule and the one at {} inhibit each other's sources in a circle: such alerts silence themselves",
                others.join(", then at ")
            );
            self.problems.add(first, message);
        }
        rules
    }
}
