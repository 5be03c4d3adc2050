//! Chains of small blocks of words, carved from pages: open chunks grow without moving and without an allocation each.

use super::pages::Pages;

/// Words per block: with its link a block fills one cache line.
const WORDS_PER_BLOCK: usize = 7;
/// Blocks per page: 256 KiB at a time, but for the first.
const BLOCKS_PER_PAGE: usize = 4096;

/// No block.
const NONE: u32 = u32::MAX;

#[repr(align(64))]
#[derive(Clone, Copy)]
struct Block {
    words: [u64; WORDS_PER_BLOCK],
    next: u32,
    used: u32,
}

/// A sequence of words in [`Words`].
#[derive(Debug, Clone, Copy)]
pub struct Chain {
    first: u32,
    last: u32,
}

impl Chain {
    /// No words.
    pub const EMPTY: Chain = Chain { first: NONE, last: NONE };
}

/// The blocks of all chains.
#[derive(Default)]
pub struct Words {
    pages: Pages<Block, BLOCKS_PER_PAGE>,
}

impl Words {
    /// Adds a word at the end of a chain.
    #[inline]
    pub fn push(&mut self, chain: &mut Chain, word: u64) {
        if chain.last != NONE {
            let block = self.pages.get_mut(chain.last);
            if (block.used as usize) < WORDS_PER_BLOCK {
                block.words[block.used as usize] = word;
                block.used += 1;
                return;
            }
        }
        self.push_block(chain, word);
    }

    #[cold]
    fn push_block(&mut self, chain: &mut Chain, word: u64) {
        let mut words = [0; WORDS_PER_BLOCK];
        words[0] = word;
        let new = self.pages.push(Block { words, next: NONE, used: 1 });
        if chain.last == NONE {
            chain.first = new;
        } else {
            self.pages.get_mut(chain.last).next = new;
        }
        chain.last = new;
    }

    /// The words of a chain, in order.
    pub fn iter(&self, chain: Chain) -> impl Iterator<Item = u64> + '_ {
        let mut next = chain.first;
        std::iter::from_fn(move || {
            if next == NONE {
                return None;
            }
            let block = self.pages.get(next);
            next = block.next;
            Some(&block.words[..block.used as usize])
        })
        .flatten()
        .copied()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.pages.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interleaved_chains_keep_their_words_apart() {
        let mut words = Words::default();
        let mut chains = [Chain::EMPTY; 5];
        for round in 0..10_000u64 {
            let at = (round * 7 % 5) as usize;
            words.push(&mut chains[at], round);
        }
        for (at, chain) in chains.iter().enumerate() {
            let expected: Vec<u64> = (0..10_000).filter(|round| (round * 7 % 5) as usize == at).collect();
            assert_eq!(words.iter(*chain).collect::<Vec<_>>(), expected);
        }
        assert_eq!(words.iter(Chain::EMPTY).count(), 0);
    }
}
