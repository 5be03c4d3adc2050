//! What a reader may rely on in every file of this repository, checked. Nothing here is about behaviour.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const LINES_PER_FILE_MAX: usize = 1000;

/// Directories that hold no source of ours.
const SKIPPED_DIRECTORIES: [&str; 4] = ["target", "data", ".git", "node_modules"];

/// They say nothing about what is inside.
const NAMES_THAT_SAY_NOTHING: [&str; 10] =
    ["util", "utils", "common", "helper", "helpers", "manager", "misc", "shared", "stuff", "tools"];

/// Written in halves: this file is checked too.
const UNFINISHED: [&str; 5] = [
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("#[ign", "ore"),
];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every file below `directory` with this extension, as a path relative to the repository.
fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                if !SKIPPED_DIRECTORIES.contains(&name) {
                    waiting.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path.strip_prefix(repository()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Sources that people write: the packages, not what else lies in a checkout.
fn sources() -> Vec<PathBuf> {
    ["node", "proto", "client", "sim", "chaos"]
        .into_iter()
        .map(|package| repository().join(package))
        .filter(|directory| directory.is_dir())
        .flat_map(|directory| files(&directory, "rs"))
        .collect()
}

fn text(path: impl AsRef<Path>) -> String {
    let path = repository().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn assert_none(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn every_source_file_says_what_it_is() {
    let silent = sources().into_iter().filter(|path| !text(path).starts_with("//! "));
    assert_none(silent.map(|path| format!("{} does not begin with `//! `", path.display())).collect());
}

#[test]
fn no_source_file_is_long() {
    let lengths = sources().into_iter().map(|path| (text(&path).lines().count(), path));
    let long = lengths.filter(|(lines, _)| *lines >= LINES_PER_FILE_MAX);
    assert_none(long.map(|(lines, path)| format!("{} has {lines} lines", path.display())).collect());
}

#[test]
fn nothing_is_left_unfinished() {
    let mut wrong = Vec::new();
    for path in sources() {
        for (number, line) in text(&path).lines().enumerate() {
            for word in UNFINISHED {
                if has_word(line, word) {
                    wrong.push(format!("{}:{}: {word}", path.display(), number + 1));
                }
            }
        }
    }
    assert_none(wrong);
}

/// Letters and digits right before or after make it part of another word.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(char::is_alphanumeric)
            && (!word.ends_with(char::is_alphanumeric) || !after.is_some_and(char::is_alphanumeric))
    })
}

#[test]
fn file_names_say_what_is_inside() {
    let wrong = sources().into_iter().filter(|path| {
        let parts = path.iter().map(|part| part.to_str().unwrap());
        parts.map(|part| part.strip_suffix(".rs").unwrap_or(part)).any(|part| NAMES_THAT_SAY_NOTHING.contains(&part))
    });
    assert_none(wrong.map(|path| path.display().to_string()).collect());
}

/// The names in `docs/format/<name>.md`, wherever they are mentioned in `text`.
fn formats_mentioned(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, prefix) in text.match_indices("docs/format/") {
        let rest = &text[at + prefix.len()..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').unwrap_or(rest.len());
        if end > 0 && rest[end..].starts_with(".md") {
            names.insert(rest[..end].to_owned());
        }
    }
    names
}

#[test]
fn every_stored_format_is_described_and_every_description_is_used() {
    let described: BTreeSet<String> = files(&repository().join("node/docs/format"), "md")
        .into_iter()
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let this_file = Path::new(file!()).file_name();
    let named: BTreeSet<String> = sources()
        .into_iter()
        .filter(|path| path.file_name() != this_file)
        .flat_map(|path| formats_mentioned(&text(path)))
        .collect();
    let missing = named.difference(&described).map(|name| format!("node/docs/format/{name}.md is named and missing"));
    let unused = described.difference(&named).map(|name| format!("node/docs/format/{name}.md: no source names it"));
    assert_none(missing.chain(unused).collect());
}

#[test]
fn every_crate_has_its_paragraph() {
    let architecture = text("node/docs/ARCHITECTURE.md");
    let mut crates: Vec<String> = fs::read_dir(repository().join("node/crates"))
        .unwrap()
        .map(|entry| format!("### `node/crates/{}`", entry.unwrap().file_name().to_str().unwrap()))
        .collect();
    crates.extend(["### `client`", "### `node`", "### `proto`", "### `sim`"].map(str::to_owned));
    let missing = crates.into_iter().filter(|heading| !architecture.lines().any(|line| line == heading));
    assert_none(missing.map(|heading| format!("ARCHITECTURE.md has no heading {heading}")).collect());
}

/// What stands in backquotes and in indented or fenced code, word by word, and the targets of links.
fn paths_in_markdown(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| c.is_whitespace() || "`()[]\"',;".contains(c));
    let tops = ["client/", "deploy/", "node/", "proto/", "sim/", ".ci/"];
    words
        .map(|word| word.trim_end_matches(['.', ':']))
        .filter(|word| tops.iter().any(|top| word.starts_with(top)) && !word.contains(['*', '{', '<']))
        .map(str::to_owned)
        .collect()
}

#[test]
fn documents_that_are_named_exist_and_name_only_what_exists() {
    let mut wrong = Vec::new();
    let mut documents = files(&repository().join("node/docs"), "md");
    documents.push(PathBuf::from("README.md"));
    for document in documents {
        for path in paths_in_markdown(&text(&document)) {
            if !repository().join(&path).exists() {
                wrong.push(format!("{} names {path}, which does not exist", document.display()));
            }
        }
    }
    for source in sources() {
        let named = paths_in_markdown(&text(&source));
        for path in named.iter().filter(|path| path.starts_with("node/docs/") && path.ends_with(".md")) {
            if !repository().join(path).exists() {
                wrong.push(format!("{} names {path}, which does not exist", source.display()));
            }
        }
    }
    assert_none(wrong);
}

/// The names of our metrics in `text`: string literals that are nothing but a name.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let names = text.split('"').filter(|word| {
        let rest = word.strip_prefix("bellwether_").unwrap_or_default();
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    });
    names.map(str::to_owned).collect()
}

#[test]
fn every_metric_is_explained() {
    let operating = text("node/docs/OPERATING.md");
    let this_file = Path::new(file!()).file_name();
    let sources = sources().into_iter().filter(|path| path.file_name() != this_file && path.starts_with("node"));
    let metrics: BTreeSet<String> = sources
        .filter(|path| !path.iter().any(|part| part == "tests" || part == "benches"))
        .flat_map(|path| metrics_in(&text(&path)))
        .collect();
    let silent = metrics.into_iter().filter(|name| !operating.contains(&format!("`{name}")));
    assert_none(silent.map(|name| format!("OPERATING.md does not explain {name}")).collect());
}

#[test]
fn commands_in_the_readme_can_be_run() {
    use std::os::unix::fs::PermissionsExt;
    let readme = text("README.md");
    let commands = ["deploy/start", "deploy/stop", "deploy/test"];
    for command in commands {
        assert!(readme.contains(command), "README.md does not name {command}");
    }
    for command in commands.into_iter().chain([".ci/run"]) {
        let path = repository().join(command);
        let mode =
            fs::metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode();
        assert!(mode & 0o111 != 0, "{command} is not executable");
    }
}

#[test]
fn this_file_finds_what_it_looks_for() {
    assert!(has_word("// TODAY: XX", "XX") && !has_word("let FOOXX = 1", "XX") && !has_word("XXY", "XX"));
    assert!(
        metrics_in(r#"x("bellwether_a_total", "bellwether_server::y")"#)
            == BTreeSet::from(["bellwether_a_total".into()])
    );
    assert!(formats_mentioned("see node/docs/format/shard.md.").contains("shard"));
    assert!(paths_in_markdown("run `deploy/start`, then\n    deploy/stop").len() == 2);
}
