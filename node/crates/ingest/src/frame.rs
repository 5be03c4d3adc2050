//! Reading frames: one request's part for one shard group. Layout: `node/docs/format/shard-batch.md`.

use bellwether_model::{RefEpoch, SeriesHash, Tenant};

use crate::cursor::{Cursor, FormatError};
use crate::row_columns::{RowBlock, RowColumns};
use crate::shard_batch::RefScope;

pub(crate) const FRAME_VERSION: u8 = 1;
/// Flag: registrations and their rows follow the rows.
pub(crate) const HAS_REGISTRATIONS: u8 = 1;

const FORMAT: &str = "the frame";
/// Bytes of the shortest registration.
const REGISTRATION_BYTES_MIN: usize = 17;

/// A frame. Making one checks its structure and allocates nothing; contents are checked as they are read.
#[derive(Debug, Clone)]
pub struct FrameReader<'a> {
    scope: RefScope,
    rows: RowBlock<'a>,
    registrations: Option<Registrations<'a>>,
}

#[derive(Debug, Clone)]
struct Registrations<'a> {
    tenant: &'a str,
    count: usize,
    list: Cursor<'a>,
    rows: RowBlock<'a>,
}

/// A series that the group may not know yet. The labels are checked by `Labels::from_canonical`, once they are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegistrationRef<'a> {
    /// Its hash, as the gateway made it.
    pub hash: SeriesHash,
    /// Canonical label bytes.
    pub labels: &'a [u8],
}

impl<'a> FrameReader<'a> {
    /// Reads the structure.
    pub fn new(bytes: &'a [u8]) -> Result<FrameReader<'a>, FormatError> {
        let mut cursor = Cursor::new(FORMAT, bytes);
        cursor.version(FRAME_VERSION)?;
        let flags = cursor.u8("the flags")?;
        if flags & !HAS_REGISTRATIONS != 0 {
            return Err(cursor.invalid("an unknown flag is set"));
        }
        let epoch = RefEpoch(cursor.u64("the ref epoch")?);
        let range_generation = cursor.varint_u32("the range generation")?;
        let rows = RowBlock::read(&mut cursor)?;
        let registrations = match flags & HAS_REGISTRATIONS {
            0 => None,
            _ => Some(Registrations::read(&mut cursor)?),
        };
        cursor.expect_end()?;
        Ok(FrameReader { scope: RefScope { epoch, range_generation }, rows, registrations })
    }

    /// The incarnation that the refs belong to. Registrations hold in any.
    pub fn scope(&self) -> RefScope {
        self.scope
    }

    /// Samples of known series.
    pub fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// Samples of series to be registered.
    pub fn registered_row_count(&self) -> usize {
        self.registrations.as_ref().map_or(0, |registrations| registrations.rows.len())
    }

    /// Series to be registered.
    pub fn registration_count(&self) -> usize {
        self.registrations.as_ref().map_or(0, |registrations| registrations.count)
    }

    /// Whose series are to be registered; `None` if there are none.
    pub fn tenant(&self) -> Result<Option<Tenant>, FormatError> {
        let Some(registrations) = &self.registrations else {
            return Ok(None);
        };
        let tenant = Tenant::new(registrations.tenant);
        tenant.map(Some).map_err(|_| registrations.list.invalid("the tenant's name is not valid"))
    }

    /// The series to be registered.
    pub fn registrations(&self) -> impl Iterator<Item = Result<RegistrationRef<'a>, FormatError>> + use<'a> {
        let (count, mut list) = match &self.registrations {
            Some(registrations) => (registrations.count, registrations.list.clone()),
            None => (0, Cursor::new(FORMAT, &[])),
        };
        (0..count).map(move |_| read_registration(&mut list))
    }

    /// Replaces the contents of `out` by the samples of known series.
    pub fn read_rows(&self, out: &mut RowColumns) -> Result<(), FormatError> {
        self.rows.decode(out)
    }

    /// Replaces the contents of `out` by the samples of series to be registered: `refs` are indexes into
    /// [`registrations`](Self::registrations), all below their number.
    pub fn read_registered_rows(&self, out: &mut RowColumns) -> Result<(), FormatError> {
        let Some(registrations) = &self.registrations else {
            out.clear();
            return Ok(());
        };
        registrations.rows.decode(out)?;
        if out.refs.last().is_some_and(|last| last.0 as usize >= registrations.count) {
            return Err(registrations.list.invalid("a sample belongs to a registration that is not there"));
        }
        Ok(())
    }
}

impl<'a> Registrations<'a> {
    fn read(cursor: &mut Cursor<'a>) -> Result<Registrations<'a>, FormatError> {
        let tenant = cursor.text("the tenant")?;
        let count = cursor.length("registrations")?;
        if count.saturating_mul(REGISTRATION_BYTES_MIN) > cursor.remaining() {
            return Err(cursor.truncated("registrations"));
        }
        let list = cursor.clone();
        for _ in 0..count {
            read_registration(cursor)?;
        }
        let rows = RowBlock::read(cursor)?;
        Ok(Registrations { tenant, count, list, rows })
    }
}

fn read_registration<'a>(cursor: &mut Cursor<'a>) -> Result<RegistrationRef<'a>, FormatError> {
    let hash = SeriesHash(cursor.u128("a series hash")?);
    Ok(RegistrationRef { hash, labels: cursor.sized("labels")? })
}
