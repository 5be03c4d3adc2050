//! How much a zstd body can decompress to, by its frames' and blocks' headers alone (RFC 8878, section 3.1).
//!
//! A frame may declare its length, and the decoder holds it to that. One that does not is a row of blocks, each of which
//! says how much it is, or at least can be no more than [`BLOCK_BYTES_MAX`].

use zstd::zstd_safe;

/// The most that one block decompresses to.
const BLOCK_BYTES_MAX: u64 = 128 << 10;
/// Magic number, descriptor and window, which every frame that declares no length begins with.
const HEADER_BYTES: usize = 4 + 1 + 1;
const CHECKSUM_BYTES: usize = 4;
/// Magic numbers of frames that carry no data, but for their last four bits.
const SKIPPABLE_MAGIC: u32 = 0x184d_2a50;

/// What a body's frames hold together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bound {
    /// Bytes of the frames that declare their length.
    pub(super) declared: u64,
    /// The most bytes of the others.
    pub(super) undeclared: u64,
}

/// Walks the frames of a body; `None` if their headers are damaged or it ends inside one.
pub(super) fn of_frames(mut rest: &[u8]) -> Option<Bound> {
    let mut bound = Bound::default();
    while !rest.is_empty() {
        let magic = u32::from_le_bytes(*rest.first_chunk()?);
        let length = if magic & !0xf == SKIPPABLE_MAGIC {
            let size = u32::from_le_bytes(*rest.get(4..)?.first_chunk()?);
            8_usize.checked_add(size as usize)?
        } else if let Some(declared) = zstd_safe::get_frame_content_size(rest).ok()? {
            bound.declared = bound.declared.saturating_add(declared);
            zstd_safe::find_frame_compressed_size(rest).ok()?
        } else {
            let (length, most) = of_blocks(rest)?;
            bound.undeclared = bound.undeclared.saturating_add(most);
            length
        };
        rest = rest.get(length..)?;
    }
    Some(bound)
}

/// The length of a frame that does not declare its content's, and the most that its blocks hold.
fn of_blocks(frame: &[u8]) -> Option<(usize, u64)> {
    const RAW: u32 = 0;
    const RUN: u32 = 1;
    const COMPRESSED: u32 = 2;
    let descriptor = *frame.get(4)?;
    let dictionary_bytes = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let checksum_bytes = if descriptor & 4 == 0 { 0 } else { CHECKSUM_BYTES };
    let mut at = HEADER_BYTES + dictionary_bytes;
    let mut most = 0_u64;
    loop {
        let [a, b, c] = *frame.get(at..)?.first_chunk()?;
        let header = u32::from_le_bytes([a, b, c, 0]);
        let size = header >> 3;
        let stored = match header >> 1 & 3 {
            RAW => size,
            RUN => 1,
            COMPRESSED => size,
            _ => return None,
        };
        most += if header >> 1 & 3 == COMPRESSED { BLOCK_BYTES_MAX } else { u64::from(size) };
        at = at.checked_add(3 + stored as usize)?;
        if header & 1 == 1 {
            return Some((at + checksum_bytes, most));
        }
    }
}
