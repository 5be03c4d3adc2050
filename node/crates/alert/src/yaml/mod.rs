//! YAML as a tree that knows where everything stands in its file.
//!
//! **The only module that names the YAML parser.** Aliases share what they stand for and are counted in full, so a document of
//! nested aliases is refused before anybody walks it. Merge keys (`<<`) are resolved. Decoding is in [`fields`].

pub mod fields;
mod places;
pub mod problems;
pub mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};

use crate::limits::{FILE_BYTES_MAX, YAML_DEPTH_MAX, YAML_NODES_MAX};
use problems::Problem;

/// A place in a file, as people count: from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl Place {
    /// Where a file begins.
    pub const START: Place = Place { line: 1, column: 1 };

    fn of(marker: &Marker) -> Place {
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Place { line: number(marker.line()).max(1), column: number(marker.col()).saturating_add(1) }
    }
}

/// A node of the document.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where it begins; of an alias, where what it stands for begins.
    pub place: Place,
    /// What it is.
    pub kind: Kind,
    /// Nodes and bytes below it, itself included, aliases counted in full.
    weight: Weight,
}

/// What a node is.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A scalar.
    Scalar(Scalar),
    /// `[a, b]`
    Sequence(Vec<Arc<Node>>),
    /// `{a: b}`, in the order of the file, keys unique.
    Mapping(Vec<Entry>),
}

/// A key and its value.
pub type Entry = (Arc<Node>, Arc<Node>);

/// A scalar.
#[derive(Debug, Clone)]
pub struct Scalar {
    /// Its text, quotes, escapes and folding resolved.
    pub value: String,
    /// How it is written.
    style: Style,
}

/// How a scalar is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    SingleQuoted,
    DoubleQuoted,
    /// `|` or `>`
    Block,
    /// Whatever it looks like, it is text (`!!str`).
    Tagged,
}

#[derive(Debug, Clone, Copy, Default)]
struct Weight {
    nodes: usize,
    bytes: usize,
}

impl Node {
    /// Whether it is nothing: `~`, `null` or no text at all.
    pub fn is_null(&self) -> bool {
        match &self.kind {
            Kind::Scalar(scalar) => {
                scalar.style == Style::Plain && matches!(scalar.value.as_str(), "" | "~" | "null" | "Null" | "NULL")
            }
            _ => false,
        }
    }

    /// What it is, for messages.
    pub fn describe(&self) -> &'static str {
        match &self.kind {
            _ if self.is_null() => "nothing",
            Kind::Scalar(_) => "a scalar",
            Kind::Sequence(_) => "a list",
            Kind::Mapping(_) => "a mapping",
        }
    }
}

/// Reads the only document of a file; `None` if there is nothing in it.
pub fn read(text: &str) -> Result<Option<Arc<Node>>, Problem> {
    if text.len() > FILE_BYTES_MAX {
        let message = format!("the file has {} bytes, the limit is {FILE_BYTES_MAX}", text.len());
        return Err(Problem { place: Place::START, message });
    }
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| Problem {
            place: Place::of(error.marker()),
            message: format!("this is not YAML: {}", error.info()),
        })?;
        builder.take(event, span)?;
    }
    Ok(builder.root)
}

/// A collection whose end has not come yet.
struct Open {
    place: Place,
    anchor: usize,
    is_mapping: bool,
    /// Of a mapping keys and values in turns.
    items: Vec<Arc<Node>>,
    weight: Weight,
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: BTreeMap<usize, Arc<Node>>,
    root: Option<Arc<Node>>,
    /// Where each begins.
    documents: Vec<Place>,
}

fn refuse<T>(place: Place, message: impl Into<String>) -> Result<T, Problem> {
    Err(Problem { place, message: message.into() })
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        let place = Place::of(&span.start);
        match event {
            Event::DocumentStart(_) => {
                self.documents.push(place);
                Ok(())
            }
            Event::Scalar(value, style, anchor, tag) => {
                let is_text = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
                let style = match style {
                    ScalarStyle::Plain if is_text => Style::Tagged,
                    ScalarStyle::Plain => Style::Plain,
                    ScalarStyle::SingleQuoted => Style::SingleQuoted,
                    ScalarStyle::DoubleQuoted => Style::DoubleQuoted,
                    ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
                };
                let weight = Weight { nodes: 1, bytes: value.len() };
                let kind = Kind::Scalar(Scalar { value: value.into_owned(), style });
                self.add(Arc::new(Node { place, kind, weight }), anchor)
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(node) => self.add(node, 0),
                None => refuse(place, "an alias stands inside of what it stands for"),
            },
            Event::SequenceStart(anchor, _) => self.begin(place, anchor, false),
            Event::MappingStart(anchor, _) => self.begin(place, anchor, true),
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    /// Refuses what stands in a document that is not the first. Files end with `---` now and then, so nothing may stand there.
    fn in_first_document(&self) -> Result<(), Problem> {
        match self.documents.get(1..).and_then(<[Place]>::last) {
            Some(place) => refuse(*place, "a file holds one document; this is another"),
            None => Ok(()),
        }
    }

    fn begin(&mut self, place: Place, anchor: usize, is_mapping: bool) -> Result<(), Problem> {
        self.in_first_document()?;
        if self.open.len() >= YAML_DEPTH_MAX {
            return refuse(place, format!("the document is nested more than {YAML_DEPTH_MAX} levels deep"));
        }
        let weight = Weight { nodes: 1, bytes: 0 };
        self.open.push(Open { place, anchor, is_mapping, items: Vec::new(), weight });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Problem> {
        let Some(Open { place, anchor, is_mapping, items, weight }) = self.open.pop() else { return Ok(()) };
        let kind = if is_mapping { Kind::Mapping(entries(items)?) } else { Kind::Sequence(items) };
        self.add(Arc::new(Node { place, kind, weight }), anchor)
    }

    fn add(&mut self, node: Arc<Node>, anchor: usize) -> Result<(), Problem> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            if !node.is_null() {
                self.in_first_document()?;
            }
            self.root.get_or_insert(node);
            return Ok(());
        };
        open.weight.nodes = open.weight.nodes.saturating_add(node.weight.nodes);
        open.weight.bytes = open.weight.bytes.saturating_add(node.weight.bytes);
        if open.weight.nodes > YAML_NODES_MAX {
            return refuse(open.place, format!("the document has more than {YAML_NODES_MAX} nodes, aliases included"));
        }
        if open.weight.bytes > FILE_BYTES_MAX {
            return refuse(open.place, format!("the document has more than {FILE_BYTES_MAX} bytes, aliases included"));
        }
        open.items.push(node);
        Ok(())
    }
}

/// Pairs keys with values, and puts in what is merged below the mapping's own entries.
fn entries(items: Vec<Arc<Node>>) -> Result<Vec<Entry>, Problem> {
    let mut own: Vec<Entry> = Vec::with_capacity(items.len() / 2);
    let mut seen: BTreeMap<String, Place> = BTreeMap::new();
    let mut merged = Vec::new();
    let mut items = items.into_iter();
    while let (Some(key), Some(value)) = (items.next(), items.next()) {
        let Kind::Scalar(scalar) = &key.kind else {
            return refuse(key.place, format!("a key must be a scalar, this is {}", key.describe()));
        };
        if scalar.value == "<<" && scalar.style == Style::Plain {
            merged.push(value);
            continue;
        }
        if let Some(first) = seen.insert(scalar.value.clone(), key.place) {
            return refuse(key.place, format!("the key {:?} is there already, at {first}", scalar.value));
        }
        own.push((key, value));
    }
    for value in merged {
        let all = match &value.kind {
            Kind::Mapping(_) => vec![value.clone()],
            Kind::Sequence(several) => several.clone(),
            Kind::Scalar(_) => Vec::new(),
        };
        if all.is_empty() {
            return refuse(value.place, "what is merged must be a mapping or a list of mappings");
        }
        for mapping in all {
            let Kind::Mapping(entries) = &mapping.kind else {
                return refuse(
                    mapping.place,
                    format!("what is merged must be a mapping, this is {}", mapping.describe()),
                );
            };
            for (key, value) in entries {
                if let Kind::Scalar(scalar) = &key.kind
                    && !seen.contains_key(&scalar.value)
                {
                    seen.insert(scalar.value.clone(), key.place);
                    own.push((key.clone(), value.clone()));
                }
            }
        }
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut text = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (below, name) in ('a'..='j').zip('b'..='k') {
            let aliases = vec![format!("*{below}"); 10].join(", ");
            text.push_str(&format!("{name}: &{name} [{aliases}]\n"));
        }
        assert!(message(&text).contains("more than 2000000 nodes"), "{}", message(&text));
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; 17].join(", "));
        assert!(message(&long).contains("more than 16777216 bytes"), "{}", message(&long));
        assert!(message("a: &a [*a]").contains("inside of what it stands for"));
    }

    #[test]
    fn what_is_nested_too_deep_is_refused() {
        // The parser has a limit of its own, which it meets first where it reads ahead.
        assert_eq!(message(&"[".repeat(10_000)), "1:256: this is not YAML: recursion limit exceeded");
        let too_deep = "the document is nested more than 64 levels deep";
        assert!(message(&"- ".repeat(10_000)).contains(too_deep));
        assert_eq!(message(&format!("{}{}", "[".repeat(100), "]".repeat(100))), format!("1:65: {too_deep}"));
    }

    #[test]
    fn errors_have_places() {
        assert_eq!(message("a: 1\nb: 2\na: 3\n"), "3:1: the key \"a\" is there already, at 1:1");
        assert_eq!(message("a: 1\n---\nb: 2\n"), "2:1: a file holds one document; this is another");
        assert_eq!(message("a: 1\n---\n---\ntext\n"), "3:1: a file holds one document; this is another");
        assert!(message("a: [1\nb: 2").contains("this is not YAML"));
        assert!(read("").unwrap().is_none());
    }

    #[test]
    fn a_second_document_may_be_empty() {
        for end in ["---\n", "---\n# the end\n", "...\n", "---\n~\n---\n"] {
            let root = read(&format!("a: 1\n{end}")).unwrap().unwrap();
            assert_eq!(root.describe(), "a mapping", "{end}");
        }
    }

    #[test]
    fn merged_mappings_stand_below_own_entries() {
        let root = read("base: &base {a: 1, b: 2}\nown:\n  <<: *base\n  b: 3\n").unwrap().unwrap();
        let Kind::Mapping(entries) = &root.kind else { panic!("a mapping") };
        let Kind::Mapping(own) = &entries[1].1.kind else { panic!("a mapping") };
        let text = |node: &Node| match &node.kind {
            Kind::Scalar(scalar) => scalar.value.clone(),
            _ => panic!("a scalar"),
        };
        let own: Vec<_> = own.iter().map(|(key, value)| (text(key), text(value))).collect();
        assert_eq!(own, [("b".to_owned(), "3".to_owned()), ("a".to_owned(), "1".to_owned())]);
    }

    proptest! {
        #[test]
        fn any_text_is_a_tree_or_an_error(text in "[-a-c:\\[\\]{},&*'\"|>#!<\n ]{0,80}") {
            let _ = read(&text);
        }
    }
}
