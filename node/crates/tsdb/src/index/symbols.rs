//! Interned strings: each distinct text is held once and named by a small number, given in order of first appearance.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

/// A text of this table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(pub u32);

/// All texts, end to end.
#[derive(Default)]
pub struct Symbols {
    text: String,
    /// Where each text ends. Texts that nobody uses any more stay until the index is made anew, so only those in use have a bound.
    ends: Vec<u64>,
    by_text: HashTable<u32>,
}

impl Symbols {
    /// The symbol of `text`, new or known.
    pub fn intern(&mut self, text: &str) -> Symbol {
        let hash = xxh3_64(text.as_bytes());
        let (all, ends) = (&self.text, &self.ends);
        if let Some(found) = self.by_text.find(hash, |symbol| get(all, ends, *symbol) == text) {
            return Symbol(*found);
        }
        let symbol =
            u32::try_from(self.ends.len()).expect("the index bounds its pairs, and has two texts for each at most");
        self.text.push_str(text);
        self.ends.push(self.text.len() as u64);
        let (all, ends) = (&self.text, &self.ends);
        self.by_text.insert_unique(hash, symbol, |symbol| xxh3_64(get(all, ends, *symbol).as_bytes()));
        Symbol(symbol)
    }

    /// The symbol of `text`, if it is known.
    pub fn find(&self, text: &str) -> Option<Symbol> {
        let found = self.by_text.find(xxh3_64(text.as_bytes()), |symbol| get(&self.text, &self.ends, *symbol) == text);
        found.map(|symbol| Symbol(*symbol))
    }

    /// The text of a symbol of this table.
    pub fn text(&self, symbol: Symbol) -> &str {
        get(&self.text, &self.ends, symbol.0)
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.text.capacity() + self.ends.capacity() * 8 + self.by_text.capacity() * 5
    }
}

fn get<'a>(text: &'a str, ends: &[u64], symbol: u32) -> &'a str {
    let symbol = symbol as usize;
    let start = if symbol == 0 { 0 } else { ends[symbol - 1] as usize };
    &text[start..ends[symbol] as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_share_a_symbol() {
        let mut symbols = Symbols::default();
        let (a, empty, b) = (symbols.intern("a"), symbols.intern(""), symbols.intern("bé"));
        assert_eq!((symbols.intern("a"), symbols.intern("")), (a, empty));
        assert_eq!((symbols.text(a), symbols.text(empty), symbols.text(b)), ("a", "", "bé"));
        assert_eq!(symbols.find("bé"), Some(b));
        assert_eq!(symbols.find("c"), None);
    }
}
