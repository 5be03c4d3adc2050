//! Where a part of a scalar stands in its file.

use super::{Kind, Node, Place, Style};

impl Node {
    /// The place of the byte at `offset` of a scalar's value; the scalar's own where that cannot be told.
    ///
    /// Value and file are walked side by side: what a reader folds, indents and escapes differs in white space and escapes
    /// alone.
    pub fn place_within(&self, file: &str, offset: usize) -> Place {
        self.find(file, offset).unwrap_or(self.place)
    }

    fn find(&self, file: &str, offset: usize) -> Option<Place> {
        let Kind::Scalar(scalar) = &self.kind else { return None };
        let value = scalar.value.get(..offset)?;
        let rest = scalar.value[offset..].chars().next();
        let mut source = Source::at(file, self.place)?;
        match scalar.style {
            Style::Plain => {}
            Style::SingleQuoted | Style::DoubleQuoted => source.skip_one(),
            // It is placed at its text; what stands in front of that is white space.
            Style::Block => {}
            Style::Tagged => return None,
        }
        for c in value.chars() {
            source.pass(c, scalar.style)?;
        }
        if rest.is_some_and(|c| !c.is_whitespace()) {
            source.skip_space();
        }
        Some(source.place)
    }
}

struct Source<'f> {
    rest: std::iter::Peekable<std::str::Chars<'f>>,
    place: Place,
}

impl<'f> Source<'f> {
    fn at(file: &'f str, place: Place) -> Option<Source<'f>> {
        let mut rest = file;
        for _ in 1..place.line {
            rest = &rest[rest.find('\n')? + 1..];
        }
        let mut rest = rest.chars().peekable();
        for _ in 1..place.column {
            rest.next()?;
        }
        Some(Source { rest, place })
    }

    fn peek(&mut self) -> Option<char> {
        self.rest.peek().copied()
    }

    fn skip_one(&mut self) {
        match self.rest.next() {
            Some('\n') => self.place = Place { line: self.place.line + 1, column: 1 },
            Some(_) => self.place.column += 1,
            None => {}
        }
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.skip_one();
        }
    }

    /// Goes past what stands for `c`.
    fn pass(&mut self, c: char, style: Style) -> Option<()> {
        if c.is_whitespace() {
            if style == Style::DoubleQuoted && self.peek()? == '\\' {
                self.skip_one();
                self.skip_one();
            } else if self.peek()? == c {
                self.skip_one();
            }
            // A break may be gone, or have become a space: what follows skips it.
            return Some(());
        }
        self.skip_space();
        match (style, self.peek()?) {
            (Style::DoubleQuoted, '\\') => {
                self.skip_one();
                let escaped = self.peek()?;
                if escaped != c {
                    return None;
                }
                self.skip_one();
            }
            (Style::SingleQuoted, '\'') if c == '\'' => {
                self.skip_one();
                self.skip_one();
            }
            (_, found) if found == c => self.skip_one(),
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::read;

    /// Where `part` stands, by the walk, is where `^` points.
    fn check(file: &str, part: &str, line: u32, column: u32) {
        let root = read(file).unwrap().unwrap();
        let Kind::Mapping(entries) = &root.kind else { panic!("a mapping") };
        let Kind::Scalar(scalar) = &entries[0].1.kind else { panic!("a scalar") };
        let offset = scalar.value.find(part).unwrap();
        assert_eq!(entries[0].1.place_within(file, offset), Place { line, column }, "{file}");
    }

    #[test]
    fn a_part_is_found_however_it_is_written() {
        check("a: sum(x)", "x", 1, 8);
        check("a: sum(x)\n  + bad", "bad", 2, 5);
        check("a: 'it''s bad'", "bad", 1, 11);
        check("a: \"x{y=\\\"z\\\"} bad\"", "bad", 1, 16);
        check("a: |\n  sum(\n    bad\n  )\n", "bad", 3, 5);
        check("a: >-\n  sum(\n    x)\n  + bad\n", "bad", 4, 5);
        check("a: >-\n\n  sum(x)\n\n  + bad\n", "bad", 5, 5);
        check("a: \"\\u0041 bad\"", "bad", 1, 4);
    }
}
