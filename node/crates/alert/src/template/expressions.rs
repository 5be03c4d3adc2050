//! Evaluates what stands in braces: commands, fields, calls. Checks arguments as Go does.

use super::ast::{Command, Number, Word, WordKind};
use super::execute::{At, Done, Execution};
use super::functions::{Function, Param, Run};
use super::label_methods;
use super::value::{Map, Value};
use crate::limits::TEMPLATE_BYTES_PER_STEP;

impl<'t> Execution<'t, '_> {
    pub(super) fn command(&mut self, command: &'t Command, dot: &Value, last: Option<Value>) -> Done<Value> {
        self.step()?;
        let Some((first, args)) = command.words.split_first() else { return Ok(Value::Missing) };
        match &first.kind {
            WordKind::Field(names) => {
                self.at = At::Word(first);
                self.fields(first, dot, dot.clone(), names, args, last)
            }
            WordKind::Variable(name, names) if !names.is_empty() => {
                self.at = At::Word(first);
                let value = self.variable(name);
                self.fields(first, dot, value, names, args, last)
            }
            WordKind::Chain(inner, names) => {
                self.at = At::Word(first);
                let value = self.argument(Param::Any, inner, dot)?;
                self.fields(first, dot, value, names, args, last)
            }
            WordKind::Function(function) => self.function(function, first, At::Command(command), args, dot, last),
            WordKind::Pipe(pipe) => {
                if !args.is_empty() || last.is_some() {
                    return self.fail(format!("can't give argument to non-function {pipe}"));
                }
                self.pipe(pipe, dot)
            }
            kind => {
                self.at = At::Word(first);
                if !args.is_empty() || last.is_some() {
                    return self.fail(format!("can't give argument to non-function {first}"));
                }
                match kind {
                    WordKind::Nil => self.fail("nil is not a command"),
                    _ => self.argument(Param::Any, first, dot),
                }
            }
        }
    }

    fn variable(&self, name: &str) -> Value {
        let known = self.variables.iter().rev().find(|(known, _)| *known == name);
        known.map(|(_, value)| value.clone()).unwrap_or_default()
    }

    /// `.a.b.c args`: fields, the last of which may be a method.
    fn fields(
        &mut self,
        word: &'t Word,
        dot: &Value,
        receiver: Value,
        names: &'t [String],
        args: &'t [Word],
        last: Option<Value>,
    ) -> Done<Value> {
        let mut value = receiver;
        let Some((name, names)) = names.split_last() else { return Ok(value) };
        for name in names {
            value = self.field(word, &value, name, None)?;
        }
        let mut values = Vec::with_capacity(args.len() + 1);
        for arg in args {
            values.push(self.argument(Param::Any, arg, dot)?);
        }
        if !values.is_empty() {
            self.at = At::Word(word);
        }
        values.extend(last);
        self.steps += work(&values);
        self.field(word, &value, name, Some(&values))
    }

    fn field(&mut self, word: &'t Word, receiver: &Value, name: &str, args: Option<&[Value]>) -> Done<Value> {
        self.step()?;
        let args = args.unwrap_or_default();
        match receiver {
            Value::Object(object) => {
                if let Some(result) = object.call(name, args) {
                    return match result {
                        Ok(value) => Ok(value),
                        Err(message) => {
                            self.at = At::Word(word);
                            self.fail(format!("error calling {name}: {message}"))
                        }
                    };
                }
                match object.field(name) {
                    Some(_) if !args.is_empty() => {
                        self.fail(format!("{name} has arguments but cannot be invoked as function"))
                    }
                    Some(value) => Ok(value),
                    None => self.fail(format!("can't evaluate field {name} in type {}", object.type_name())),
                }
            }
            Value::Map(map) => {
                if let Some(result) = label_methods::call(map, name, args) {
                    return result.or_else(|message| self.fail(format!("error calling {name}: {message}")));
                }
                if !args.is_empty() {
                    return self.fail(format!("{name} is not a method but has arguments"));
                }
                Ok(entry(map, name))
            }
            Value::Missing => self.fail(format!("nil data; no entry for key {name:?}")),
            other => self.fail(format!("can't evaluate field {name} in type {}", other.type_name())),
        }
    }

    fn argument(&mut self, param: Param, word: &'t Word, dot: &Value) -> Done<Value> {
        self.step()?;
        self.at = At::Word(word);
        let value = match &word.kind {
            WordKind::Dot => dot.clone(),
            WordKind::Nil if param.can_be_nil() => return Ok(Value::Missing),
            WordKind::Nil => return self.fail(format!("cannot assign nil to {}", param.type_name())),
            WordKind::Field(names) => self.fields(word, dot, dot.clone(), names, &[], None)?,
            WordKind::Variable(name, names) => {
                let value = self.variable(name);
                self.fields(word, dot, value, names, &[], None)?
            }
            WordKind::Chain(inner, names) => {
                let value = self.argument(Param::Any, inner, dot)?;
                self.fields(word, dot, value, names, &[], None)?
            }
            WordKind::Pipe(pipe) => self.pipe(pipe, dot)?,
            WordKind::Function(function) => self.function(function, word, At::Word(word), &[], dot, None)?,
            WordKind::Bool(value) => return self.constant(param, word, Value::Bool(*value)),
            WordKind::Number(Number { int: None, is_float: false, .. }) => {
                return self.fail(format!("{word} overflows int"));
            }
            WordKind::Number(number) => return self.constant(param, word, constant(number)),
            WordKind::Text { value, .. } => return self.constant(param, word, Value::text(value.as_str())),
        };
        self.checked(param, value)
    }

    fn constant(&mut self, param: Param, word: &'t Word, value: Value) -> Done<Value> {
        if param.takes(&value) {
            return Ok(value);
        }
        match param {
            Param::Text => self.fail(format!("expected string; found {word}")),
            _ => self.fail(format!("can't handle {word} for arg of type {}", param.type_name())),
        }
    }

    fn checked(&mut self, param: Param, value: Value) -> Done<Value> {
        match &value {
            Value::Missing if param.can_be_nil() => Ok(value),
            Value::Missing => self.fail(format!("invalid value; expected {}", param.type_name())),
            _ if param.takes(&value) => Ok(value),
            _ => self.fail(format!("wrong type for value; expected {}; got {}", param.type_name(), value.type_name())),
        }
    }

    fn function(
        &mut self,
        function: &'static Function,
        word: &'t Word,
        caller: At<'t>,
        args: &'t [Word],
        dot: &Value,
        last: Option<Value>,
    ) -> Done<Value> {
        self.at = At::Word(word);
        let given = args.len() + usize::from(last.is_some());
        let (name, wanted) = (function.name, function.params.len());
        if given < wanted && function.rest.is_some() {
            return self.fail(format!("wrong number of args for {name}: want at least {wanted} got {}", args.len()));
        }
        if given != wanted && function.rest.is_none() {
            return self.fail(format!("wrong number of args for {name}: want {wanted} got {given}"));
        }
        let param = |at: usize| function.params.get(at).copied().or(function.rest).unwrap_or(Param::Any);
        let mut values = Vec::with_capacity(given);
        for (at, arg) in args.iter().enumerate() {
            let value = self.argument(param(at), arg, dot)?;
            // What follows is not looked at once the result is known.
            let decides = match function.run {
                Run::And => !value.is_true(),
                Run::Or => value.is_true(),
                Run::Plain(_) => false,
            };
            if decides {
                return Ok(value);
            }
            values.push(value);
        }
        if let Some(last) = last {
            self.at = At::Word(word);
            let at = values.len();
            values.push(self.checked(param(at), last)?);
        }
        // What a function has to work through takes steps, too.
        self.steps += work(&values) + std::mem::take(&mut self.call.steps);
        self.step()?;
        match function.run {
            Run::And | Run::Or => Ok(values.pop().unwrap_or_default()),
            Run::Plain(run) => run(&mut self.call, &values).or_else(|message| {
                self.at = caller;
                self.fail(format!("error calling {name}: {message}"))
            }),
        }
    }
}

/// Steps that a function takes to work through its arguments.
fn work(args: &[Value]) -> usize {
    let items = |value: &Value| value.items().map_or(0, <[Value]>::len);
    args.iter().map(|value| value.as_text().map_or(0, str::len) / TEMPLATE_BYTES_PER_STEP + items(value)).sum()
}

/// A number where nothing asks for a type.
fn constant(number: &Number) -> Value {
    match number.int {
        Some(int) if !number.is_float => Value::Int(int),
        _ => Value::Float(number.float),
    }
}

/// What a map has under a name; its zero if it has nothing.
pub(super) fn entry(map: &Map, name: &str) -> Value {
    map.entries.get(name).unwrap_or(&map.zero).clone()
}
