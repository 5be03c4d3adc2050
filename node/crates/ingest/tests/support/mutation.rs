//! Valid bytes with a few changes: what random bytes alone never reach.

/// Applies the changes that `script` describes, three bytes each: where, how, and with what.
pub fn mutated(valid: &[u8], script: &[u8]) -> Vec<u8> {
    const CHANGES_MAX: usize = 8;
    let mut bytes = valid.to_vec();
    for change in script.chunks_exact(3).take(CHANGES_MAX) {
        let at = usize::from(change[0]) * bytes.len() / 256;
        match change[1] % 4 {
            _ if bytes.is_empty() => bytes.push(change[2]),
            0 => bytes[at] ^= 1 << (change[2] % 8),
            1 => bytes[at] = change[2],
            2 => bytes.insert(at, change[2]),
            _ => bytes.truncate(at),
        }
    }
    bytes
}
