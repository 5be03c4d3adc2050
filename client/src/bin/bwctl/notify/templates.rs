//! The files with templates that a configuration names.

use std::path::{Path, PathBuf};

use bellwether_alert::notify::Config;
use bellwether_alert::notify::templates::Library;
use bellwether_alert::yaml::problems::Problem;

use super::{placed, read_text};

/// What the files hold.
#[derive(Default)]
pub struct Found {
    pub library: Library,
    pub files: Vec<PathBuf>,
    /// `file:line:column: what`
    pub errors: Vec<String>,
    pub warnings: Vec<Problem>,
}

/// Reads them, from where the configuration is; each once.
pub fn read_templates(path: &Path, config: &Config) -> Found {
    let directory = path.parent().unwrap_or(Path::new(""));
    let mut found = Found::default();
    for pattern in &config.templates {
        let wrong =
            |message: String| placed(path, &Problem { place: pattern.place, message: format!("templates: {message}") });
        let files = match directory.join(&pattern.value).to_str().map(glob::glob) {
            Some(Ok(files)) => files,
            Some(Err(error)) => {
                found.errors.push(wrong(error.to_string()));
                continue;
            }
            None => {
                found.errors.push(wrong("the path is no UTF-8".to_owned()));
                continue;
            }
        };
        let mut any = false;
        for file in files {
            any = true;
            match file {
                Ok(file) if found.files.contains(&file) => {}
                Ok(file) => found.add(file),
                Err(error) => found.errors.push(wrong(error.to_string())),
            }
        }
        if !any {
            let message = format!("templates: no file matches {:?}", pattern.value);
            found.warnings.push(Problem { place: pattern.place, message });
        }
    }
    found
}

impl Found {
    fn add(&mut self, file: PathBuf) {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let added = read_text(&file).and_then(|text| self.library.add(&name, &text).map_err(|problem| vec![problem]));
        match added {
            Ok(()) => self.files.push(file),
            Err(problems) => self.errors.extend(problems.iter().map(|problem| placed(&file, problem))),
        }
    }
}
