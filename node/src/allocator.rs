//! jemalloc, for C++ code (RocksDB) as well: memory goes back to the system within seconds, so that the resident size
//! says what is in use.

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Options that jemalloc reads before `main`: few arenas (threads share them; an arena per core times four wastes
/// memory), a background thread that purges, half a second until freed pages go back.
// SAFETY: the name is the one that jemalloc looks up, and the value is a valid C string with static lifetime.
#[unsafe(export_name = "malloc_conf")]
pub static MALLOC_CONF: &[u8; 69] = b"narenas:4,background_thread:true,dirty_decay_ms:500,muzzy_decay_ms:0\0";
