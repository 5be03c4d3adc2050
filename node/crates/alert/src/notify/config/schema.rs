//! What a mapping of the configuration may hold, as tables: the names of its settings, what each looks like, what it is
//! when it is not there, and which go together. The tables are in [`http`](super::http), [`global`](super::global) and
//! [`kinds`](super::kinds); [`settings`](super::settings) reads by them.

use super::settings::Settings;

/// What a mapping may hold.
pub struct Schema {
    /// What it is called in messages.
    pub name: &'static str,
    /// Its settings.
    pub fields: &'static [Field],
    /// What must be true of several together.
    pub rules: &'static [Rule],
    /// Settings that come from `global` if they are not there.
    pub inherited: &'static [Inherited],
}

/// A setting.
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it looks like.
    pub shape: Shape,
    /// What it is if it is not there.
    pub default: Default,
}

/// What a setting looks like.
pub enum Shape {
    /// A text.
    Text,
    /// One of these texts, or nothing.
    Choice(&'static [&'static str]),
    /// A text that is expanded for each message.
    Template,
    /// One that is not shown.
    SecretTemplate,
    /// A text that is not shown.
    Secret,
    /// An address that begins with `http://` or `https://`; a password in it is not shown.
    Url,
    /// An address that is not judged; a password in it is not shown.
    AnyUrl,
    /// One that is not shown.
    SecretUrl,
    /// One that is not shown, or a template that makes one.
    SecretUrlTemplate,
    /// The name of a file, relative to that of the configuration.
    File,
    /// `true` or `false`.
    Flag,
    /// A whole number, at least this.
    Number(i64),
    /// `1h30m`, as Prometheus writes it.
    Duration,
    /// `1.5h`, as Go writes it.
    GoDuration,
    /// `host:port`
    HostPort,
    /// Texts.
    Texts,
    /// Texts that are not shown.
    SecretTexts,
    /// Texts that are expanded for each message.
    Templates,
    /// Texts by names.
    Map,
    /// Texts by names, expanded for each message.
    TemplateMap,
    /// Such texts that are not shown.
    SecretTemplateMap,
    /// Lists of secrets by names.
    SecretLists,
    /// A mapping.
    One(&'static Schema),
    /// A list of mappings.
    Many(&'static Schema),
    /// Mappings by names.
    Named(&'static Schema),
    /// Whatever YAML can say, its texts expanded for each message.
    Any,
}

/// What a setting is if it is not there.
#[derive(Clone, Copy)]
pub enum Default {
    /// Not there.
    Absent,
    /// A text, a template or an address.
    Text(&'static str),
    /// `true` or `false`.
    Flag(bool),
    /// Milliseconds.
    Ms(i64),
    /// Templates by names, of which those are added that are not there.
    Map(&'static [(&'static str, &'static str)]),
}

/// What must be true of several settings together.
pub enum Rule {
    /// One of them, or more, must be there.
    Required(&'static [&'static str]),
    /// Not two of them may be there.
    AtMostOne(&'static [&'static str]),
    /// If one of the first is there, one of the second must be.
    Needs(&'static [&'static str], &'static [&'static str]),
    /// Something else: says what is wrong.
    Check(fn(&Settings) -> Option<String>),
}

/// Settings that come from `global` if none of them is there.
pub struct Inherited {
    /// Their names.
    pub fields: &'static [&'static str],
    /// Their names there, in the same order.
    pub global: &'static [&'static str],
    /// Whether one of them must be somewhere.
    pub is_required: bool,
}

impl Field {
    const fn new(name: &'static str, shape: Shape) -> Field {
        Field { name, shape, default: Default::Absent }
    }

    const fn or(name: &'static str, shape: Shape, default: Default) -> Field {
        Field { name, shape, default }
    }
}

// What tables are made of, so that a setting is a line.

pub const fn text(name: &'static str) -> Field {
    Field::new(name, Shape::Text)
}

pub const fn text_or(name: &'static str, default: &'static str) -> Field {
    Field::or(name, Shape::Text, Default::Text(default))
}

pub const fn choice(name: &'static str, choices: &'static [&'static str], default: Default) -> Field {
    Field::or(name, Shape::Choice(choices), default)
}

pub const fn template(name: &'static str) -> Field {
    Field::new(name, Shape::Template)
}

pub const fn template_or(name: &'static str, default: &'static str) -> Field {
    Field::or(name, Shape::Template, Default::Text(default))
}

pub const fn secret(name: &'static str) -> Field {
    Field::new(name, Shape::Secret)
}

pub const fn file(name: &'static str) -> Field {
    Field::new(name, Shape::File)
}

pub const fn url(name: &'static str) -> Field {
    Field::new(name, Shape::Url)
}

pub const fn url_or(name: &'static str, default: &'static str) -> Field {
    Field::or(name, Shape::Url, Default::Text(default))
}

pub const fn flag(name: &'static str, default: bool) -> Field {
    Field::or(name, Shape::Flag, Default::Flag(default))
}

pub const fn duration_or(name: &'static str, shape: Shape, default_ms: i64) -> Field {
    Field::or(name, shape, Default::Ms(default_ms))
}

pub const fn map_or(name: &'static str, default: &'static [(&'static str, &'static str)]) -> Field {
    Field::or(name, Shape::TemplateMap, Default::Map(default))
}

pub const fn field(name: &'static str, shape: Shape) -> Field {
    Field::new(name, shape)
}

pub const fn inherited(fields: &'static [&'static str], global: &'static [&'static str]) -> Inherited {
    Inherited { fields, global, is_required: false }
}

pub const fn required(fields: &'static [&'static str], global: &'static [&'static str]) -> Inherited {
    Inherited { fields, global, is_required: true }
}
