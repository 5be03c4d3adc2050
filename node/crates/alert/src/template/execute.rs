//! Expands a tree: lists, control, templates; what stands in braces is evaluated in `expressions`. Errors name the part that
//! failed as Go's do.

use std::fmt;

use super::ast::{Command, Control, List, Node, Pipe, Word, WordKind};
use super::escape::html;
use super::functions::Call;
use super::value::Value;
use super::{Parts, Surroundings, Template, TextKind};
use crate::limits::{TEMPLATE_CALLS_MAX, TEMPLATE_OUTPUT_BYTES_MAX, TEMPLATE_RUNNING_DEPTH_MAX, TEMPLATE_STEPS_MAX};

pub(super) fn execute(
    parts: &Parts,
    library: &[Template],
    data: &Value,
    surroundings: &dyn Surroundings,
    kind: TextKind,
) -> Result<String, String> {
    let Parts { name, text, tree } = parts;
    let mut execution = Execution {
        name,
        text,
        root: parts,
        library,
        kind,
        running: name.to_owned(),
        variables: vec![("$", data.clone())],
        out: String::new(),
        at: At::Start,
        steps: 0,
        depth: 0,
        calls: 0,
        call: Call::new(surroundings),
    };
    match execution.list(&tree.root, data) {
        Ok(_) => Ok(execution.out),
        Err(Failed(message)) => Err(message),
    }
}

pub(super) struct Failed(String);

pub(super) type Done<T> = Result<T, Failed>;

/// How a list ended.
#[derive(PartialEq)]
enum Flow {
    Through,
    Break,
    Continue,
}

/// What is being worked on, to be named if it fails.
#[derive(Clone, Copy)]
pub(super) enum At<'t> {
    Start,
    Word(&'t Word),
    Command(&'t Command),
    Pipe(&'t Pipe),
    Template(u32, &'t str, Option<&'t Pipe>),
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::Start => Ok(()),
            // Parentheses belong to what stands around.
            At::Word(Word { kind: WordKind::Pipe(pipe), .. }) => pipe.fmt(f),
            At::Word(word) => word.fmt(f),
            At::Command(command) => command.fmt(f),
            At::Pipe(pipe) => pipe.fmt(f),
            At::Template(_, name, None) => write!(f, "{{{{template {name:?}}}}}"),
            At::Template(_, name, Some(pipe)) => write!(f, "{{{{template {name:?} {pipe}}}}}"),
        }
    }
}

pub(super) struct Execution<'t, 's> {
    name: &'t str,
    text: &'t str,
    /// The text that is expanded; `name` and `text` are those of what runs, for messages.
    root: &'t Parts,
    /// Other texts, whose templates can be called.
    library: &'t [Template],
    kind: TextKind,
    /// The template that runs: the text's own, or one that it defines.
    running: String,
    pub(super) variables: Vec<(&'t str, Value)>,
    out: String,
    pub(super) at: At<'t>,
    pub(super) steps: usize,
    /// Lists and pipes that are running, those of callers included: each takes stack.
    depth: usize,
    calls: usize,
    pub(super) call: Call<'s>,
}

/// Whether a pipe says that its value is HTML, or makes it.
fn is_html(pipe: &Pipe) -> bool {
    let last = pipe.commands.last().and_then(|command| command.words.first());
    matches!(last, Some(Word { kind: WordKind::Function(function), .. }) if ["html", "safeHtml"].contains(&function.name))
}

impl<'t> Execution<'t, '_> {
    pub(super) fn fail<T>(&self, message: impl fmt::Display) -> Done<T> {
        let offset = match self.at {
            At::Start => 0,
            At::Word(word) => word.offset,
            At::Command(command) => command.offset,
            At::Pipe(pipe) => pipe.offset,
            At::Template(offset, ..) => offset,
        };
        let before = self.text.get(..offset as usize).unwrap_or_default();
        let line = 1 + before.matches('\n').count();
        let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1);
        let (name, running, at) = (self.name, &self.running, self.at);
        Err(Failed(format!("template: {name}:{line}:{column}: executing {running:?} at <{at}>: {message}")))
    }

    pub(super) fn step(&mut self) -> Done<()> {
        self.steps += 1;
        if self.steps > TEMPLATE_STEPS_MAX {
            return self.fail(format!("the template takes more than {TEMPLATE_STEPS_MAX} steps"));
        }
        Ok(())
    }

    /// Nobody goes on after a failure, so that only what succeeds comes back up.
    fn deeper(&mut self) -> Done<()> {
        self.depth += 1;
        if self.depth > TEMPLATE_RUNNING_DEPTH_MAX {
            let message = "the template and those that it calls are nested more than";
            return self.fail(format!("{message} {TEMPLATE_RUNNING_DEPTH_MAX} levels deep"));
        }
        Ok(())
    }

    fn write(&mut self, text: &str) -> Done<()> {
        if self.out.len() + text.len() > TEMPLATE_OUTPUT_BYTES_MAX {
            return self.fail(format!("the template writes more than {TEMPLATE_OUTPUT_BYTES_MAX} bytes"));
        }
        self.out.push_str(text);
        Ok(())
    }

    /// Runs a list; variables that it declares end with it.
    fn list(&mut self, list: &'t List, dot: &Value) -> Done<Flow> {
        self.deeper()?;
        let mut flow = Flow::Through;
        for node in list {
            self.step()?;
            flow = match node {
                Node::Text(text) => {
                    self.write(text)?;
                    Flow::Through
                }
                Node::Action(pipe) => {
                    let value = self.pipe(pipe, dot)?;
                    if pipe.variables.is_empty() {
                        self.at = At::Pipe(pipe);
                        let text = match value {
                            Value::Missing => "<no value>".to_owned(),
                            Value::Object(object) => object.print().trim_start_matches('&').to_owned(),
                            value => value.print(),
                        };
                        match self.kind {
                            TextKind::Html if !is_html(pipe) => self.write(&html(&text))?,
                            _ => self.write(&text)?,
                        }
                    }
                    Flow::Through
                }
                Node::If(control) => self.either(control, dot, false)?,
                Node::With(control) => self.either(control, dot, true)?,
                Node::Range(control) => self.range(control, dot)?,
                Node::Template { offset, name, pipe } => {
                    self.template((*offset, name, pipe.as_ref()), dot)?;
                    Flow::Through
                }
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if flow != Flow::Through {
                break;
            }
        }
        self.depth -= 1;
        Ok(flow)
    }

    fn either(&mut self, control: &'t Control, dot: &Value, moves_dot: bool) -> Done<Flow> {
        let variables = self.variables.len();
        let value = self.pipe(&control.pipe, dot)?;
        let flow = match value.is_true() {
            true => self.list(&control.then, if moves_dot { &value } else { dot })?,
            false => self.list(&control.otherwise, dot)?,
        };
        self.variables.truncate(variables);
        Ok(flow)
    }

    fn range(&mut self, control: &'t Control, dot: &Value) -> Done<Flow> {
        let variables = self.variables.len();
        let value = self.pipe(&control.pipe, dot)?;
        let inner = self.variables.len();
        let mut is_empty = true;
        let mut flow = Flow::Through;
        let mut each = |execution: &mut Self, key: Value, item: Value| -> Done<bool> {
            is_empty = false;
            execution.step()?;
            execution.bind(&control.pipe, key, &item)?;
            flow = execution.list(&control.then, &item)?;
            execution.variables.truncate(inner);
            Ok(flow != Flow::Break)
        };
        match &value {
            Value::Map(map) => {
                for (name, item) in &map.entries {
                    if !each(self, Value::text(name.as_str()), item.clone())? {
                        break;
                    }
                }
            }
            Value::Int(count) => {
                for number in 0..*count {
                    if !each(self, Value::Int(number), Value::Int(number))? {
                        break;
                    }
                }
            }
            Value::Missing => {}
            other => {
                let Some(items) = other.items() else {
                    self.at = At::Pipe(&control.pipe);
                    return self.fail(format!("range can't iterate over {}", other.print()));
                };
                for (at, item) in items.iter().enumerate() {
                    if !each(self, Value::Int(at as i64), item.clone())? {
                        break;
                    }
                }
            }
        }
        let flow = if is_empty { self.list(&control.otherwise, dot)? } else { Flow::Through };
        self.variables.truncate(variables);
        Ok(flow)
    }

    /// Gives the variables of a range their values: the last one is the item, one before it the key.
    fn bind(&mut self, pipe: &'t Pipe, key: Value, item: &Value) -> Done<()> {
        let values = if pipe.variables.len() < 2 { vec![item.clone()] } else { vec![key, item.clone()] };
        pipe.variables.iter().zip(values).try_for_each(|(name, value)| self.give(pipe, name, value))
    }

    /// Gives a variable its value: a new one, or one that is there.
    fn give(&mut self, pipe: &Pipe, name: &'t str, value: Value) -> Done<()> {
        if pipe.assigns {
            return self.assign(name, value);
        }
        self.variables.push((name, value));
        Ok(())
    }

    fn assign(&mut self, name: &str, value: Value) -> Done<()> {
        match self.variables.iter_mut().rev().find(|(known, _)| *known == name) {
            Some((_, place)) => {
                *place = value;
                Ok(())
            }
            None => self.fail(format!("undefined variable: {name}")),
        }
    }

    fn template(&mut self, (offset, name, pipe): (u32, &'t str, Option<&'t Pipe>), dot: &Value) -> Done<()> {
        self.at = At::Template(offset, name, pipe);
        // The last definition holds, and what is expanded comes last.
        let mut texts = std::iter::once(self.root).chain(self.library.iter().rev().map(|other| &*other.parts));
        let Some((parts, list)) = texts.find_map(|parts| Some((parts, parts.tree.defined.get(name)?))) else {
            return self.fail(format!("template {name:?} not defined"));
        };
        self.calls += 1;
        if self.calls > TEMPLATE_CALLS_MAX {
            return self.fail(format!("exceeded maximum template depth ({TEMPLATE_CALLS_MAX})"));
        }
        let data = match pipe {
            Some(pipe) => self.pipe(pipe, dot)?,
            None => Value::Missing,
        };
        let variables = std::mem::replace(&mut self.variables, vec![("$", data.clone())]);
        let running = std::mem::replace(&mut self.running, name.to_owned());
        let caller = (self.name, self.text);
        (self.name, self.text) = (&parts.name, &parts.text);
        self.list(list, &data)?;
        (self.name, self.text) = caller;
        (self.variables, self.running) = (variables, running);
        self.calls -= 1;
        Ok(())
    }

    /// Evaluates a pipe. Variables of a range are not its value's but its items'.
    pub(super) fn pipe(&mut self, pipe: &'t Pipe, dot: &Value) -> Done<Value> {
        self.at = At::Pipe(pipe);
        self.deeper()?;
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(command, dot, value)?);
        }
        let value = value.unwrap_or_default();
        if !pipe.of_range {
            pipe.variables.iter().try_for_each(|name| self.give(pipe, name, value.clone()))?;
        }
        self.depth -= 1;
        Ok(value)
    }
}
