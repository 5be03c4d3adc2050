//! `bwctl rules`: checks and tests rule files, here and without a node.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bellwether_alert::limits::FILE_BYTES_MAX;
use bellwether_alert::rules::{self, Duplicate, RuleFile, RuleGroup, composite};
use bellwether_alert::unit::{self, Options, TestOutcome, UnitTestFile};
use bellwether_alert::yaml::problems::Problem;
use regex::Regex;
use serde_json::{Value, json};

use crate::arguments::RulesCommand;
use crate::failure::Failure;
use crate::output::Output;

/// Runs a command; findings are printed as its result.
pub fn run(output: Output, command: RulesCommand) -> Result<(), Failure> {
    let is_good = match command {
        RulesCommand::Check { files, lint_fatal } => check(output, &files, lint_fatal)?,
        RulesCommand::Test { files, run, diff } => test(output, &files, &run, Options { diff })?,
        RulesCommand::Replay(_)
        | RulesCommand::Load(_)
        | RulesCommand::List { .. }
        | RulesCommand::Show { .. }
        | RulesCommand::Delete { .. }
        | RulesCommand::Status { .. } => true,
    };
    if is_good { Ok(()) } else { Err(Failure::Found) }
}

/// The text of a file, or why it is none, as a problem of the file.
fn read(path: &Path) -> Result<String, Vec<String>> {
    let fail = |what: String| Err(vec![format!("{}: {what}", path.display())]);
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > FILE_BYTES_MAX as u64 => {
            fail(format!("the file has {} bytes, the limit is {FILE_BYTES_MAX}", metadata.len()))
        }
        Ok(_) => std::fs::read_to_string(path).or_else(|error| fail(error.to_string())),
        Err(error) => fail(error.to_string()),
    }
}

/// `file:line:column: what`
fn placed(path: &Path, problems: Vec<Problem>) -> Vec<String> {
    problems.into_iter().map(|problem| format!("{}:{problem}", path.display())).collect()
}

/// The rules of a file, or what is wrong with it.
pub fn read_rules(path: &Path) -> Result<RuleFile, Vec<String>> {
    rules::read(&read(path)?).map_err(|problems| placed(path, problems))
}

fn check(output: Output, paths: &[PathBuf], lint_fatal: bool) -> Result<bool, Failure> {
    let mut checked: Vec<(&PathBuf, Result<RuleFile, Vec<String>>)> =
        paths.iter().map(|path| (path, read_rules(path))).collect();
    for (file, problems) in misfits(&checked) {
        let (path, result) = &mut checked[file];
        *result = Err(placed(path, problems));
    }
    let (good_paths, good): (Vec<&PathBuf>, Vec<&RuleFile>) =
        checked.iter().filter_map(|(path, rules)| Some((*path, rules.as_ref().ok()?))).unzip();
    let duplicates = rules::duplicates(&good);
    let is_good = good.len() == checked.len() && (duplicates.is_empty() || !lint_fatal);
    if output.json {
        let file = |(path, rules): &(&PathBuf, Result<RuleFile, Vec<String>>)| match rules {
            Ok(rules) => json!({ "file": path, "groups": rules.groups.len(), "rules": rules.rule_count() }),
            Err(errors) => json!({ "file": path, "errors": errors }),
        };
        let files: Vec<Value> = checked.iter().map(file).collect();
        let duplicates: Vec<Value> = duplicates.iter().map(|found| duplicate_json(found, &good_paths)).collect();
        output.print_json(&json!({ "files": files, "duplicates": duplicates }))?;
        return Ok(is_good);
    }
    let mut text = String::new();
    for (path, rules) in &checked {
        text.push_str(&format!("Checking {}\n", path.display()));
        match rules {
            Ok(rules) => text.push_str(&format!("  SUCCESS: {} rules found\n", rules.rule_count())),
            Err(errors) => text.push_str(&format!("  FAILED:\n{}\n", errors.join("\n"))),
        }
        text.push('\n');
    }
    if !duplicates.is_empty() {
        text.push_str(&format!("{} duplicate rule(s) found.\n", duplicates.len()));
        for found in &duplicates {
            text.push_str(&duplicate_text(found, &good_paths));
        }
        text.push_str("What they store, or alert of, cannot be told apart.\n");
    }
    output.print_text(&text)?;
    Ok(is_good)
}

/// Files whose composite rules depend on themselves, if all are loaded.
fn misfits(checked: &[(&PathBuf, Result<RuleFile, Vec<String>>)]) -> BTreeMap<usize, Vec<Problem>> {
    let good = checked.iter().enumerate().filter_map(|(file, (_, rules))| Some((file, rules.as_ref().ok()?)));
    let (files, groups): (Vec<usize>, Vec<&RuleGroup>) =
        good.flat_map(|(file, rules)| rules.groups.iter().map(move |group| (file, group))).unzip();
    let mut found: BTreeMap<usize, Vec<Problem>> = BTreeMap::new();
    for (number, misfit) in composite::check_together(&groups) {
        found.entry(files[number]).or_default().push(misfit.problem(&groups[number].name));
    }
    found
}

fn places(found: &Duplicate, paths: &[&PathBuf]) -> Vec<String> {
    found.places.iter().map(|(file, place)| format!("{}:{place}", paths[*file].display())).collect()
}

fn duplicate_text(found: &Duplicate, paths: &[&PathBuf]) -> String {
    let mut text = format!("Metric: {}\n", found.name);
    if !found.labels.is_empty() {
        text.push_str("Label(s):\n");
    }
    for (name, value) in &found.labels {
        text.push_str(&format!("\t{name}: {value}\n"));
    }
    text + &format!("Place(s):\n\t{}\n", places(found, paths).join("\n\t"))
}

fn duplicate_json(found: &Duplicate, paths: &[&PathBuf]) -> Value {
    let labels: BTreeMap<&String, &String> = found.labels.iter().map(|(name, value)| (name, value)).collect();
    json!({ "name": found.name, "labels": labels, "places": places(found, paths) })
}

fn test(output: Output, paths: &[PathBuf], run: &[Regex], options: Options) -> Result<bool, Failure> {
    let mut is_good = true;
    let mut files = Vec::new();
    for path in paths {
        let mut warnings = Vec::new();
        let tested = test_file(path, run, options, &mut warnings);
        let failed = tested.as_ref().map_or(true, |tests| tests.iter().any(|test| !test.failures.is_empty()));
        is_good &= !failed;
        if output.json {
            files.push(tested_json(path, &tested, &warnings));
            continue;
        }
        let mut text = format!("Unit Testing:  {}\n", path.display());
        for warning in warnings {
            text.push_str(&format!("  WARNING: {warning}\n"));
        }
        text.push_str(if failed { "  FAILED:\n" } else { "  SUCCESS\n" });
        let failures = match tested {
            Ok(tests) => tests.into_iter().flat_map(|test| test.failures).collect(),
            Err(errors) => errors,
        };
        for failure in failures {
            text.push_str(&format!("{failure}\n\n"));
        }
        output.print_text(&(text + "\n"))?;
    }
    if output.json {
        output.print_json(&Value::Array(files))?;
    }
    Ok(is_good)
}

fn test_file(
    path: &Path,
    run: &[Regex],
    options: Options,
    warnings: &mut Vec<String>,
) -> Result<Vec<TestOutcome>, Vec<String>> {
    let file = unit::read(&read(path)?).map_err(|problems| placed(path, problems))?;
    let wanted = |name: &str| run.is_empty() || run.iter().any(|pattern| pattern.is_match(name));
    let files = rule_files(path, &file, warnings)?;
    // As promtool, which reads rules when it runs a test.
    if !file.tests.iter().any(|test| wanted(&test.name)) {
        return Ok(Vec::new());
    }
    let (mut rules, mut errors) = (Vec::new(), Vec::new());
    for path in files {
        match read_rules(&path) {
            Ok(file) => rules.push(file),
            Err(mut more) => errors.append(&mut more),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(unit::run(&file, &rules, options, &wanted))
}

/// The rule files that a file of tests names by patterns, from where it is; each once.
fn rule_files(path: &Path, file: &UnitTestFile, warnings: &mut Vec<String>) -> Result<Vec<PathBuf>, Vec<String>> {
    let directory = path.parent().unwrap_or(Path::new(""));
    let mut found: Vec<PathBuf> = Vec::new();
    for pattern in &file.rule_files {
        let joined = directory.join(&pattern.value);
        let place = format!("{}:{}", path.display(), pattern.place);
        let fail = |what: String| vec![format!("{place}: rule_files: {what}")];
        let Some(text) = joined.to_str() else { return Err(fail("the path is no UTF-8".to_owned())) };
        let matches = glob::glob(text).map_err(|error| fail(error.to_string()))?;
        let before = found.len();
        let mut any = false;
        for path in matches {
            let path = path.map_err(|error| fail(error.to_string()))?;
            any = true;
            if !found[..before].contains(&path) {
                found.push(path);
            }
        }
        if !any {
            warnings.push(format!("no file match pattern {}", joined.display()));
        }
    }
    Ok(found)
}

fn tested_json(path: &Path, tested: &Result<Vec<TestOutcome>, Vec<String>>, warnings: &[String]) -> Value {
    match tested {
        Ok(tests) => {
            let test = |test: &TestOutcome| json!({ "name": test.name, "failures": test.failures });
            json!({ "file": path, "tests": tests.iter().map(test).collect::<Vec<_>>(), "warnings": warnings })
        }
        Err(errors) => json!({ "file": path, "errors": errors, "warnings": warnings }),
    }
}
