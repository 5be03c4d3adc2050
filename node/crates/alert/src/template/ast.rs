//! The tree of a template, and how it prints: errors quote the part that failed, as Go's do.

use std::collections::BTreeMap;
use std::fmt;

use super::functions::Function;

/// The templates of one text: its own, and those that it defines.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    /// What the text itself is.
    pub(crate) root: List,
    /// `define` and `block`
    pub(crate) defined: BTreeMap<String, List>,
}

/// What is done one after the other.
pub(crate) type List = Vec<Node>;

#[derive(Debug, Clone)]
pub(crate) enum Node {
    Text(String),
    /// `{{ .x }}`
    Action(Pipe),
    If(Control),
    Range(Control),
    With(Control),
    /// `{{ template "name" .x }}`
    Template {
        offset: u32,
        name: String,
        pipe: Option<Pipe>,
    },
    Break,
    Continue,
}

#[derive(Debug, Clone)]
pub(crate) struct Control {
    pub(crate) pipe: Pipe,
    pub(crate) then: List,
    pub(crate) otherwise: List,
}

/// `$x := a | b`
#[derive(Debug, Clone)]
pub(crate) struct Pipe {
    pub(crate) offset: u32,
    pub(crate) variables: Vec<String>,
    /// `=` rather than `:=`
    pub(crate) assigns: bool,
    /// Its variables are given each item, and not its value.
    pub(crate) of_range: bool,
    pub(crate) commands: Vec<Command>,
}

/// `f a b`; never without a word.
#[derive(Debug, Clone)]
pub(crate) struct Command {
    pub(crate) offset: u32,
    pub(crate) words: Vec<Word>,
}

#[derive(Debug, Clone)]
pub(crate) struct Word {
    pub(crate) offset: u32,
    pub(crate) kind: WordKind,
}

#[derive(Debug, Clone)]
pub(crate) enum WordKind {
    Dot,
    Nil,
    Bool(bool),
    Number(Number),
    Text {
        quoted: String,
        value: String,
    },
    /// `.a.b`
    Field(Vec<String>),
    /// `$x.a.b`
    Variable(String, Vec<String>),
    /// A function.
    Function(&'static Function),
    /// `(a).b.c`
    Chain(Box<Word>, Vec<String>),
    /// `(a | b)`
    Pipe(Box<Pipe>),
}

/// A constant that is of a type only where it is used.
#[derive(Debug, Clone)]
pub(crate) struct Number {
    pub(crate) text: String,
    /// If it is whole.
    pub(crate) int: Option<i64>,
    pub(crate) float: f64,
    /// Written as a float: it is one where nothing asks for an int.
    pub(crate) is_float: bool,
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            write!(f, "{} {} ", self.variables.join(", "), if self.assigns { "=" } else { ":=" })?;
        }
        for (at, command) in self.commands.iter().enumerate() {
            write!(f, "{}{command}", if at == 0 { "" } else { " | " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, word) in self.words.iter().enumerate() {
            write!(f, "{}{word}", if at == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields =
            |f: &mut fmt::Formatter<'_>, fields: &[String]| fields.iter().try_for_each(|field| write!(f, ".{field}"));
        match &self.kind {
            WordKind::Dot => f.write_str("."),
            WordKind::Nil => f.write_str("nil"),
            WordKind::Bool(value) => write!(f, "{value}"),
            WordKind::Number(number) => f.write_str(&number.text),
            WordKind::Text { quoted, .. } => f.write_str(quoted),
            WordKind::Field(names) => fields(f, names),
            WordKind::Variable(name, names) => {
                f.write_str(name)?;
                fields(f, names)
            }
            WordKind::Function(function) => f.write_str(function.name),
            WordKind::Chain(word, names) => {
                write!(f, "{word}")?;
                fields(f, names)
            }
            WordKind::Pipe(pipe) => write!(f, "({pipe})"),
        }
    }
}
