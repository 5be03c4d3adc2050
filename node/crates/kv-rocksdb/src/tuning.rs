//! Every setting of RocksDB that differs from its default, with the reason.

use bellwether_kv::{Error, SpaceConfig, SpaceKind};
use rocksdb::{
    BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, Env, InfoLogger, IngestExternalFileOptions, LogLevel,
    Options, WriteBufferManager,
};

use crate::error::from_rocksdb;

/// What all engines of one disk share, and what each may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RocksOptions {
    /// Block cache of the spaces of records, shared. Spaces of runs and logs use none: what reads runs has a cache of
    /// its own, and a log is read once.
    pub cache_bytes: usize,
    /// Unflushed bytes of all engines at which whoever writes next flushes.
    pub write_buffers_bytes: usize,
    /// Threads for flushes and compactions, shared by all engines of the process.
    pub background_threads: i32,
    /// Sorted files that each engine keeps open; their indexes stay in memory.
    pub open_files_per_engine: i32,
    /// Whether sorted files are merged in the background when there are many. Without, only [`KvEngine::flush`] and
    /// [`KvEngine::drop_range`] merge any: for tests that must not depend on threads.
    ///
    /// [`KvEngine::flush`]: bellwether_kv::KvEngine::flush
    /// [`KvEngine::drop_range`]: bellwether_kv::KvEngine::drop_range
    pub background_merges: bool,
}

impl Default for RocksOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 16 * MIB,
            write_buffers_bytes: 64 * MIB,
            background_threads: 2,
            open_files_per_engine: 256,
            background_merges: true,
        }
    }
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// A space of records is written a few bytes at a time; a small buffer makes a restart cheap.
const RECORDS_BUFFER_BYTES: usize = MIB;
/// What a buffer allocates at its first record: 250 engines do that.
const RECORDS_ARENA_BYTES: usize = 16 * KIB;
const RECORDS_FILE_BYTES: u64 = 8 * MIB as u64;
const RECORDS_BLOCK_BYTES: usize = 4 * KIB;
const RECORDS_BLOOM_BITS_PER_KEY: f64 = 10.0;
/// Entries dropped while they are still in the buffer never reach a sorted file.
const LOG_BUFFER_BYTES: usize = 16 * MIB;
/// One that is written to and one that is flushed, and one more so that a slow flush does not stop writes.
const LOG_BUFFERS: i32 = 3;
const LOG_BLOCK_BYTES: usize = 16 * KIB;
/// A space of runs has a buffer only for the odd range delete.
const RUNS_BUFFER_BYTES: usize = 64 * KIB;
/// A value beyond this is a block of its own, so reading it reads nothing else.
const RUNS_BLOCK_BYTES: usize = 4 * KIB;
/// Runs lie in the last level; range deletes wait above it until the files that they reach into are rewritten.
const RUNS_LEVELS: i32 = 2;
/// Bytes of write-ahead log, per byte of buffers, at which the space with the oldest record is flushed.
const WAL_PER_BUFFER: u64 = 2;
/// The list of files is rewritten when it is larger than this and mostly history.
const MANIFEST_FILE_BYTES: usize = 128 * KIB;
/// Shards of the table of open files, each with memory of its own even when empty.
const OPEN_FILES_SHARD_BITS: i32 = 2;

const WITHOUT_SETTER: &str = "allow_fallocate=false;avoid_flush_during_shutdown=true;\
    avoid_flush_during_recovery=true;write_identity_file=false";

/// Options of all engines of a disk.
pub(crate) struct Tuning {
    options: RocksOptions,
    env: Env,
    cache: Cache,
    write_buffers: WriteBufferManager,
}

impl Tuning {
    pub(crate) fn new(options: RocksOptions, env: Env) -> Self {
        let cache = Cache::new_lru_cache(options.cache_bytes);
        // A stall would let one engine's slow flush stop another's log: buffers beyond the bound are flushed, no more.
        let write_buffers = WriteBufferManager::new_write_buffer_manager(options.write_buffers_bytes, false);
        Self { options, env, cache, write_buffers }
    }

    /// Options of an engine with these spaces.
    pub(crate) fn engine(&self, spaces: &[SpaceConfig]) -> Result<Options, Error> {
        // These have no setter of their own:
        // - space given by fallocate beyond a file's end counts as used, a megabyte per empty engine;
        // - a restart replays what is in the log and writes no file, a stop writes none either: both are immediate;
        // - an engine's identity is in its manifest, too.
        let mut options = Options::default().get_options_from_string(WITHOUT_SETTER).map_err(from_rocksdb)?;
        options.set_env(&self.env);
        options.create_if_missing(true);
        options.create_missing_column_families(true);

        // A torn record at the end of a log was never acknowledged: it is what a loss of power leaves, and the engine
        // opens without it. A bad checksum before the end is damage to what was acknowledged, and opening fails. Point-
        // in-time recovery, RocksDB's default, would open and silently forget everything after it. One thing cannot be
        // told apart: a flipped bit in a record's length, in the last 32 KiB, looks like a torn end.
        options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
        // So that a lost log file is noticed, too.
        options.set_track_and_verify_wals_in_manifest(true);
        let buffers_bytes: u64 = spaces.iter().map(|space| buffer_bytes(space.kind) as u64).sum();
        options.set_max_total_wal_size(WAL_PER_BUFFER * buffers_bytes);

        options.set_write_buffer_manager(&self.write_buffers);
        options.set_max_background_jobs(self.options.background_threads);
        options.set_max_subcompactions(1);
        options.set_max_open_files(self.options.open_files_per_engine);
        options.set_max_file_opening_threads(1);
        options.set_table_cache_num_shard_bits(OPEN_FILES_SHARD_BITS);
        options.set_bytes_per_sync(MIB as u64);

        // An empty engine is a few small files, and no LOG among them: what it would say goes to tracing.
        options.set_info_logger(InfoLogger::new_callback_logger(LogLevel::Warn, log));
        options.set_manifest_preallocation_size(0);
        options.set_max_manifest_file_size(MANIFEST_FILE_BYTES);
        options.set_stats_dump_period_sec(0);
        options.set_stats_persist_period_sec(0);
        options.set_skip_stats_update_on_db_open(true);
        Ok(options)
    }

    /// Options of the space that RocksDB makes whether it is used or not. Its own defaults would cost a block cache,
    /// and after the disk was full no write would be taken before 64 MB are free.
    pub(crate) fn unused_space(&self) -> Options {
        self.space(SpaceKind::Runs)
    }

    /// Options of one space.
    pub(crate) fn space(&self, kind: SpaceKind) -> Options {
        let mut options = Options::default();
        // A run is written with these options alone.
        options.set_env(&self.env);
        options.set_disable_auto_compactions(!self.options.background_merges);
        let mut table = BlockBasedOptions::default();
        options.set_write_buffer_size(buffer_bytes(kind));
        match kind {
            SpaceKind::Records => {
                options.set_arena_block_size(RECORDS_ARENA_BYTES);
                options.set_compression_type(DBCompressionType::Lz4);
                options.set_target_file_size_base(RECORDS_FILE_BYTES);
                table.set_block_size(RECORDS_BLOCK_BYTES);
                table.set_block_cache(&self.cache);
                table.set_cache_index_and_filter_blocks(true);
                table.set_bloom_filter(RECORDS_BLOOM_BITS_PER_KEY, false);
            }
            SpaceKind::Log => {
                // Entries are compressed by whoever writes them.
                options.set_compression_type(DBCompressionType::None);
                options.set_max_write_buffer_number(LOG_BUFFERS);
                options.set_target_file_size_base(LOG_BUFFER_BYTES as u64);
                table.set_block_size(LOG_BLOCK_BYTES);
                table.disable_cache();
            }
            SpaceKind::Runs => {
                options.set_compression_type(DBCompressionType::None);
                options.set_num_levels(RUNS_LEVELS);
                options.set_disable_auto_compactions(true);
                table.set_block_size(RUNS_BLOCK_BYTES);
                table.disable_cache();
            }
        }
        options.set_block_based_table_factory(&table);
        options
    }

    pub(crate) fn background_threads(&self) -> i32 {
        self.options.background_threads
    }
}

fn buffer_bytes(kind: SpaceKind) -> usize {
    match kind {
        SpaceKind::Records => RECORDS_BUFFER_BYTES,
        SpaceKind::Log => LOG_BUFFER_BYTES,
        SpaceKind::Runs => RUNS_BUFFER_BYTES,
    }
}

/// How a finished run becomes part of an engine: by a link, without a copy.
pub(crate) fn ingestion() -> IngestExternalFileOptions {
    let mut options = IngestExternalFileOptions::default();
    options.set_move_files(true);
    options
}

fn log(level: LogLevel, message: &str) {
    let message = message.trim_end();
    match level {
        LogLevel::Error | LogLevel::Fatal => tracing::error!(target: "rocksdb", "{message}"),
        // What it calls a warning is mostly how it goes about its work; what fails comes back as an error.
        LogLevel::Warn => tracing::debug!(target: "rocksdb", "{message}"),
        // Headers list the options at every open, whatever the level.
        LogLevel::Debug | LogLevel::Info | LogLevel::Header => {}
    }
}
