// The calls that RocksDB's file system makes into Rust: `bridge.rs` has the same struct. All give 0 or an errno.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

struct Path {
  const char* bytes;
  size_t length;
};

struct Calls {
  // An open file; `mode` 0 reads, 1 makes it empty, 2 appends.
  int (*open)(const void* process, Path path, int mode, void** file);
  int (*read)(const void* file, uint64_t offset, char* to, size_t length, size_t* read);
  int (*append)(const void* file, const char* bytes, size_t length);
  int (*truncate)(const void* file, uint64_t length);
  int (*sync)(const void* file);
  uint64_t (*length)(const void* file);
  void (*close)(void* file);

  int (*list)(const void* process, Path path, void* to, void (*add)(void* to, Path name));
  int (*stat)(const void* process, Path path, bool* is_directory, uint64_t* bytes, uint64_t* links);
  int (*same)(const void* process, Path one, Path other, bool* same);
  int (*make_directory)(const void* process, Path path);
  int (*sync_directory)(const void* process, Path path);
  int (*remove_file)(const void* process, Path path);
  int (*remove_directory)(const void* process, Path path);
  int (*rename)(const void* process, Path from, Path to);
  int (*link)(const void* process, Path from, Path to);
  int (*lock)(const void* process, Path path);
  int (*unlock)(const void* process, Path path);
  int (*free_bytes)(const void* process, uint64_t* bytes);
  // Ends the process' use by RocksDB.
  void (*drop)(const void* process);
};

// As in RocksDB's c.cc, which frees it.
struct rocksdb_env_t;

// An Env on the files of `process`, which it drops.
rocksdb_env_t* bellwether_faults_env(const Calls* calls, const void* process);
}
