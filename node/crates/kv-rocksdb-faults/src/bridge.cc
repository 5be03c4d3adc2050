// A file system for RocksDB that does nothing itself: every call goes to Rust. Errors read as those of RocksDB's own file
// system do, since `bellwether-kv-rocksdb` tells them apart by their text.

#include "bridge.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "rocksdb/env.h"
#include "rocksdb/file_system.h"
#include "rocksdb/io_status.h"
#include "rocksdb/system_clock.h"

using namespace ROCKSDB_NAMESPACE;

extern "C" struct rocksdb_env_t {
  Env* rep;
  bool is_default;
};

namespace {

constexpr int kRead = 0;
constexpr int kCreate = 1;
constexpr int kAppend = 2;

Path path_of(const std::string& text) { return Path{text.data(), text.size()}; }

IOStatus status(int error, const std::string& context, const std::string& path) {
  const std::string message = context + ": " + path;
  switch (error) {
    case 0:
      return IOStatus::OK();
    case ENOSPC: {
      IOStatus full = IOStatus::NoSpace(message, std::strerror(error));
      full.SetRetryable(true);
      return full;
    }
    case ENOENT:
      return IOStatus::PathNotFound(message, std::strerror(error));
    default:
      return IOStatus::IOError(message, std::strerror(error));
  }
}

class File {
 public:
  File(const Calls& calls, void* file, std::string path) : calls_(calls), file_(file), path_(std::move(path)) {}
  ~File() { calls_.close(file_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  IOStatus Read(uint64_t offset, size_t length, Slice* result, char* scratch) const {
    size_t read = 0;
    const int error = calls_.read(file_, offset, scratch, length, &read);
    *result = Slice(scratch, read);
    return status(error, "While pread offset " + std::to_string(offset) + " len " + std::to_string(length), path_);
  }
  IOStatus Append(const Slice& data) {
    return status(calls_.append(file_, data.data(), data.size()), "While appending to file", path_);
  }
  IOStatus Truncate(uint64_t length) {
    return status(calls_.truncate(file_, length), "While ftruncate file to size " + std::to_string(length), path_);
  }
  IOStatus Sync(const char* call) { return status(calls_.sync(file_), call, path_); }
  uint64_t Length() const { return calls_.length(file_); }

 private:
  const Calls& calls_;
  void* const file_;
  const std::string path_;
};

class SequentialFile : public FSSequentialFile {
 public:
  explicit SequentialFile(std::unique_ptr<File> file) : file_(std::move(file)) {}
  IOStatus Read(size_t length, const IOOptions&, Slice* result, char* scratch, IODebugContext*) override {
    IOStatus read = file_->Read(at_, length, result, scratch);
    at_ += result->size();
    return read;
  }
  IOStatus Skip(uint64_t bytes) override {
    at_ += bytes;
    return IOStatus::OK();
  }

 private:
  std::unique_ptr<File> file_;
  uint64_t at_ = 0;
};

class RandomAccessFile : public FSRandomAccessFile {
 public:
  explicit RandomAccessFile(std::unique_ptr<File> file) : file_(std::move(file)) {}
  IOStatus Read(uint64_t offset, size_t length, const IOOptions&, Slice* result, char* scratch,
                IODebugContext*) const override {
    return file_->Read(offset, length, result, scratch);
  }

 private:
  std::unique_ptr<File> file_;
};

class WritableFile : public FSWritableFile {
 public:
  explicit WritableFile(std::unique_ptr<File> file) : file_(std::move(file)) {}
  using FSWritableFile::Append;
  IOStatus Append(const Slice& data, const IOOptions&, IODebugContext*) override { return file_->Append(data); }
  IOStatus Truncate(uint64_t length, const IOOptions&, IODebugContext*) override { return file_->Truncate(length); }
  IOStatus Close(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
  IOStatus Flush(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
  IOStatus Sync(const IOOptions&, IODebugContext*) override { return file_->Sync("While fdatasync"); }
  IOStatus Fsync(const IOOptions&, IODebugContext*) override { return file_->Sync("While fsync"); }
  bool IsSyncThreadSafe() const override { return true; }
  uint64_t GetFileSize(const IOOptions&, IODebugContext*) override { return file_->Length(); }

 private:
  std::unique_ptr<File> file_;
};

class Directory : public FSDirectory {
 public:
  Directory(const Calls& calls, const void* process, std::string path)
      : calls_(calls), process_(process), path_(std::move(path)) {}
  IOStatus Fsync(const IOOptions&, IODebugContext*) override {
    return status(calls_.sync_directory(process_, path_of(path_)), "While fsync", "a directory");
  }
  IOStatus Close(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }

 private:
  const Calls& calls_;
  const void* const process_;
  const std::string path_;
};

class Lock : public FileLock {
 public:
  explicit Lock(std::string path) : path(std::move(path)) {}
  const std::string path;
};

class BridgedFileSystem : public FileSystem {
 public:
  BridgedFileSystem(const Calls& calls, const void* process) : calls_(calls), process_(process) {}
  ~BridgedFileSystem() override { calls_.drop(process_); }
  const char* Name() const override { return "BellwetherFaults"; }

  IOStatus NewSequentialFile(const std::string& path, const FileOptions&, std::unique_ptr<FSSequentialFile>* result,
                             IODebugContext*) override {
    return open<SequentialFile>(path, kRead, "While opening a file for sequentially reading", result);
  }
  IOStatus NewRandomAccessFile(const std::string& path, const FileOptions&,
                               std::unique_ptr<FSRandomAccessFile>* result, IODebugContext*) override {
    return open<RandomAccessFile>(path, kRead, "While open a file for random read", result);
  }
  IOStatus NewWritableFile(const std::string& path, const FileOptions&, std::unique_ptr<FSWritableFile>* result,
                           IODebugContext*) override {
    return open<WritableFile>(path, kCreate, "While open a file for appending", result);
  }
  IOStatus ReopenWritableFile(const std::string& path, const FileOptions&, std::unique_ptr<FSWritableFile>* result,
                              IODebugContext*) override {
    return open<WritableFile>(path, kAppend, "While open a file for appending", result);
  }
  IOStatus NewDirectory(const std::string& path, const IOOptions&, std::unique_ptr<FSDirectory>* result,
                        IODebugContext*) override {
    bool is_directory = false;
    int error = stat(path, &is_directory, nullptr, nullptr);
    if (error == 0 && !is_directory) error = ENOTDIR;
    if (error == 0) *result = std::make_unique<Directory>(calls_, process_, path);
    return status(error, "While open directory", path);
  }

  IOStatus FileExists(const std::string& path, const IOOptions&, IODebugContext*) override {
    const int error = stat(path, nullptr, nullptr, nullptr);
    return error == ENOENT ? IOStatus::NotFound() : status(error, "While accessing file", path);
  }
  IOStatus GetChildren(const std::string& path, const IOOptions&, std::vector<std::string>* names,
                       IODebugContext*) override {
    names->clear();
    const int error = calls_.list(process_, path_of(path), names, [](void* to, Path name) {
      static_cast<std::vector<std::string>*>(to)->emplace_back(name.bytes, name.length);
    });
    return error == ENOENT ? IOStatus::NotFound() : status(error, "While opendir", path);
  }
  IOStatus GetFileSize(const std::string& path, const IOOptions&, uint64_t* bytes, IODebugContext*) override {
    return status(stat(path, nullptr, bytes, nullptr), "while stat a file for size", path);
  }
  IOStatus GetFileModificationTime(const std::string& path, const IOOptions&, uint64_t* time,
                                   IODebugContext*) override {
    *time = 0;
    return status(stat(path, nullptr, nullptr, nullptr), "while stat a file for modification time", path);
  }
  IOStatus IsDirectory(const std::string& path, const IOOptions&, bool* is_directory, IODebugContext*) override {
    return status(stat(path, is_directory, nullptr, nullptr), "While stat for IsDirectory()", path);
  }
  IOStatus NumFileLinks(const std::string& path, const IOOptions&, uint64_t* links, IODebugContext*) override {
    return status(stat(path, nullptr, nullptr, links), "while stat a file for num file links", path);
  }
  IOStatus AreFilesSame(const std::string& one, const std::string& other, const IOOptions&, bool* same,
                        IODebugContext*) override {
    return status(calls_.same(process_, path_of(one), path_of(other), same), "stat file", one);
  }

  IOStatus DeleteFile(const std::string& path, const IOOptions&, IODebugContext*) override {
    return status(calls_.remove_file(process_, path_of(path)), "while unlink() file", path);
  }
  IOStatus Truncate(const std::string& path, size_t length, const IOOptions&, IODebugContext*) override {
    void* file = nullptr;
    int error = calls_.open(process_, path_of(path), kAppend, &file);
    if (error == 0) {
      error = calls_.truncate(file, length);
      calls_.close(file);
    }
    return status(error, "While truncate file to size " + std::to_string(length), path);
  }
  IOStatus CreateDir(const std::string& path, const IOOptions&, IODebugContext*) override {
    return status(calls_.make_directory(process_, path_of(path)), "While mkdir", path);
  }
  IOStatus CreateDirIfMissing(const std::string& path, const IOOptions&, IODebugContext*) override {
    const int error = calls_.make_directory(process_, path_of(path));
    return status(error == EEXIST ? 0 : error, "While mkdir if missing", path);
  }
  IOStatus DeleteDir(const std::string& path, const IOOptions&, IODebugContext*) override {
    return status(calls_.remove_directory(process_, path_of(path)), "file rmdir", path);
  }
  IOStatus RenameFile(const std::string& from, const std::string& to, const IOOptions&, IODebugContext*) override {
    return status(calls_.rename(process_, path_of(from), path_of(to)), "While renaming a file to " + to, from);
  }
  IOStatus LinkFile(const std::string& from, const std::string& to, const IOOptions&, IODebugContext*) override {
    return status(calls_.link(process_, path_of(from), path_of(to)), "while link file to " + to, from);
  }

  IOStatus LockFile(const std::string& path, const IOOptions&, FileLock** lock, IODebugContext*) override {
    const int error = calls_.lock(process_, path_of(path));
    *lock = error == 0 ? new Lock(path) : nullptr;
    return status(error, "While lock file", path);
  }
  IOStatus UnlockFile(FileLock* lock, const IOOptions&, IODebugContext*) override {
    std::unique_ptr<Lock> ours(static_cast<Lock*>(lock));
    return status(calls_.unlock(process_, path_of(ours->path)), "unlock", ours->path);
  }

  IOStatus GetFreeSpace(const std::string& path, const IOOptions&, uint64_t* bytes, IODebugContext*) override {
    return status(calls_.free_bytes(process_, bytes), "While doing statvfs", path);
  }
  IOStatus GetTestDirectory(const IOOptions&, std::string*, IODebugContext*) override {
    return IOStatus::NotSupported("GetTestDirectory");
  }
  IOStatus GetAbsolutePath(const std::string& path, const IOOptions&, std::string* absolute,
                           IODebugContext*) override {
    *absolute = path;
    return IOStatus::OK();
  }
  void SupportedOps(int64_t& supported) override { supported = 0; }

 private:
  template <class Kind, class Result>
  IOStatus open(const std::string& path, int mode, const char* context, std::unique_ptr<Result>* result) {
    void* file = nullptr;
    const int error = calls_.open(process_, path_of(path), mode, &file);
    if (error == 0) *result = std::make_unique<Kind>(std::make_unique<File>(calls_, file, path));
    return status(error, context, path);
  }

  int stat(const std::string& path, bool* is_directory, uint64_t* bytes, uint64_t* links) {
    bool found_directory = false;
    uint64_t found_bytes = 0;
    uint64_t found_links = 0;
    const int error = calls_.stat(process_, path_of(path), &found_directory, &found_bytes, &found_links);
    if (error != 0) return error;
    if (is_directory != nullptr) *is_directory = found_directory;
    if (bytes != nullptr) *bytes = found_bytes;
    if (links != nullptr) *links = found_links;
    return 0;
  }

  const Calls& calls_;
  const void* const process_;
};

// The real clock. After a failed job RocksDB sleeps for a second before it tries again: that would be most of a test's time.
class ImpatientClock : public SystemClockWrapper {
 public:
  using SystemClockWrapper::SystemClockWrapper;
  const char* Name() const override { return "BellwetherFaultsClock"; }
  void SleepForMicroseconds(int micros) override {
    SystemClockWrapper::SleepForMicroseconds(std::min(micros, kSleepMicrosMax));
  }

 private:
  static constexpr int kSleepMicrosMax = 1000;
};

// RocksDB's own threads, with another file system and clock.
class BridgedEnv : public EnvWrapper {
 public:
  explicit BridgedEnv(const std::shared_ptr<FileSystem>& files) : EnvWrapper(NewCompositeEnv(files)) {
    file_system_ = files;
    system_clock_ = std::make_shared<ImpatientClock>(SystemClock::Default());
  }
  const char* Name() const override { return "BellwetherFaultsEnv"; }
};

}  // namespace

rocksdb_env_t* bellwether_faults_env(const Calls* calls, const void* process) {
  auto files = std::make_shared<BridgedFileSystem>(*calls, process);
  return new rocksdb_env_t{new BridgedEnv(files), false};
}
