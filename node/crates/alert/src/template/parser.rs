//! From tokens to a tree. Messages are Go's.
//!
//! Trees are kept for as long as their rules, a hundred thousand of them: no list has room for more than it holds.

use std::collections::BTreeMap;

use super::TemplateError;
use super::ast::{Command, Control, List, Node, Pipe, Tree, Word, WordKind};
use super::constants;
use super::functions::Functions;
use super::lexer::{Keyword, Token, TokenKind, tokenize};
use crate::limits::{TEMPLATE_BYTES_MAX, TEMPLATE_DEPTH_MAX};

pub(crate) fn parse(name: &str, text: &str, functions: &Functions) -> Result<Tree, TemplateError> {
    let fail = |offset: usize, message: String| TemplateError::new(name, text, offset, message);
    if text.len() > TEMPLATE_BYTES_MAX {
        return Err(fail(0, format!("the template has {} bytes, the limit is {TEMPLATE_BYTES_MAX}", text.len())));
    }
    let tokens = tokenize(text).map_err(|error| fail(error.offset, error.message))?;
    let mut parser = Parser {
        tokens,
        at: 0,
        functions,
        variables: vec!["$".to_owned()],
        ranges: 0,
        depth: 0,
        defined: BTreeMap::new(),
    };
    match parser.top() {
        Ok(root) => Ok(Tree { root, defined: parser.defined }),
        Err(Wrong { offset, message }) => Err(fail(offset, message)),
    }
}

struct Wrong {
    offset: usize,
    message: String,
}

type Parsed<T> = Result<T, Wrong>;

/// How a list ended.
#[derive(PartialEq)]
enum Ending {
    End,
    Else,
}

struct Parser<'t> {
    tokens: Vec<Token<'t>>,
    at: usize,
    functions: &'t Functions,
    variables: Vec<String>,
    ranges: usize,
    depth: usize,
    defined: BTreeMap<String, List>,
}

impl<'t> Parser<'t> {
    fn peek(&self) -> &Token<'t> {
        // The last token is the end, and nobody goes past it.
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn next(&mut self) -> Token<'t> {
        let token = self.peek().clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn accept(&mut self, kind: TokenKind) -> Option<Token<'t>> {
        (self.peek().kind == kind).then(|| self.next())
    }

    fn fail<T>(&self, offset: usize, message: impl Into<String>) -> Parsed<T> {
        Err(Wrong { offset, message: message.into() })
    }

    fn unexpected<T>(&self, token: &Token<'_>, context: &str) -> Parsed<T> {
        let what = match token.kind {
            TokenKind::End => "EOF".to_owned(),
            TokenKind::Keyword(_) | TokenKind::Dot => format!("<{}>", token.text),
            _ => format!("{:?}", token.text.chars().take(40).collect::<String>()),
        };
        self.fail(token.offset, format!("unexpected {what} in {context}"))
    }

    fn expect(&mut self, kind: TokenKind, context: &str) -> Parsed<Token<'t>> {
        match self.accept(kind) {
            Some(token) => Ok(token),
            None => self.unexpected(self.peek(), context),
        }
    }

    fn deeper(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > TEMPLATE_DEPTH_MAX {
            return self.fail(
                self.peek().offset,
                format!("the template is nested more than {TEMPLATE_DEPTH_MAX} levels deep"),
            );
        }
        Ok(())
    }

    /// The whole text: definitions stand here alone.
    fn top(&mut self) -> Parsed<List> {
        let mut list = List::new();
        while self.peek().kind != TokenKind::End {
            if self.peek().kind == TokenKind::Open
                && self.tokens.get(self.at + 1).is_some_and(|token| token.kind == TokenKind::Keyword(Keyword::Define))
            {
                self.at += 2;
                let variables = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
                self.definition()?;
                self.variables = variables;
                continue;
            }
            match self.node()? {
                Ok(node) => list.push(node),
                Err((Ending::End, offset)) => return self.fail(offset, "unexpected {{end}}"),
                Err((Ending::Else, offset)) => return self.fail(offset, "unexpected {{else}}"),
            }
        }
        list.shrink_to_fit();
        Ok(list)
    }

    fn definition(&mut self) -> Parsed<()> {
        let name = self.template_name("define clause")?;
        self.expect(TokenKind::Close, "define clause")?;
        let offset = self.peek().offset;
        let (list, ending) = self.list()?;
        if ending != Ending::End {
            return self.fail(self.peek().offset, "unexpected {{else}} in define clause");
        }
        self.define(name, list, offset)
    }

    fn define(&mut self, name: String, list: List, offset: usize) -> Parsed<()> {
        let is_empty = |list: &List| list.iter().all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()));
        match self.defined.get(&name) {
            Some(known) if !is_empty(known) && !is_empty(&list) => {
                self.fail(offset, format!("template: multiple definition of template {name:?}"))
            }
            Some(known) if !is_empty(known) => Ok(()),
            _ => {
                self.defined.insert(name, list);
                Ok(())
            }
        }
    }

    fn template_name(&mut self, context: &str) -> Parsed<String> {
        let token = self.next();
        match token.kind {
            TokenKind::Quoted | TokenKind::Raw => self.unquoted(&token),
            _ => self.unexpected(&token, context),
        }
    }

    /// Nodes up to `{{end}}` or `{{else`.
    fn list(&mut self) -> Parsed<(List, Ending)> {
        self.deeper()?;
        let mut list = List::new();
        while self.peek().kind != TokenKind::End {
            match self.node()? {
                Ok(node) => list.push(node),
                Err((ending, _)) => {
                    self.depth -= 1;
                    return Ok((list, ending));
                }
            }
        }
        self.fail(self.peek().offset, "unexpected EOF")
    }

    fn node(&mut self) -> Parsed<Result<Node, (Ending, usize)>> {
        let token = self.next();
        if token.kind == TokenKind::Text {
            return Ok(Ok(Node::Text(token.text.to_owned())));
        }
        let offset = self.peek().offset;
        let TokenKind::Keyword(keyword) = self.peek().kind else {
            return self.action().map(Ok);
        };
        if keyword == Keyword::Nil {
            return self.action().map(Ok);
        }
        let word = self.next();
        let node = match keyword {
            Keyword::If => Node::If(self.control("if")?),
            Keyword::Range => Node::Range(self.control("range")?),
            Keyword::With => Node::With(self.control("with")?),
            Keyword::Template => self.template()?,
            Keyword::Block => self.block(offset)?,
            Keyword::Break | Keyword::Continue => {
                if self.ranges == 0 {
                    return self.fail(offset, format!("{{{{{}}}}} outside {{{{range}}}}", word.text));
                }
                self.expect(TokenKind::Close, &format!("{{{{{}}}}}", word.text))?;
                if keyword == Keyword::Break { Node::Break } else { Node::Continue }
            }
            Keyword::End => {
                self.expect(TokenKind::Close, "end")?;
                return Ok(Err((Ending::End, offset)));
            }
            Keyword::Else => {
                if !matches!(self.peek().kind, TokenKind::Keyword(Keyword::If | Keyword::With)) {
                    self.expect(TokenKind::Close, "else")?;
                }
                return Ok(Err((Ending::Else, offset)));
            }
            Keyword::Define | Keyword::Nil => return self.unexpected(&word, "command"),
        };
        Ok(Ok(node))
    }

    fn action(&mut self) -> Parsed<Node> {
        Ok(Node::Action(self.pipe("command", TokenKind::Close)?))
    }

    fn control(&mut self, context: &str) -> Parsed<Control> {
        let variables = self.variables.len();
        let pipe = self.pipe(context, TokenKind::Close)?;
        let is_range = context == "range";
        self.ranges += usize::from(is_range);
        let (then, ending) = self.list()?;
        self.ranges -= usize::from(is_range);
        let otherwise = if ending == Ending::Else { self.otherwise(context)? } else { List::new() };
        self.variables.truncate(variables);
        Ok(Control { pipe, then, otherwise })
    }

    /// What stands behind `else`: `else if` is an `if` inside of it that shares its end.
    fn otherwise(&mut self, context: &str) -> Parsed<List> {
        let token = self.peek().clone();
        let nested = match (token.kind, context) {
            (TokenKind::Keyword(Keyword::If), "if") | (TokenKind::Keyword(Keyword::With), "with") => true,
            (TokenKind::Keyword(_), _) => return self.unexpected(&token, "else"),
            _ => false,
        };
        if nested {
            self.next();
            self.deeper()?;
            let control = self.control(context)?;
            self.depth -= 1;
            return Ok(vec![if context == "if" { Node::If(control) } else { Node::With(control) }]);
        }
        let (list, ending) = self.list()?;
        if ending == Ending::Else {
            return self.fail(self.peek().offset, "expected end; found {{else}}");
        }
        Ok(list)
    }

    fn template(&mut self) -> Parsed<Node> {
        let offset = self.peek().offset;
        let name = self.template_name("template clause")?;
        let pipe = match self.accept(TokenKind::Close) {
            Some(_) => None,
            None => Some(self.pipe("template clause", TokenKind::Close)?),
        };
        Ok(Node::Template { offset: number(offset), name, pipe })
    }

    fn block(&mut self, offset: usize) -> Parsed<Node> {
        let name = self.template_name("block clause")?;
        let pipe = self.pipe("block clause", TokenKind::Close)?;
        let variables = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let (list, ending) = self.list()?;
        if ending != Ending::End {
            return self.fail(offset, "unexpected {{else}} in block clause");
        }
        self.variables = variables;
        self.define(name.clone(), list, offset)?;
        Ok(Node::Template { offset: number(offset), name, pipe: Some(pipe) })
    }

    fn pipe(&mut self, context: &str, end: TokenKind) -> Parsed<Pipe> {
        self.deeper()?;
        let offset = self.peek().offset;
        let (variables, assigns) = self.declared(context)?;
        let mut commands: Vec<Command> = Vec::new();
        loop {
            let token = self.peek().clone();
            if token.kind == end {
                self.next();
                break;
            }
            commands.push(self.command(context)?);
        }
        if commands.is_empty() {
            return self.fail(offset, format!("missing value for {context}"));
        }
        for (at, command) in commands.iter().enumerate().skip(1) {
            let is_constant = |kind: &WordKind| {
                matches!(
                    kind,
                    WordKind::Dot | WordKind::Nil | WordKind::Bool(_) | WordKind::Number(_) | WordKind::Text { .. }
                )
            };
            if command.words.first().is_some_and(|word| is_constant(&word.kind)) {
                let message = format!("non executable command in pipeline stage {}", at + 1);
                return self.fail(command.offset as usize, message);
            }
        }
        self.depth -= 1;
        let of_range = context == "range";
        commands.shrink_to_fit();
        Ok(Pipe { offset: number(offset), variables, assigns, of_range, commands })
    }

    /// `$x :=`, `$x =`, or in a range `$i, $x :=`.
    fn declared(&mut self, context: &str) -> Parsed<(Vec<String>, bool)> {
        let kind = |parser: &Parser<'_>, ahead: usize| parser.tokens.get(parser.at + ahead).map(|token| token.kind);
        let mut names = Vec::new();
        loop {
            if kind(self, 0) != Some(TokenKind::Variable) {
                break;
            }
            match kind(self, 1) {
                Some(TokenKind::Declare | TokenKind::Assign) => {
                    let name = self.next().text.to_owned();
                    let assigns = self.next().kind == TokenKind::Assign;
                    names.push(name);
                    if !assigns {
                        self.variables.extend(names.iter().cloned());
                    }
                    names.shrink_to_fit();
                    return Ok((names, assigns));
                }
                Some(TokenKind::Comma) if context == "range" && names.is_empty() => {
                    names.push(self.next().text.to_owned());
                    self.next();
                    match kind(self, 0) {
                        Some(TokenKind::Variable) => {}
                        _ => return self.fail(self.peek().offset, "range can only initialize variables"),
                    }
                }
                Some(TokenKind::Comma) => {
                    return self.fail(self.peek().offset, format!("too many declarations in {context}"));
                }
                _ => break,
            }
        }
        match names.is_empty() {
            true => Ok((names, false)),
            false => self.unexpected(self.peek(), context),
        }
    }

    fn command(&mut self, context: &str) -> Parsed<Command> {
        let offset = self.peek().offset;
        let mut words = Vec::new();
        loop {
            match self.operand()? {
                Some(word) => words.push(word),
                None if words.is_empty() => return self.unexpected(self.peek(), context),
                None => {}
            }
            let token = self.peek();
            match token.kind {
                TokenKind::Close | TokenKind::RightParen => break,
                TokenKind::Pipe => {
                    self.next();
                    break;
                }
                _ if token.spaced && begins_word(token.kind) => {}
                _ => return self.unexpected(token, "operand"),
            }
        }
        words.shrink_to_fit();
        Ok(Command { offset: number(offset), words })
    }

    fn operand(&mut self) -> Parsed<Option<Word>> {
        let Some(mut word) = self.term()? else { return Ok(None) };
        let token = self.peek();
        if token.kind != TokenKind::Field || token.spaced {
            return Ok(Some(word));
        }
        let offset = token.offset;
        let mut fields = Vec::new();
        while self.peek().kind == TokenKind::Field && !self.peek().spaced {
            fields.push(self.next().text[1..].to_owned());
        }
        fields.shrink_to_fit();
        word.kind = match word.kind {
            WordKind::Field(mut names) => {
                names.append(&mut fields);
                names.shrink_to_fit();
                WordKind::Field(names)
            }
            WordKind::Variable(name, mut names) => {
                names.append(&mut fields);
                WordKind::Variable(name, names)
            }
            WordKind::Dot | WordKind::Nil | WordKind::Bool(_) | WordKind::Number(_) | WordKind::Text { .. } => {
                return self.fail(offset, format!("unexpected . after term {:?}", word.to_string()));
            }
            kind => WordKind::Chain(Box::new(Word { offset: word.offset, kind }), fields),
        };
        word.offset = number(offset);
        Ok(Some(word))
    }

    fn term(&mut self) -> Parsed<Option<Word>> {
        let token = self.peek().clone();
        let kind = match token.kind {
            TokenKind::Identifier => match self.functions.get(token.text) {
                Some(function) => WordKind::Function(function),
                None => return self.fail(token.offset, format!("function {:?} not defined", token.text)),
            },
            TokenKind::Dot => WordKind::Dot,
            TokenKind::Keyword(Keyword::Nil) => WordKind::Nil,
            TokenKind::Variable => {
                if !self.variables.iter().any(|name| name == token.text) {
                    return self.fail(token.offset, format!("undefined variable {:?}", token.text));
                }
                WordKind::Variable(token.text.to_owned(), Vec::new())
            }
            TokenKind::Field => WordKind::Field(vec![token.text[1..].to_owned()]),
            TokenKind::Bool => WordKind::Bool(token.text == "true"),
            TokenKind::Number | TokenKind::Char => {
                WordKind::Number(constants::number(&token).or_else(|message| self.fail(token.offset, message))?)
            }
            TokenKind::Quoted | TokenKind::Raw => {
                WordKind::Text { quoted: token.text.to_owned(), value: self.unquoted(&token)? }
            }
            TokenKind::LeftParen => {
                self.next();
                let pipe = self.pipe("parenthesized pipeline", TokenKind::RightParen)?;
                return Ok(Some(Word { offset: pipe.offset, kind: WordKind::Pipe(Box::new(pipe)) }));
            }
            _ => return Ok(None),
        };
        self.next();
        Ok(Some(Word { offset: number(token.offset), kind }))
    }

    fn unquoted(&self, token: &Token<'_>) -> Parsed<String> {
        constants::unquoted(token).map_or_else(|message| self.fail(token.offset, message), Ok)
    }
}

fn begins_word(kind: TokenKind) -> bool {
    matches!(
        kind,
        TokenKind::Identifier
            | TokenKind::Dot
            | TokenKind::Keyword(Keyword::Nil)
            | TokenKind::Variable
            | TokenKind::Field
            | TokenKind::Bool
            | TokenKind::Number
            | TokenKind::Char
            | TokenKind::Quoted
            | TokenKind::Raw
            | TokenKind::LeftParen
    )
}

/// Offsets fit: texts are bounded.
fn number(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}
