//! The host's metrics on Linux, under node_exporter's names, labels and units, so that dashboards made for it fit.
//!
//! One file per family, each a pure parser from the text of a file below /proc or /sys to samples; only this file and
//! `files.rs` touch the host. What cannot be read is left out and reported as `node_scrape_collector_success` 0, as
//! node_exporter does. Nothing here waits for a disk, a network or another process: network file systems are not measured.
//!
//! Left to node_exporter: timex (needs a system call that no safe wrapper offers), hwmon, systemd, and other collectors
//! that read hundreds of files or ask services.

mod arp;
mod cpu;
mod disk;
mod files;
mod filesystem;
mod interface;
mod kernel;
mod load;
mod memory;
mod network;
mod own_process;
mod pressure;
mod protocols;
mod samples;
mod sockets;
mod softnet;
mod virtual_memory;

use std::io;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use bellwether_server::env::{HostMetrics, HostSample};
use parking_lot::Mutex;
use rustix::process::{Resource, getrlimit};

use cpu::CpuTimes;
use files::Files;
use filesystem::Space;
use own_process::Surroundings;
use samples::{Samples, count};

/// Reads the machine that this process runs on.
#[derive(Debug)]
pub struct HostCollector {
    files: Files,
    page_bytes: usize,
    cpu_times: Mutex<CpuTimes>,
}

/// A family's name, as node_exporter calls its collector, and how it is read.
type Family = (&'static str, fn(&HostCollector, &mut Samples) -> io::Result<()>);

const FAMILIES: [Family; 20] = [
    ("arp", |host, samples| host.text("proc/net/arp", arp::parse, samples)),
    ("conntrack", HostCollector::conntrack),
    ("cpu", HostCollector::cpu),
    ("diskstats", HostCollector::disks),
    ("entropy", HostCollector::entropy),
    ("filefd", HostCollector::file_descriptors),
    ("filesystem", HostCollector::filesystems),
    ("loadavg", |host, samples| host.text("proc/loadavg", load::parse, samples)),
    ("meminfo", |host, samples| host.text("proc/meminfo", memory::parse, samples)),
    ("netclass", HostCollector::interfaces),
    ("netdev", HostCollector::network),
    ("netstat", HostCollector::protocols),
    ("pressure", HostCollector::pressure),
    ("process", HostCollector::own_process),
    ("sockstat", HostCollector::sockets),
    ("softnet", |host, samples| host.text("proc/net/softnet_stat", softnet::parse, samples)),
    ("stat", |host, samples| host.text("proc/stat", kernel::parse, samples)),
    ("time", HostCollector::time),
    ("uname", HostCollector::uname),
    ("vmstat", |host, samples| host.text("proc/vmstat", virtual_memory::parse, samples)),
];

impl HostMetrics for HostCollector {
    /// The host's metrics, and this process's own, which begin with `process_` and belong to the job of the node itself.
    fn collect(&self) -> Vec<HostSample> {
        let mut samples = Samples::default();
        for (name, read) in FAMILIES {
            let success = match read(self, &mut samples) {
                Ok(()) => 1.0,
                Err(error) => {
                    tracing::debug!(family = name, %error, "host metrics not read");
                    0.0
                }
            };
            samples.gauge(
                "node_scrape_collector_success",
                "node_exporter: Whether a collector succeeded.",
                &[("collector", name)],
                success,
            );
        }
        samples.into_vec()
    }
}

impl HostCollector {
    /// Reads below `root`, which is `/` on a real host.
    pub fn new(root: impl Into<PathBuf>) -> HostCollector {
        HostCollector {
            files: Files::below(root),
            page_bytes: rustix::param::page_size(),
            cpu_times: Mutex::new(CpuTimes::default()),
        }
    }

    fn text(&self, path: &str, parse: fn(&str, &mut Samples), samples: &mut Samples) -> io::Result<()> {
        parse(&self.files.read(path)?, samples);
        Ok(())
    }

    fn gauges(&self, fields: &[(&str, &'static str, &'static str)], samples: &mut Samples) -> io::Result<()> {
        for (path, name, help) in fields {
            if let Some(value) = count(self.files.read(path)?.trim()) {
                samples.gauge(*name, help, &[], value);
            }
        }
        Ok(())
    }

    fn conntrack(&self, samples: &mut Samples) -> io::Result<()> {
        let fields = [
            (
                "proc/sys/net/netfilter/nf_conntrack_count",
                "node_nf_conntrack_entries",
                "Number of currently allocated flow entries for connection tracking.",
            ),
            (
                "proc/sys/net/netfilter/nf_conntrack_max",
                "node_nf_conntrack_entries_limit",
                "Maximum size of connection tracking table.",
            ),
        ];
        self.gauges(&fields, samples)
    }

    fn cpu(&self, samples: &mut Samples) -> io::Result<()> {
        let text = self.files.read("proc/stat")?;
        self.cpu_times.lock().advance(&text, samples);
        Ok(())
    }

    fn disks(&self, samples: &mut Samples) -> io::Result<()> {
        let text = self.files.read("proc/diskstats")?;
        disk::parse(&text, |major, minor| self.files.read(&format!("run/udev/data/b{major}:{minor}")).ok(), samples);
        Ok(())
    }

    fn entropy(&self, samples: &mut Samples) -> io::Result<()> {
        let fields = [
            ("proc/sys/kernel/random/entropy_avail", "node_entropy_available_bits", "Bits of available entropy."),
            ("proc/sys/kernel/random/poolsize", "node_entropy_pool_size_bits", "Bits of entropy pool."),
        ];
        self.gauges(&fields, samples)
    }

    fn file_descriptors(&self, samples: &mut Samples) -> io::Result<()> {
        // Allocated, allocated but unused (always 0), maximum.
        let text = self.files.read("proc/sys/fs/file-nr")?;
        let mut words = text.split_ascii_whitespace().map(count);
        if let (Some(Some(allocated)), Some(_), Some(Some(maximum))) = (words.next(), words.next(), words.next()) {
            samples.gauge("node_filefd_allocated", "File descriptor statistics: allocated.", &[], allocated);
            samples.gauge("node_filefd_maximum", "File descriptor statistics: maximum.", &[], maximum);
        }
        Ok(())
    }

    fn filesystems(&self, samples: &mut Samples) -> io::Result<()> {
        for mount in filesystem::mounts(&self.files.read("proc/self/mounts")?) {
            let space = rustix::fs::statvfs(mount.mountpoint.as_str()).ok().map(|found| Space {
                block_bytes: found.f_frsize,
                blocks: found.f_blocks,
                blocks_free: found.f_bfree,
                blocks_available: found.f_bavail,
                files: found.f_files,
                files_free: found.f_ffree,
            });
            filesystem::report(&mount, space, samples);
        }
        Ok(())
    }

    fn interfaces(&self, samples: &mut Samples) -> io::Result<()> {
        for device in self.files.names("sys/class/net")?.iter().take(interface::INTERFACES_MAX) {
            // Beside the interfaces there can be `bonding_masters`, a file.
            let directory = format!("sys/class/net/{device}");
            if self.files.value(&format!("{directory}/ifindex")).is_some() {
                interface::describe(device, |name| self.files.value(&format!("{directory}/{name}")), samples);
            }
        }
        Ok(())
    }

    fn network(&self, samples: &mut Samples) -> io::Result<()> {
        let text = self.files.read("proc/net/dev")?;
        let nohandler = |device: &str| self.files.value(&format!("sys/class/net/{device}/statistics/rx_nohandler"));
        network::parse(&text, nohandler, samples);
        Ok(())
    }

    fn protocols(&self, samples: &mut Samples) -> io::Result<()> {
        protocols::parse_pairs(&self.files.read("proc/net/netstat")?, samples);
        protocols::parse_pairs(&self.files.read("proc/net/snmp")?, samples);
        // Absent where IPv6 is switched off.
        if let Ok(text) = self.files.read("proc/net/snmp6") {
            protocols::parse_snmp6(&text, samples);
        }
        Ok(())
    }

    fn pressure(&self, samples: &mut Samples) -> io::Result<()> {
        for resource in &pressure::RESOURCES {
            let text = self.files.read(&format!("proc/pressure/{}", resource.file))?;
            pressure::parse(resource, &text, samples);
        }
        Ok(())
    }

    fn own_process(&self, samples: &mut Samples) -> io::Result<()> {
        let around = Surroundings {
            page_bytes: self.page_bytes,
            boot_time_seconds: kernel::boot_time_seconds(&self.files.read("proc/stat")?),
            open_descriptors: self.files.open_descriptors().ok(),
            descriptors_max: getrlimit(Resource::Nofile).current,
            address_space_bytes_max: getrlimit(Resource::As).current,
        };
        own_process::parse(&self.files.read("proc/self/stat")?, &around, samples);
        Ok(())
    }

    fn sockets(&self, samples: &mut Samples) -> io::Result<()> {
        sockets::parse(&self.files.read("proc/net/sockstat")?, self.page_bytes, samples);
        if let Ok(text) = self.files.read("proc/net/sockstat6") {
            sockets::parse(&text, self.page_bytes, samples);
        }
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "a reading of the host's own clock is what is asked for")]
    fn time(&self, samples: &mut Samples) -> io::Result<()> {
        let since_epoch = std::time::SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
        samples.gauge(
            "node_time_seconds",
            "System time in seconds since epoch (1970).",
            &[],
            since_epoch.as_secs_f64(),
        );
        Ok(())
    }

    fn uname(&self, samples: &mut Samples) -> io::Result<()> {
        let names = rustix::system::uname();
        samples.gauge(
            "node_uname_info",
            "Labeled system information as provided by the uname system call.",
            &[
                ("domainname", &names.domainname().to_string_lossy()),
                ("machine", &names.machine().to_string_lossy()),
                ("nodename", &names.nodename().to_string_lossy()),
                ("release", &names.release().to_string_lossy()),
                ("sysname", &names.sysname().to_string_lossy()),
                ("version", &names.version().to_string_lossy()),
            ],
            1.0,
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn this_host_is_read_and_no_series_appears_twice() {
        let samples = HostCollector::new("/").collect();
        let series: BTreeSet<_> = samples.iter().map(|sample| (&sample.name, &sample.labels)).collect();
        assert_eq!(series.len(), samples.len());
        for name in [
            "node_cpu_seconds_total",
            "node_memory_MemTotal_bytes",
            "node_load1",
            "node_boot_time_seconds",
            "node_time_seconds",
            "node_uname_info",
            "process_resident_memory_bytes",
            "process_start_time_seconds",
        ] {
            assert!(samples.iter().any(|sample| sample.name == name), "{name}");
        }
        for sample in &samples {
            assert!(sample.labels.is_sorted_by(|a, b| a.0 < b.0), "{sample:?}");
        }
    }

    #[test]
    fn a_host_without_proc_reports_what_failed() {
        let root = tempfile::tempdir().unwrap();
        let samples = HostCollector::new(root.path()).collect();
        let success = |family: &str| {
            let labels = [("collector".to_owned(), family.to_owned())];
            let found =
                |sample: &&HostSample| sample.name == "node_scrape_collector_success" && sample.labels == labels;
            samples.iter().find(found).map(|sample| sample.value)
        };
        assert_eq!(success("cpu"), Some(0.0));
        assert_eq!(success("uname"), Some(1.0));
    }
}
