//! The museum: cases that failed once. Each must hold now. One that names a bug fails again where that is planted, unless what nodes do has
//! shifted since: then it proves less, and is to be found anew.

use std::fs;
use std::path::{Path, PathBuf};

use bellwether_probe::Bug;

use crate::cluster::Case;
use crate::cluster::run::{Manner, replay};

/// The cases in a directory, in the order of their names.
pub fn exhibits(directory: &Path) -> Result<Vec<(PathBuf, Case)>, String> {
    let unreadable = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let entries = fs::read_dir(directory).map_err(|error| unreadable(directory, &error))?;
    let paths: Result<Vec<PathBuf>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(|error| unreadable(directory, &error))?;
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
        let case = Case::of_json(&text).map_err(|error| unreadable(&path, &error))?;
        Ok((path, case))
    };
    paths.into_iter().map(read).collect()
}

/// Replays a case; gives what is to be said of it.
pub fn show(case: &Case) -> Result<String, String> {
    let bug = case.catches.as_deref().map(str::parse::<Bug>).transpose()?;
    if let Err(failure) = replay(case.clone(), Manner::default()) {
        return Err(format!("{}\nit fails: {}", failure.details, failure.reason));
    }
    let Some(bug) = bug else { return Ok("holds".to_owned()) };
    match replay(case.clone(), Manner { planted: Some(bug), ..Manner::default() }) {
        Err(failure) => Ok(format!("holds, and catches {bug}: {}", failure.reason)),
        Ok(_) => Ok(format!("holds, and does not catch {bug} any more: find it anew")),
    }
}
