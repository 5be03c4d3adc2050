//! The real binary on a real disk: what is acknowledged stays, what is damaged is reported and never returned.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

mod node_process;

use std::path::Path;
use std::process::Command;
use std::sync::mpsc;

use node_process::{Node, Sent, eventually, files_below, flip_bit, now_ms, write_to};

/// Samples of one series, one every second up to now.
fn samples(count: usize) -> Vec<Sent> {
    let now = now_ms();
    let sample = |at: usize| Sent { timestamp: now - 1000 * (count - at) as i64, value: (at * at) as f64 + 0.25 };
    (0..count).map(sample).collect()
}

#[test]
fn everything_acknowledged_survives_a_kill_under_load() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path(), &["--set", "storage.flush_log_bytes=64KB"]);
    let (acknowledged, count) = mpsc::channel();
    let senders = ["load_a", "load_b", "load_c"].map(|metric| {
        let (address, acknowledged) = (node.address().to_owned(), acknowledged.clone());
        let sender = std::thread::Builder::new();
        sender.spawn(move || {
            let mut stored = Vec::new();
            let start = now_ms() - 3_000_000;
            for at in 0.. {
                let sample = Sent { timestamp: start + at * 10, value: at as f64 };
                match write_to(&address, metric, &[sample]) {
                    Ok(answer) if answer.status == 204 => stored.push(sample),
                    // The node is gone.
                    Ok(_) | Err(_) => break,
                }
                if acknowledged.send(()).is_err() {
                    break;
                }
            }
            (metric, stored)
        })
    });
    assert_eq!(count.iter().take(300).count(), 300);
    node.kill();
    drop(count);

    let node = Node::start(directory.path(), &[]);
    for sender in senders {
        let (metric, stored) = sender.unwrap().join().unwrap();
        let found = node.read(metric);
        assert!(stored.iter().all(|sample| found.contains(sample)), "{metric}: an acknowledged sample is lost");
        // The last request may have been stored without its sender being told.
        assert!(found.len() <= stored.len() + 1, "{metric}: {} found, {} stored", found.len(), stored.len());
    }
}

#[test]
fn a_snapshot_is_a_backup_below_the_data_directory() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path(), &[]);
    node.write_acknowledged("kept", &samples(10));
    let answer = node.post("/api/v1/admin/tsdb/snapshot?skip_head=false");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let told: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    let name = told["data"]["name"].as_str().unwrap();
    assert!(directory.path().join("snapshots/manifests").join(name).is_file(), "{name}");
    // Another one is another.
    let again = node.post("/api/v1/admin/tsdb/snapshot").body;
    assert!(again.contains("success") && !again.contains(name), "{again}");
    node.kill();
    assert_eq!(Node::start(directory.path(), &[]).read("kept").len(), 10);
}

#[test]
fn the_first_request_may_be_a_large_one() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path(), &[]);
    // So large that it is decoded on a thread of its own.
    let sent = samples(40_000);
    node.write_acknowledged("large", &sent);
    assert_eq!(node.read("large").last(), sent.last());
}

#[test]
fn a_stopped_node_starts_again_with_everything_and_nothing_to_apply() {
    let directory = tempfile::tempdir().unwrap();
    let sent = samples(500);
    let node = Node::start(directory.path(), &[]);
    // An entry each: many more than those below.
    sent.chunks(5).for_each(|some| node.write_acknowledged("kept", some));
    eventually("the node evaluates rules", || {
        node.get("/metrics").body.lines().any(|line| line == "bellwether_rule_evaluator_rings 4")
    });
    node.stop();
    let node = Node::start(directory.path(), &[]);
    assert_eq!(node.read("kept"), sent);
    let metrics = node.get("/metrics").body;
    let applied = metrics.lines().find_map(|line| line.strip_prefix("bellwether_raft_entries_applied_total "));
    // One entry for each shard group, each alert group and the meta group, its new leader's first; one more for the meta group, as
    // the node has another address than before; and if it was stopped before that, one for each shard group with its format version.
    let applied: u64 = applied.unwrap().parse().unwrap();
    assert!((13..=14 + 8).contains(&applied), "{applied} entries were applied: some of them again");
}

#[test]
fn flush_and_seal_change_nothing_that_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let sent = samples(7000);
    let node = Node::start(directory.path(), &[]);
    node.write_acknowledged("kept", &sent[..4000]);
    assert_eq!(node.post("/api/v1/admin/flush").status, 200);
    node.write_acknowledged("kept", &sent[3000..]);
    assert_eq!(node.read("kept"), sent);
    assert_eq!(node.post("/api/v1/admin/seal").status, 200);
    assert_eq!(node.read("kept"), sent);
    node.kill();
    assert_eq!(Node::start(directory.path(), &[]).read("kept"), sent);
}

#[test]
fn a_second_process_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path(), &[]);
    let refused = Node::try_start(directory.path(), &[]).err().unwrap();
    assert!(!refused.success);
    assert!(refused.log.contains("is in use by another bellwether process"), "{}", refused.log);
    assert_eq!(node.get("/-/ready").status, 200);
}

#[test]
fn a_newer_format_is_refused_naming_both_versions() {
    let directory = tempfile::tempdir().unwrap();
    Node::start(directory.path(), &[]).stop();
    let identity = directory.path().join("IDENTITY");
    let text = std::fs::read_to_string(&identity).unwrap();
    std::fs::write(&identity, text.replace("format = 2", "format = 7")).unwrap();
    let refused = Node::try_start(directory.path(), &[]).err().unwrap();
    assert!(!refused.success);
    assert!(refused.log.contains("has format version 7, this program reads up to 2"), "{}", refused.log);
}

#[test]
fn a_directory_of_somebody_else_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("thesis.tex"), "years of work").unwrap();
    let refused = Node::try_start(directory.path(), &[]).err().unwrap();
    assert!(refused.log.contains("thesis.tex is there"), "{}", refused.log);
    assert!(directory.path().join("thesis.tex").exists());
}

/// Every place of the largest file below `directory` that is tried.
fn places(directory: &Path, extension: &str) -> Vec<(std::path::PathBuf, usize)> {
    let files = files_below(directory);
    let file = files.into_iter().find(|path| path.extension().is_some_and(|found| found == extension)).unwrap();
    let length = file.metadata().unwrap().len() as usize;
    [length / 16, length / 3, length / 2, length * 3 / 4].map(|offset| (file.clone(), offset)).into()
}

#[test]
fn a_flipped_bit_in_stored_data_is_reported_and_never_returned() {
    let directory = tempfile::tempdir().unwrap();
    let sent = samples(7000);
    let node = Node::start(directory.path(), &["--set", "shard_groups=2"]);
    for metric in ["alpha", "beta", "gamma", "delta"] {
        node.write_acknowledged(metric, &sent);
    }
    node.stop();
    let mut reported = 0;
    for (file, offset) in places(&directory.path().join("shards"), "sst") {
        flip_bit(&file, offset);
        let node = Node::start(directory.path(), &[]);
        for metric in ["alpha", "beta", "gamma", "delta"] {
            let answer = node.get(&format!("/api/v1/query?query={metric}%5B2h%5D"));
            if answer.status == 200 {
                assert_eq!(node.read(metric), sent, "{metric} with {file:?} damaged at {offset}");
            } else {
                assert!(answer.body.contains("shard group ") && answer.body.contains("orrupt"), "{answer:?}");
                reported += 1;
            }
        }
        assert_eq!(node.get("/-/healthy").status, 200, "it goes on");
        node.kill();
        flip_bit(&file, offset);
    }
    assert!(reported > 0, "no flip was in the samples' way");
    let node = Node::start(directory.path(), &[]);
    assert_eq!(node.read("alpha"), sent, "undamaged again");
}

#[test]
fn a_flipped_bit_in_the_log_is_reported_and_nothing_is_forgotten_silently() {
    let directory = tempfile::tempdir().unwrap();
    let sent = samples(6000);
    let node = Node::start(directory.path(), &["--set", "shard_groups=2"]);
    for part in sent.chunks(500) {
        node.write_acknowledged("logged", part);
    }
    node.kill();
    let mut reported = 0;
    for (file, offset) in places(&directory.path().join("log"), "log") {
        flip_bit(&file, offset);
        match Node::try_start(directory.path(), &[]) {
            Err(refused) => {
                assert!(!refused.success && refused.log.to_lowercase().contains("corrupt"), "{}", refused.log);
                reported += 1;
            }
            Ok(node) => {
                let answer = node.get("/api/v1/query?query=logged%5B2h%5D");
                if answer.status == 200 {
                    assert_eq!(node.read("logged"), sent, "{file:?} damaged at {offset}");
                } else {
                    assert!(answer.body.contains("orrupt"), "{answer:?}");
                    reported += 1;
                }
                node.kill();
            }
        }
        flip_bit(&file, offset);
    }
    assert!(reported > 0, "no flip was in an entry");
    assert_eq!(Node::start(directory.path(), &[]).read("logged"), sent, "undamaged again");
}

/// A file system of a few megabytes.
struct SmallDisk {
    directory: tempfile::TempDir,
}

impl SmallDisk {
    /// `None`, with the reason printed, where this process may not mount.
    fn mount(megabytes: u32) -> Option<SmallDisk> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"])
            .arg(directory.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(SmallDisk { directory }),
            Ok(output) => {
                println!("SKIPPED: cannot mount a small disk: {}", String::from_utf8_lossy(&output.stderr).trim());
                None
            }
            Err(error) => {
                println!("SKIPPED: cannot run mount: {error}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.directory.path()).status();
    }
}

const SMALL_DISK: [&str; 6] =
    ["--set", "storage.min_free_bytes=16MB", "--set", "storage.ballast_bytes=4MB", "--set", "shard_groups=2"];

#[test]
fn writes_stop_before_the_disk_is_full_and_resume_by_themselves() {
    let Some(disk) = SmallDisk::mount(96) else { return };
    let data = disk.path().join("data");
    let sent = samples(1000);
    let node = Node::start(&data, &SMALL_DISK);
    node.write_acknowledged("kept", &sent[..500]);
    let filler = disk.path().join("filler");
    std::fs::write(&filler, vec![1; 80 << 20]).unwrap();
    let mut refusal = None;
    eventually("writes are refused", || {
        let answer = node.write("kept", &sent[..1]);
        refusal = (answer.status != 204).then_some(answer);
        refusal.is_some()
    });
    let refusal = refusal.unwrap();
    assert_eq!(refusal.status, 503);
    assert!(refusal.body.contains("the disk is nearly full"), "{refusal:?}");
    assert!(refusal.head.to_lowercase().contains("retry-after: "), "{refusal:?}");
    assert_eq!(node.read("kept"), sent[..500], "reads go on");
    std::fs::remove_file(&filler).unwrap();
    eventually("writes are taken again", || node.write("kept", &sent[500..]).status == 204);
    assert_eq!(node.read("kept"), sent);
    node.stop();
    assert_eq!(Node::start(&data, &SMALL_DISK).read("kept"), sent);
}

#[test]
fn a_disk_that_is_really_full_loses_nothing_acknowledged() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let data = disk.path().join("data");
    let never_refused_early =
        [&SMALL_DISK[..], &["--set", "storage.min_free_bytes=0", "--set", "storage.min_free_percent=0"]];
    let node = Node::start(&data, &never_refused_early.concat());
    let start = now_ms() - 3_000_000;
    let mut stored = Vec::new();
    let batch = |number: i64| -> Vec<Sent> {
        (0..500).map(|at| Sent { timestamp: start + number * 500 + at, value: (number * at) as f64 / 3.0 }).collect()
    };
    stored.extend(batch(0));
    node.write_acknowledged("kept", &stored);
    let filler = disk.path().join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    let mut refused = 0;
    for number in 1..2000 {
        let samples = batch(number);
        let answer = node.write("kept", &samples);
        if answer.status == 204 {
            stored.extend(samples);
            continue;
        }
        assert_eq!(answer.status, 503, "{answer:?}");
        refused += 1;
        if refused == 3 {
            break;
        }
    }
    assert_eq!(refused, 3, "the disk was never full");
    let read = node.read("kept");
    assert!(stored.iter().all(|sample| read.binary_search_by_key(&sample.timestamp, |s| s.timestamp).is_ok()));
    drop(file);
    std::fs::remove_file(&filler).unwrap();
    let last = batch(3000);
    eventually("writes are taken again", || node.write("kept", &last).status == 204);
    stored.extend(last);
    node.kill();
    let read = Node::start(&data, &SMALL_DISK).read("kept");
    for sample in &stored {
        let found = read.binary_search_by_key(&sample.timestamp, |s| s.timestamp).map(|at| read[at]);
        assert_eq!(found, Ok(*sample), "an acknowledged sample is lost");
    }
}
