//! Who a data directory belongs to: a small text file that is read before anything else is opened
//! (`node/docs/format/identity.md`).

use bellwether_kv::KvDisk;

/// Name of the file at the top of the data directory.
pub const IDENTITY_FILE: &str = "IDENTITY";

/// Version of the data directory's layout that this program writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 2;

const FIRST_LINE: &str = "bellwether data directory";

/// Given once, when the directory is founded; an empty directory is a new node, even at an old address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeIdentity {
    /// The cluster that the data belongs to.
    pub cluster: u128,
    /// The node inside the cluster.
    pub node: u64,
    /// Its replica of the meta group.
    pub meta_replica: u64,
}

/// Why a data directory was refused.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A newer program wrote it.
    #[error(
        "the data directory has format version {found}, this program reads up to {supported}: start a newer bellwether"
    )]
    NewerFormat {
        /// The version found.
        found: u32,
        /// The newest version that this program reads.
        supported: u32,
    },
    /// A program wrote it that knew of one node only.
    #[error(
        "the data directory has format version {found}, which this program reads no more: start the bellwether that \
         wrote it, or begin with an empty directory"
    )]
    OlderFormat {
        /// The version found.
        found: u32,
    },
    /// The file is not what was written.
    #[error("file {IDENTITY_FILE} is damaged: {reason}")]
    Damaged {
        /// What is wrong.
        reason: String,
    },
    /// There is data and no identity.
    #[error(
        "the data directory is not empty ({found} is there) and has no file {IDENTITY_FILE}: not a bellwether data directory"
    )]
    Foreign {
        /// One thing that is there.
        found: String,
    },
    /// Reading or writing failed.
    #[error("file {IDENTITY_FILE}")]
    Storage(#[from] bellwether_kv::Error),
}

impl NodeIdentity {
    /// Reads the identity; `None` for an empty directory.
    pub fn read(disk: &dyn KvDisk, ignored: &[&str]) -> Result<Option<NodeIdentity>, IdentityError> {
        if let Some(bytes) = disk.read_small_file(IDENTITY_FILE)? {
            return NodeIdentity::parse(&bytes).map(Some);
        }
        let strange = disk.list("")?.into_iter().find(|name| !ignored.contains(&name.as_str()));
        match strange {
            Some(found) => Err(IdentityError::Foreign { found }),
            None => Ok(None),
        }
    }

    /// Writes the identity, durably. The last step of founding: a directory without it holds nothing that counts.
    pub fn write(self, disk: &dyn KvDisk) -> Result<(), IdentityError> {
        Ok(disk.write_small_file(IDENTITY_FILE, self.print().as_bytes())?)
    }

    fn print(self) -> String {
        let NodeIdentity { cluster, node, meta_replica } = self;
        format!(
            "{FIRST_LINE}\nformat = {FORMAT_VERSION}\ncluster = {cluster:032x}\nnode = {node}\n\
             meta_replica = {meta_replica}\n"
        )
    }

    fn parse(bytes: &[u8]) -> Result<NodeIdentity, IdentityError> {
        let damaged = |reason: &str| IdentityError::Damaged { reason: reason.to_owned() };
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("not text"))?;
        let mut lines = text.lines();
        if lines.next() != Some(FIRST_LINE) {
            return Err(damaged("the first line is not ours"));
        }
        let mut value = |key: &str| {
            let line = lines.next().and_then(|line| line.strip_prefix(key)).and_then(|rest| rest.strip_prefix(" = "));
            line.ok_or_else(|| damaged(&format!("no line {key:?} where it should be")))
        };
        let found = value("format")?.parse().map_err(|_| damaged("the format version is not a number"))?;
        // A newer format may have other lines: only the version is promised to stay where it is.
        if found > FORMAT_VERSION {
            return Err(IdentityError::NewerFormat { found, supported: FORMAT_VERSION });
        }
        if found < FORMAT_VERSION {
            return Err(IdentityError::OlderFormat { found });
        }
        let cluster =
            u128::from_str_radix(value("cluster")?, 16).map_err(|_| damaged("the cluster id is not hexadecimal"))?;
        let node = value("node")?.parse().map_err(|_| damaged("the node id is not a number"))?;
        let meta_replica =
            value("meta_replica")?.parse().map_err(|_| damaged("the id of the meta replica is not a number"))?;
        Ok(NodeIdentity { cluster, node, meta_replica })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bellwether_kv::MemDisk;

    const IDENTITY: NodeIdentity = NodeIdentity { cluster: 0xabc, node: 7, meta_replica: 9 };

    #[test]
    fn an_identity_is_read_back_and_golden() {
        let disk = MemDisk::new();
        assert_eq!(NodeIdentity::read(&disk, &[]).unwrap(), None);
        IDENTITY.write(&disk).unwrap();
        assert_eq!(NodeIdentity::read(&disk, &[]).unwrap(), Some(IDENTITY));
        assert_eq!(
            IDENTITY.print(),
            "bellwether data directory\nformat = 2\ncluster = 00000000000000000000000000000abc\nnode = 7\nmeta_replica = 9\n"
        );
    }

    #[test]
    fn a_newer_format_is_refused_naming_both_versions() {
        let error = NodeIdentity::parse(b"bellwether data directory\nformat = 9\nwhatever\n").unwrap_err().to_string();
        assert_eq!(
            error,
            "the data directory has format version 9, this program reads up to 2: start a newer bellwether"
        );
    }

    #[test]
    fn the_format_before_clusters_is_refused() {
        let error = NodeIdentity::parse(b"bellwether data directory\nformat = 1\ncluster = a\nnode = 1\n").unwrap_err();
        assert!(matches!(error, IdentityError::OlderFormat { found: 1 }), "{error}");
    }

    #[test]
    fn anything_else_is_damage_or_foreign() {
        for text in
            ["", "x", "bellwether data directory\n", "bellwether data directory\nformat = 2\ncluster = z\nnode = 1\n"]
        {
            assert!(matches!(NodeIdentity::parse(text.as_bytes()), Err(IdentityError::Damaged { .. })), "{text:?}");
        }
        let disk = MemDisk::new();
        disk.write_small_file("photos", b"").unwrap();
        assert!(
            matches!(NodeIdentity::read(&disk, &["ballast"]), Err(IdentityError::Foreign { found }) if found == "photos")
        );
        assert_eq!(NodeIdentity::read(&disk, &["photos"]).unwrap(), None);
    }
}
