//! Files that notification settings name: passwords, addresses, certificates.
//!
//! Whoever may set a tenant's notifications must not read the node's files by it, so only one directory's are read, and none
//! where the operator names no directory.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::failure::Failure;
use crate::env::{ExecutorHandle, Files};

/// Bytes of such a file.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// The files of one directory.
#[derive(Clone)]
pub struct SettingFiles {
    files: Arc<dyn Files>,
    background: ExecutorHandle,
    directory: Option<PathBuf>,
}

impl SettingFiles {
    /// Of a directory; none: there are no files.
    pub fn new(files: Arc<dyn Files>, background: ExecutorHandle, directory: Option<PathBuf>) -> SettingFiles {
        SettingFiles { files, background, directory }
    }

    /// Whether a file may be read, and where it is.
    pub fn path_of(&self, name: &str) -> Result<PathBuf, String> {
        let Some(directory) = &self.directory else {
            return Err(format!("the file {name:?} is not read: this node has no alerting.files_dir"));
        };
        let path = directory.join(name);
        let goes_up = Path::new(name).components().any(|component| component == Component::ParentDir);
        if goes_up || !path.starts_with(directory) {
            return Err(format!("the file {name:?} is not read: it is not in alerting.files_dir"));
        }
        Ok(path)
    }

    /// Reads one whole.
    pub async fn read(&self, name: &str) -> Result<Vec<u8>, Failure> {
        let path = self.path_of(name).map_err(Failure::of_settings)?;
        let files = self.files.clone();
        let read = self.background.run(move || files.read(&path)).await;
        let content = match read {
            Ok(Ok(content)) => content,
            Ok(Err(error)) => return Err(Failure::of_settings(format!("the file {name:?} cannot be read: {error}"))),
            Err(failed) => return Err(Failure::of_settings(failed.to_string())),
        };
        if content.len() > FILE_BYTES_MAX {
            return Err(Failure::of_settings(format!("the file {name:?} has more than {FILE_BYTES_MAX} bytes")));
        }
        Ok(content)
    }

    /// Reads one that holds a line.
    pub async fn read_text(&self, name: &str) -> Result<String, Failure> {
        let content = self.read(name).await?;
        let text = String::from_utf8(content);
        let text = text.map_err(|_| Failure::of_settings(format!("the file {name:?} is no UTF-8")))?;
        Ok(text.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::NoFiles;
    use crate::testing::inline;

    #[test]
    fn files_are_those_of_one_directory() {
        let files =
            |directory: Option<&str>| SettingFiles::new(Arc::new(NoFiles), inline(), directory.map(PathBuf::from));
        let of = files(Some("/etc/b"));
        assert_eq!(of.path_of("pw"), Ok(PathBuf::from("/etc/b/pw")));
        assert_eq!(of.path_of("/etc/b/c/pw"), Ok(PathBuf::from("/etc/b/c/pw")));
        for outside in ["/etc/shadow", "../shadow", "/etc/b/../shadow", "c/../../shadow", "/etc/bc/pw"] {
            assert!(of.path_of(outside).is_err(), "{outside}");
        }
        assert!(files(None).path_of("pw").is_err());
    }
}
