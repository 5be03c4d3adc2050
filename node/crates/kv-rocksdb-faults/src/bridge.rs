//! How RocksDB's calls arrive: `bridge.h` has the same struct, `bridge.cc` the file system that makes them.
//!
//! RocksDB's threads call too. What they are handed are boxes: a [`Process`] until its Env goes, an [`OpenFile`] until it is
//! closed.

use std::ffi::{c_char, c_int, c_void};

use librocksdb_sys::rocksdb_env_t;
use rocksdb::Env;
use rustix::io::Errno;

use crate::process::{OpenFile, Process};
use crate::tree::Mode;

#[repr(C)]
#[derive(Clone, Copy)]
struct Path {
    bytes: *const c_char,
    length: usize,
}

type Handle = *const c_void;

#[repr(C)]
struct Calls {
    open: unsafe extern "C" fn(Handle, Path, c_int, *mut Handle) -> c_int,
    read: unsafe extern "C" fn(Handle, u64, *mut c_char, usize, *mut usize) -> c_int,
    append: unsafe extern "C" fn(Handle, *const c_char, usize) -> c_int,
    truncate: unsafe extern "C" fn(Handle, u64) -> c_int,
    sync: unsafe extern "C" fn(Handle) -> c_int,
    length: unsafe extern "C" fn(Handle) -> u64,
    close: unsafe extern "C" fn(Handle),
    list: unsafe extern "C" fn(Handle, Path, *mut c_void, extern "C" fn(*mut c_void, Path)) -> c_int,
    stat: unsafe extern "C" fn(Handle, Path, *mut bool, *mut u64, *mut u64) -> c_int,
    same: unsafe extern "C" fn(Handle, Path, Path, *mut bool) -> c_int,
    make_directory: unsafe extern "C" fn(Handle, Path) -> c_int,
    sync_directory: unsafe extern "C" fn(Handle, Path) -> c_int,
    remove_file: unsafe extern "C" fn(Handle, Path) -> c_int,
    remove_directory: unsafe extern "C" fn(Handle, Path) -> c_int,
    rename: unsafe extern "C" fn(Handle, Path, Path) -> c_int,
    link: unsafe extern "C" fn(Handle, Path, Path) -> c_int,
    lock: unsafe extern "C" fn(Handle, Path) -> c_int,
    unlock: unsafe extern "C" fn(Handle, Path) -> c_int,
    free_bytes: unsafe extern "C" fn(Handle, *mut u64) -> c_int,
    drop: unsafe extern "C" fn(Handle),
}

static CALLS: Calls = Calls {
    open,
    read,
    append,
    truncate,
    sync,
    length,
    close,
    list,
    stat,
    same,
    make_directory,
    sync_directory,
    remove_file,
    remove_directory,
    rename,
    link,
    lock,
    unlock,
    free_bytes,
    drop: drop_process,
};

unsafe extern "C" {
    fn bellwether_faults_env(calls: *const Calls, process: Handle) -> *mut rocksdb_env_t;
}

/// RocksDB's own threads and clock, with the files of a process.
pub(crate) fn env(process: Process) -> Env {
    let process: Handle = Box::into_raw(Box::new(process)).cast();
    // SAFETY: the table lives for ever, the process until `drop_process`, and the Env is ours to hand on.
    unsafe { Env::from_raw(bellwether_faults_env(&CALLS, process)) }
}

/// SAFETY: `handle` is a live process of [`env`].
unsafe fn process_of<'a>(handle: Handle) -> &'a Process {
    // SAFETY: as above.
    unsafe { &*handle.cast() }
}

/// SAFETY: `handle` is a file of [`open`] that is not closed.
unsafe fn file_of<'a>(handle: Handle) -> &'a OpenFile {
    // SAFETY: as above.
    unsafe { &*handle.cast() }
}

impl Path {
    /// SAFETY: the bytes live for `'a`, as those of a call's arguments do until it returns.
    unsafe fn text<'a>(self) -> Result<&'a str, Errno> {
        // SAFETY: as above.
        let bytes = unsafe { std::slice::from_raw_parts(self.bytes.cast::<u8>(), self.length) };
        std::str::from_utf8(bytes).map_err(|_| Errno::INVAL)
    }
}

fn errno(result: Result<(), Errno>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(error) => error.raw_os_error(),
    }
}

/// SAFETY: see [`Path::text`] and [`process_of`].
unsafe fn on_path(process: Handle, path: Path, call: impl FnOnce(&Process, &str) -> Result<(), Errno>) -> c_int {
    // SAFETY: the caller's.
    let (process, path) = unsafe { (process_of(process), path.text()) };
    errno(path.and_then(|path| call(process, path)))
}

unsafe extern "C" fn open(process: Handle, path: Path, mode: c_int, file: *mut Handle) -> c_int {
    let mode = match mode {
        0 => Mode::Read,
        1 => Mode::Create,
        _ => Mode::Append,
    };
    let call = |process: &Process, path: &str| {
        let opened = Box::into_raw(Box::new(process.open(path, mode)?));
        // SAFETY: the caller has room for the handle.
        unsafe { *file = opened.cast() };
        Ok(())
    };
    // SAFETY: RocksDB's process and path.
    unsafe { on_path(process, path, call) }
}

unsafe extern "C" fn read(file: Handle, offset: u64, to: *mut c_char, length: usize, read: *mut usize) -> c_int {
    // SAFETY: an open file, and room for `length` bytes; they are made bytes before they are looked at.
    let (file, to) = unsafe {
        if length == 0 {
            return 0;
        }
        std::ptr::write_bytes(to, 0, length);
        (file_of(file), std::slice::from_raw_parts_mut(to.cast::<u8>(), length))
    };
    errno(file.read_at(offset, to).map(|count| {
        // SAFETY: the caller has room for the count.
        unsafe { *read = count };
    }))
}

unsafe extern "C" fn append(file: Handle, bytes: *const c_char, length: usize) -> c_int {
    if length == 0 {
        return 0;
    }
    // SAFETY: an open file, and `length` bytes.
    let (file, bytes) = unsafe { (file_of(file), std::slice::from_raw_parts(bytes.cast::<u8>(), length)) };
    errno(file.write(bytes))
}

unsafe extern "C" fn truncate(file: Handle, length: u64) -> c_int {
    // SAFETY: an open file.
    let file = unsafe { file_of(file) };
    errno(usize::try_from(length).map_err(|_| Errno::FBIG).and_then(|length| file.set_length(length)))
}

unsafe extern "C" fn sync(file: Handle) -> c_int {
    // SAFETY: an open file.
    errno(unsafe { file_of(file) }.sync_content())
}

unsafe extern "C" fn length(file: Handle) -> u64 {
    // SAFETY: an open file.
    unsafe { file_of(file) }.length().unwrap_or(0)
}

unsafe extern "C" fn close(file: Handle) {
    // SAFETY: made by `open` and closed once.
    drop(unsafe { Box::from_raw(file.cast_mut().cast::<OpenFile>()) });
}

unsafe extern "C" fn list(
    process: Handle,
    path: Path,
    to: *mut c_void,
    add: extern "C" fn(*mut c_void, Path),
) -> c_int {
    let call = |process: &Process, path: &str| {
        for name in process.list(path)? {
            add(to, Path { bytes: name.as_ptr().cast(), length: name.len() });
        }
        Ok(())
    };
    // SAFETY: RocksDB's process and path.
    unsafe { on_path(process, path, call) }
}

unsafe extern "C" fn stat(
    process: Handle,
    path: Path,
    is_directory: *mut bool,
    bytes: *mut u64,
    links: *mut u64,
) -> c_int {
    let call = |process: &Process, path: &str| {
        let (found, found_links) = process.stat(path)?;
        // SAFETY: the caller has room for all three.
        unsafe { (*is_directory, *bytes, *links) = (found.is_directory, found.bytes as u64, found_links as u64) };
        Ok(())
    };
    // SAFETY: RocksDB's process and path.
    unsafe { on_path(process, path, call) }
}

unsafe extern "C" fn same(process: Handle, one: Path, other: Path, same: *mut bool) -> c_int {
    // SAFETY: RocksDB's process and paths.
    unsafe {
        on_two_paths(process, one, other, |process, one, other| {
            *same = process.stat(one)?.0.node == process.stat(other)?.0.node;
            Ok(())
        })
    }
}

unsafe extern "C" fn make_directory(process: Handle, path: Path) -> c_int {
    // SAFETY: RocksDB's process and path.
    unsafe { on_path(process, path, Process::new_directory) }
}

unsafe extern "C" fn sync_directory(process: Handle, path: Path) -> c_int {
    // SAFETY: RocksDB's process and path.
    unsafe { on_path(process, path, Process::sync_names) }
}

unsafe extern "C" fn remove_file(process: Handle, path: Path) -> c_int {
    // SAFETY: RocksDB's process and path.
    unsafe { on_path(process, path, Process::unlink) }
}

unsafe extern "C" fn remove_directory(process: Handle, path: Path) -> c_int {
    // SAFETY: RocksDB's process and path.
    unsafe { on_path(process, path, Process::remove_empty_directory) }
}

/// SAFETY: see [`on_path`].
unsafe fn on_two_paths(
    process: Handle,
    one: Path,
    other: Path,
    call: impl FnOnce(&Process, &str, &str) -> Result<(), Errno>,
) -> c_int {
    // SAFETY: the caller's.
    unsafe { on_path(process, one, |process, one| call(process, one, other.text()?)) }
}

unsafe extern "C" fn rename(process: Handle, from: Path, to: Path) -> c_int {
    // SAFETY: RocksDB's process and paths.
    unsafe { on_two_paths(process, from, to, Process::move_to) }
}

unsafe extern "C" fn link(process: Handle, from: Path, to: Path) -> c_int {
    // SAFETY: RocksDB's process and paths.
    unsafe { on_two_paths(process, from, to, Process::link) }
}

unsafe extern "C" fn lock(process: Handle, path: Path) -> c_int {
    // SAFETY: RocksDB's process and path.
    unsafe { on_path(process, path, Process::take_lock) }
}

unsafe extern "C" fn unlock(process: Handle, path: Path) -> c_int {
    // SAFETY: RocksDB's process and path.
    unsafe { on_path(process, path, Process::give_lock) }
}

unsafe extern "C" fn free_bytes(process: Handle, bytes: *mut u64) -> c_int {
    // SAFETY: RocksDB's process, and room for the number.
    unsafe {
        errno(process_of(process).free().map(|free| {
            *bytes = free;
        }))
    }
}

unsafe extern "C" fn drop_process(process: Handle) {
    // SAFETY: made by `env`, and its Env is the last to use it.
    drop(unsafe { Box::from_raw(process.cast_mut().cast::<Process>()) });
}
