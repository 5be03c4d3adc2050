//! Settings read by a [`Schema`]: typed by their shapes, with their places, defaults filled in.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::address::{check_url, host_and_port};
use super::schema::{Default, Field, Rule, Schema, Shape};
use super::secret::Secret;
use crate::duration::parse_duration_ms;
use crate::notify::go_duration::parse_go_duration_ms;
use crate::yaml::fields::{Fields, text};
use crate::yaml::problems::Problems;
use crate::yaml::{Kind, Node, Place};

/// A setting's value.
#[derive(Debug, Clone)]
pub enum Setting {
    /// A text, the name of a file, an address that may be seen.
    Text(String),
    /// A text that is expanded for each message.
    Template(String),
    /// A text that is not shown.
    Secret(Secret),
    /// One that is expanded for each message.
    SecretTemplate(Secret),
    /// `true` or `false`.
    Flag(bool),
    /// A whole number.
    Number(i64),
    /// A duration.
    Ms(i64),
    /// Where a server listens.
    HostPort {
        /// Its name or address.
        host: String,
        /// Its port, by number or name.
        port: String,
    },
    /// Texts.
    Texts(Vec<String>),
    /// Texts that are not shown.
    Secrets(Vec<Secret>),
    /// Texts that are expanded for each message.
    Templates(Vec<String>),
    /// Texts by names.
    Map(BTreeMap<String, String>),
    /// Texts by names that are expanded for each message.
    TemplateMap(BTreeMap<String, String>),
    /// Such texts that are not shown.
    SecretTemplateMap(BTreeMap<String, Secret>),
    /// Lists of secrets by names.
    SecretLists(BTreeMap<String, Vec<Secret>>),
    /// A mapping.
    One(Settings),
    /// A list of mappings.
    Many(Vec<Settings>),
    /// Mappings by names.
    Named(BTreeMap<String, Settings>),
    /// Whatever it is.
    Any(Arc<Node>),
}

/// A text that is expanded for messages.
#[derive(Clone, Copy)]
pub struct WrittenTemplate<'s> {
    /// The setting's name.
    pub setting: &'static str,
    /// Where it stands.
    pub place: Place,
    /// The text.
    pub text: &'s str,
    /// Nobody may see it.
    pub is_secret: bool,
}

/// The settings of a mapping, by their names.
#[derive(Debug, Clone, std::default::Default)]
pub struct Settings {
    /// Where the mapping begins.
    pub place: Place,
    values: BTreeMap<&'static str, Placed>,
    /// Written, and wrong: that has been told, so that they count as there.
    refused: Vec<&'static str>,
}

#[derive(Debug, Clone)]
struct Placed {
    value: Setting,
    place: Place,
    /// Somebody wrote it.
    is_written: bool,
}

impl Settings {
    /// Reads a mapping; what is wrong with it becomes problems.
    pub fn read(node: &Node, schema: &Schema, problems: &mut Problems) -> Settings {
        let known: Vec<&str> = schema.fields.iter().map(|field| field.name).collect();
        let Some(fields) = Fields::of(node, schema.name, &known, problems) else {
            return Settings { place: node.place, ..Settings::default() };
        };
        Settings::of_fields(&fields, schema, problems)
    }

    /// The same of a mapping that is open already and may hold more.
    pub fn of_fields(fields: &Fields<'_>, schema: &Schema, problems: &mut Problems) -> Settings {
        let mut settings = Settings { place: fields.place, ..Settings::default() };
        for field in schema.fields {
            let Some(node) = fields.get(field.name) else { continue };
            match read_setting(node, field, problems) {
                Some(value) => {
                    let placed = Placed { value, place: fields.key_place(field.name), is_written: true };
                    settings.values.insert(field.name, placed);
                }
                None => settings.refused.push(field.name),
            }
        }
        for rule in schema.rules {
            settings.check(rule, schema.name, problems);
        }
        settings.fill(schema);
        settings
    }

    /// What there is if nobody wrote anything.
    pub fn defaults(schema: &Schema) -> Settings {
        let mut settings = Settings { place: Place::START, ..Settings::default() };
        settings.fill(schema);
        settings
    }

    fn fill(&mut self, schema: &Schema) {
        for field in schema.fields {
            let value = match (field.default, &field.shape) {
                (Default::Absent, _) => continue,
                (Default::Text(text), Shape::Template) => Setting::Template(text.to_owned()),
                (Default::Text(text), _) => Setting::Text(text.to_owned()),
                (Default::Flag(flag), _) => Setting::Flag(flag),
                (Default::Ms(ms), _) => Setting::Ms(ms),
                (Default::Map(pairs), _) => {
                    let mut map = pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
                    if let Some(Placed { value: Setting::TemplateMap(written), .. }) = self.values.get_mut(field.name) {
                        std::mem::swap(&mut map, written);
                        for (name, text) in map {
                            written.entry(name).or_insert(text);
                        }
                        continue;
                    }
                    Setting::TemplateMap(map)
                }
            };
            let place = self.place;
            self.values.entry(field.name).or_insert(Placed { value, place, is_written: false });
        }
    }

    /// Takes from `global` what is not there.
    pub fn inherit(&mut self, global: &Settings, schema: &Schema, problems: &mut Problems) {
        for inherited in schema.inherited {
            if inherited.fields.iter().any(|name| self.is_set(name)) {
                continue;
            }
            let mut found = false;
            for (name, of_global) in inherited.fields.iter().zip(inherited.global) {
                if let Some(placed) = global.values.get(of_global) {
                    found = true;
                    self.values.insert(name, placed.clone());
                }
            }
            if inherited.is_required && !found {
                let (here, there) = (one_of(inherited.fields), one_of(inherited.global));
                problems.add(self.place, format!("{} needs {here}, or {there} in global", schema.name));
            }
        }
    }

    fn check(&self, rule: &Rule, name: &str, problems: &mut Problems) {
        match rule {
            Rule::Required(names) => {
                if !names.iter().any(|name| self.is_set(name)) {
                    problems.add(self.place, format!("{name} needs {}", one_of(names)));
                }
            }
            Rule::AtMostOne(names) => {
                let mut set = names.iter().filter(|name| self.is_set(name));
                if let (Some(first), Some(second)) = (set.next(), set.next()) {
                    problems.add(
                        self.place_of(second),
                        format!("{name} has both {first} and {second}, which exclude each other"),
                    );
                }
            }
            Rule::Needs(some, others) => {
                if let Some(set) = some.iter().find(|name| self.is_set(name))
                    && !others.iter().any(|name| self.is_set(name))
                {
                    problems.add(self.place_of(set), format!("{name} with {set} needs {}", one_of(others)));
                }
            }
            Rule::Check(wrong) => {
                if let Some(message) = wrong(self) {
                    problems.add(self.place, format!("{name}: {message}"));
                }
            }
        }
    }

    /// Whether somebody wrote it, here or in `global`, and not nothing.
    pub fn is_set(&self, name: &str) -> bool {
        let Some(placed) = self.values.get(name) else { return self.refused.contains(&name) };
        let is_empty = match &placed.value {
            Setting::Text(text) | Setting::Template(text) => text.is_empty(),
            Setting::Secret(secret) | Setting::SecretTemplate(secret) => secret.reveal().is_empty(),
            Setting::Number(number) => *number == 0,
            _ => false,
        };
        placed.is_written && !is_empty
    }

    fn place_of(&self, name: &str) -> Place {
        self.values.get(name).map_or(self.place, |placed| placed.place)
    }

    /// A setting.
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.values.get(name).map(|placed| &placed.value)
    }

    /// A text or template, if it is not a secret.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Setting::Text(text) | Setting::Template(text) => Some(text),
            _ => None,
        }
    }

    /// `true` or `false`; what is not there is false.
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some(Setting::Flag(true)))
    }

    /// A duration.
    pub fn ms(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            Setting::Ms(ms) => Some(*ms),
            _ => None,
        }
    }

    /// A text that is not shown, a template or not.
    pub fn secret(&self, name: &str) -> Option<&Secret> {
        match self.get(name)? {
            Setting::Secret(secret) | Setting::SecretTemplate(secret) => Some(secret),
            _ => None,
        }
    }

    /// A whole number.
    pub fn number(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            Setting::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// A server's name or address, and its port.
    pub fn host_port(&self, name: &str) -> Option<(&str, &str)> {
        match self.get(name)? {
            Setting::HostPort { host, port } => Some((host, port)),
            _ => None,
        }
    }

    /// Texts in a list.
    pub fn list(&self, name: &str) -> &[String] {
        match self.get(name) {
            Some(Setting::Texts(list) | Setting::Templates(list)) => list,
            _ => &[],
        }
    }

    /// Texts in a list that are not shown.
    pub fn secrets(&self, name: &str) -> &[Secret] {
        match self.get(name) {
            Some(Setting::Secrets(list)) => list,
            _ => &[],
        }
    }

    /// Texts by names.
    pub fn map(&self, name: &str) -> Option<&BTreeMap<String, String>> {
        match self.get(name)? {
            Setting::Map(map) | Setting::TemplateMap(map) => Some(map),
            _ => None,
        }
    }

    /// Mappings by names.
    pub fn named(&self, name: &str) -> Option<&BTreeMap<String, Settings>> {
        match self.get(name)? {
            Setting::Named(named) => Some(named),
            _ => None,
        }
    }

    /// Whether a template makes HTML: that of an e-mail, a message that is said to be HTML.
    pub fn is_html(&self, name: &str) -> bool {
        match name {
            "html" => matches!(self.get(name), Some(Setting::Template(_))),
            "message" => self.text("parse_mode") == Some("HTML") || self.flag("html"),
            _ => false,
        }
    }

    /// A mapping in the mapping.
    pub fn one(&self, name: &str) -> Option<&Settings> {
        match self.get(name)? {
            Setting::One(settings) => Some(settings),
            _ => None,
        }
    }

    /// Mappings in a list of the mapping.
    pub fn many(&self, name: &str) -> &[Settings] {
        match self.get(name) {
            Some(Setting::Many(list)) => list,
            _ => &[],
        }
    }

    /// The texts that are expanded for messages, defaults included, secrets and lists of mappings left out.
    pub fn texts(&self) -> Vec<(String, &str)> {
        let mut all = Vec::new();
        for (name, placed) in &self.values {
            match &placed.value {
                Setting::Template(text) => all.push(((*name).to_owned(), text.as_str())),
                Setting::TemplateMap(map) => {
                    all.extend(map.iter().map(|(key, text)| (format!("{name}.{key}"), text.as_str())))
                }
                _ => {}
            }
        }
        all
    }

    /// All texts that are expanded for messages; not defaults, which are right.
    pub fn templates(&self) -> Vec<WrittenTemplate<'_>> {
        let mut all = Vec::new();
        for (name, placed) in self.values.iter().filter(|(_, placed)| placed.is_written) {
            let is_secret = matches!(placed.value, Setting::SecretTemplate(_) | Setting::SecretTemplateMap(_));
            let mut add = |text| all.push(WrittenTemplate { setting: name, place: placed.place, text, is_secret });
            match &placed.value {
                Setting::Template(text) => add(text.as_str()),
                Setting::SecretTemplate(secret) => add(secret.reveal()),
                Setting::Templates(texts) => texts.iter().for_each(|text| add(text)),
                Setting::TemplateMap(map) => map.values().for_each(|text| add(text)),
                Setting::SecretTemplateMap(map) => map.values().for_each(|secret| add(secret.reveal())),
                Setting::One(settings) => all.extend(settings.templates()),
                Setting::Many(list) => list.iter().for_each(|settings| all.extend(settings.templates())),
                _ => {}
            }
        }
        all
    }
}

fn one_of(names: &[&str]) -> String {
    names.join(" or ")
}

fn read_setting(node: &Node, field: &Field, problems: &mut Problems) -> Option<Setting> {
    let name = field.name;
    match &field.shape {
        Shape::Flag => truth(node, name, problems).map(Setting::Flag),
        Shape::One(schema) => Some(Setting::One(Settings::read(node, schema, problems))),
        Shape::Many(schema) => {
            let items = items(node, name, problems)?;
            Some(Setting::Many(items.iter().map(|item| Settings::read(item, schema, problems)).collect()))
        }
        Shape::Named(schema) => {
            let entries = entries(node, name, problems)?;
            let read = entries.into_iter().map(|(name, node)| (name, Settings::read(node, schema, problems)));
            Some(Setting::Named(read.collect()))
        }
        Shape::Texts => texts(node, name, problems).map(Setting::Texts),
        Shape::Templates => texts(node, name, problems).map(Setting::Templates),
        Shape::Map => map(node, name, problems).map(Setting::Map),
        Shape::TemplateMap => map(node, name, problems).map(Setting::TemplateMap),
        Shape::SecretTexts => {
            let texts = texts(node, name, problems)?;
            Some(Setting::Secrets(texts.into_iter().map(Secret::new).collect()))
        }
        Shape::SecretTemplateMap => {
            let map = map(node, name, problems)?;
            Some(Setting::SecretTemplateMap(map.into_iter().map(|(name, text)| (name, Secret::new(text))).collect()))
        }
        Shape::SecretLists => {
            let mut lists = BTreeMap::new();
            for (name, node) in entries(node, name, problems)? {
                let secrets = texts(node, &name, problems)?.into_iter().map(Secret::new).collect();
                lists.insert(name, secrets);
            }
            Some(Setting::SecretLists(lists))
        }
        Shape::Any => Some(Setting::Any(Arc::new(node.clone()))),
        _ => {
            let text = text(node, name, problems)?;
            let setting = read_text(text, &field.shape);
            setting.map_err(|message| problems.add(node.place, format!("{name}: {message}"))).ok()
        }
    }
}

fn read_text(text: &str, shape: &Shape) -> Result<Setting, String> {
    let owned = || text.to_owned();
    match shape {
        Shape::Template => Ok(Setting::Template(owned())),
        Shape::Secret => Ok(Setting::Secret(Secret::new(text))),
        Shape::SecretTemplate => Ok(Setting::SecretTemplate(Secret::new(text))),
        Shape::SecretUrlTemplate if text.contains("{{") => Ok(Setting::SecretTemplate(Secret::new(text))),
        // As in a configuration that Alertmanager shows.
        Shape::SecretUrl | Shape::SecretUrlTemplate if text == "<secret>" => Ok(Setting::Secret(Secret::new(text))),
        Shape::SecretUrl | Shape::SecretUrlTemplate => check_url(text).map(|()| Setting::Secret(Secret::new(text))),
        Shape::Url => check_url(text).map(|()| Setting::Text(owned())),
        Shape::Choice(choices) => {
            let is_one = text.is_empty() || choices.contains(&text);
            let wrong = || format!("{text:?} is none of {}", choices.join(", "));
            if is_one { Ok(Setting::Text(owned())) } else { Err(wrong()) }
        }
        Shape::Number(least) => match text.parse::<i64>() {
            Ok(number) if number >= *least => Ok(Setting::Number(number)),
            Ok(_) => Err(format!("it must be at least {least}")),
            Err(_) => Err("it must be a whole number".to_owned()),
        },
        Shape::Duration => parse_duration_ms(text).map(Setting::Ms).map_err(|error| error.to_string()),
        Shape::GoDuration => parse_go_duration_ms(text).map(Setting::Ms),
        Shape::HostPort if text.is_empty() => Ok(Setting::Text(owned())),
        Shape::HostPort => host_and_port(text).map(|(host, port)| Setting::HostPort { host, port }),
        _ => Ok(Setting::Text(owned())),
    }
}

/// `true` or `false` as YAML 1.1 has it, which Alertmanager reads.
pub fn truth(node: &Node, name: &str, problems: &mut Problems) -> Option<bool> {
    let text = match &node.kind {
        Kind::Scalar(scalar) => scalar.value.as_str(),
        _ => "",
    };
    match text {
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => Some(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => Some(false),
        _ => {
            problems.add(node.place, format!("{name} must be true or false"));
            None
        }
    }
}

fn items<'n>(node: &'n Node, name: &str, problems: &mut Problems) -> Option<&'n [Arc<Node>]> {
    let Kind::Sequence(items) = &node.kind else {
        problems.add(node.place, format!("{name} must be a list"));
        return None;
    };
    Some(items)
}

fn texts(node: &Node, name: &str, problems: &mut Problems) -> Option<Vec<String>> {
    let items = items(node, name, problems)?;
    Some(items.iter().filter_map(|item| text(item, name, problems).map(str::to_owned)).collect())
}

fn entries<'n>(node: &'n Node, name: &str, problems: &mut Problems) -> Option<Vec<(String, &'n Node)>> {
    let Kind::Mapping(entries) = &node.kind else {
        problems.add(node.place, format!("{name} must be a mapping"));
        return None;
    };
    let name = |key: &Node| match &key.kind {
        Kind::Scalar(scalar) => scalar.value.clone(),
        _ => String::new(),
    };
    Some(entries.iter().map(|(key, value)| (name(key), &**value)).collect())
}

fn map(node: &Node, name: &str, problems: &mut Problems) -> Option<BTreeMap<String, String>> {
    let entries = entries(node, name, problems)?;
    let mut map = BTreeMap::new();
    for (key, value) in entries {
        let value = if value.is_null() { "" } else { text(value, name, problems)? };
        map.insert(key, value.to_owned());
    }
    Some(map)
}
