//! `node_filesystem_*` from /proc/self/mounts and statvfs.
//!
//! File systems that another machine or a user process answers for are left out: statvfs on them can hang for ever. The
//! mount points left out are those of Debian's node_exporter, except /mnt and /media: a data disk is often mounted there,
//! and a full one must be seen.

use super::samples::Samples;

/// Kernel-made trees, images and layers of containers: node_exporter's list.
const TYPES_LEFT_OUT: [&str; 24] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nsfs",
    "overlay",
    "proc",
    "procfs",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tracefs",
];

/// Somebody else answers for these, or nobody.
const TYPES_THAT_MAY_HANG: [&str; 19] = [
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "coda",
    "davfs",
    "fuse",
    "gfs2",
    "glusterfs",
    "gpfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "smb3",
    "smbfs",
    "virtiofs",
];

const MOUNT_POINTS_LEFT_OUT: [&str; 4] = ["/dev", "/proc", "/run", "/sys"];
const CONTAINER_STORAGE: [&str; 2] = ["/var/lib/docker/", "/var/lib/containers/storage/"];

/// Mounts that are measured; a host with more has bind mounts of the same few.
const MOUNTS_MAX: usize = 256;

/// One line of /proc/self/mounts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mount {
    device: String,
    fstype: String,
    /// Where it is mounted.
    pub mountpoint: String,
    read_only: bool,
}

/// What statvfs says.
#[derive(Debug, Clone, Copy)]
pub struct Space {
    /// Bytes of one block.
    pub block_bytes: u64,
    /// All blocks.
    pub blocks: u64,
    /// Free blocks.
    pub blocks_free: u64,
    /// Free blocks that not only root may use.
    pub blocks_available: u64,
    /// All inodes.
    pub files: u64,
    /// Free inodes.
    pub files_free: u64,
}

/// The mounts in /proc/self/mounts' text that are worth measuring and safe to measure, each once.
pub fn mounts(text: &str) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = text.lines().filter_map(mount).collect();
    // Mounted over: the same name twice would be the same series twice. The last one is what can be seen.
    mounts.reverse();
    let mut seen = std::collections::BTreeSet::new();
    mounts.retain(|mount| seen.insert((mount.device.clone(), mount.mountpoint.clone(), mount.fstype.clone())));
    mounts.reverse();
    mounts.truncate(MOUNTS_MAX);
    mounts
}

fn mount(line: &str) -> Option<Mount> {
    let mut words = line.split(' ');
    let device = unescape(words.next()?);
    let mountpoint = unescape(words.next()?);
    let fstype = words.next()?;
    let mut options = words.next()?.split(',');
    let measured = !is_type_left_out(fstype) && mountpoint.starts_with('/') && !is_mount_point_left_out(&mountpoint);
    measured.then(|| Mount {
        device,
        fstype: fstype.to_owned(),
        mountpoint,
        read_only: options.any(|option| option == "ro"),
    })
}

fn is_type_left_out(fstype: &str) -> bool {
    // `fuse.sshfs` and its like; `fuseblk` is a local disk.
    TYPES_LEFT_OUT.contains(&fstype) || TYPES_THAT_MAY_HANG.contains(&fstype) || fstype.starts_with("fuse.")
}

fn is_mount_point_left_out(mountpoint: &str) -> bool {
    let below = |top: &str| mountpoint.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    MOUNT_POINTS_LEFT_OUT.into_iter().any(below)
        || CONTAINER_STORAGE.iter().any(|top| mountpoint.len() > top.len() && mountpoint.starts_with(top))
}

/// The kernel writes blanks and backslashes in names as `\` and three octal digits.
fn unescape(word: &str) -> String {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let octal = match after {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => {
                Some((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'))
            }
            _ => None,
        };
        match octal {
            Some(decoded) if byte == b'\\' => {
                bytes.push(decoded);
                rest = &after[3..];
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Reports one mount; without `space` it could not be measured, which is itself worth knowing.
pub fn report(mount: &Mount, space: Option<Space>, samples: &mut Samples) {
    let labels = [
        ("device", mount.device.as_str()),
        ("fstype", mount.fstype.as_str()),
        ("mountpoint", mount.mountpoint.as_str()),
    ];
    let mut gauge = |name: &'static str, help, value: f64| samples.gauge(name, help, &labels, value);
    let failed = if space.is_none() { 1.0 } else { 0.0 };
    gauge(
        "node_filesystem_device_error",
        "Whether an error occurred while getting statistics for the given device.",
        failed,
    );
    let Some(space) = space else { return };
    let bytes = |blocks: u64| blocks as f64 * space.block_bytes as f64;
    gauge("node_filesystem_size_bytes", "Filesystem size in bytes.", bytes(space.blocks));
    gauge("node_filesystem_free_bytes", "Filesystem free space in bytes.", bytes(space.blocks_free));
    gauge(
        "node_filesystem_avail_bytes",
        "Filesystem space available to non-root users in bytes.",
        bytes(space.blocks_available),
    );
    gauge("node_filesystem_files", "Filesystem total file nodes.", space.files as f64);
    gauge("node_filesystem_files_free", "Filesystem total free file nodes.", space.files_free as f64);
    gauge("node_filesystem_readonly", "Filesystem read-only status.", if mount.read_only { 1.0 } else { 0.0 });
}

#[cfg(test)]
mod tests {
    use super::super::samples::check;
    use super::*;

    const MOUNTS: &str = include_str!("fixtures/mounts.txt");

    fn points(text: &str) -> Vec<String> {
        mounts(text).into_iter().map(|mount| mount.mountpoint).collect()
    }

    #[test]
    fn the_root_is_measured_and_kernel_trees_are_not() {
        let points = points(MOUNTS);
        assert!(points.contains(&"/".to_owned()), "{points:?}");
        assert!(!points.iter().any(|point| point.starts_with("/sys") || point.starts_with("/dev")), "{points:?}");
    }

    #[test]
    fn a_data_disk_below_mnt_is_measured_and_what_may_hang_is_not() {
        let text = "/dev/sdb /mnt/data xfs rw 0 0\nserver:/x /mnt/nfs nfs4 rw 0 0\nme@host:/ /mnt/ssh fuse.sshfs rw 0 0\n\
                    /dev/sdc1 /mnt/usb fuseblk rw 0 0\n/dev/sdd /var/lib/docker/volumes ext4 rw 0 0\n/dev/sde /devices ext4 ro 0 0\n";
        assert_eq!(points(text), ["/mnt/data", "/mnt/usb", "/devices"]);
        assert!(mounts(text)[2].read_only);
    }

    #[test]
    fn the_same_mount_twice_is_one_series() {
        assert_eq!(points("tmpfs /tmp tmpfs rw 0 0\n/dev/sda / ext4 rw 0 0\ntmpfs /tmp tmpfs ro 0 0\n"), ["/", "/tmp"]);
    }

    #[test]
    fn blanks_in_names_are_read() {
        assert_eq!(points("/dev/sda /my\\040disk\\134x\\0 ext4 rw 0 0\n"), ["/my disk\\x\\0"]);
    }

    #[test]
    fn a_mount_that_cannot_be_measured_says_so() {
        let mount = mounts("/dev/sda / ext4 rw 0 0\n").remove(0);
        let lines = check::lines(|samples| report(&mount, None, samples));
        assert_eq!(lines, "node_filesystem_device_error{device=\"/dev/sda\",fstype=\"ext4\",mountpoint=\"/\"} 1\n");
        let space =
            Space { block_bytes: 4096, blocks: 10, blocks_free: 5, blocks_available: 4, files: 100, files_free: 90 };
        let lines = check::lines(|samples| report(&mount, Some(space), samples));
        assert_eq!(lines.lines().count(), 7);
        assert!(lines.contains("avail_bytes{device=\"/dev/sda\",fstype=\"ext4\",mountpoint=\"/\"} 16384\n"), "{lines}");
    }

    #[test]
    fn hostile_text_is_survived() {
        check::survives_hostile_text(MOUNTS, |text, samples| {
            for mount in mounts(text) {
                report(&mount, None, samples);
            }
        });
    }
}
