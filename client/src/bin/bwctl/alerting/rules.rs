//! Rules in the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bellwether_alert::rules::composite::{check_together, dependencies_first};
use bellwether_alert::rules::{self, RuleFile, read_group, write_file, write_group};
use bellwether_client::v1::{ListRuleGroupsRequest, RuleGroup, RuleStatus};
use serde_json::{Value, json};

use super::{client_of, replay};
use crate::Context;
use crate::arguments::{LoadArguments, RulesCommand, TenantOption};
use crate::ask::confirm;
use crate::failure::Failure;
use crate::rules::read_rules;
use crate::table::{Column, Table};
use crate::times::print_time;

/// Runs a command that asks a node.
pub async fn run(context: &Context, command: RulesCommand) -> Result<(), Failure> {
    match command {
        RulesCommand::Replay(arguments) => replay::run(context, &arguments).await,
        RulesCommand::Load(arguments) => load(context, &arguments).await,
        RulesCommand::List { namespace, of } => {
            let groups = groups(context, &of, request(namespace, None, true)).await?;
            Ok(context.output.print(|| list(&groups), || groups.iter().map(group_json).collect())?)
        }
        RulesCommand::Show { namespace, group, of } => show(context, namespace, group, &of).await,
        RulesCommand::Delete { namespace, group, of } => {
            if group.is_none() {
                confirm(context.yes, &format!("this deletes all rule groups of {namespace:?}"))?;
            }
            let client = client_of(context, &of)?;
            client.alerting().delete_rule_group(&namespace, group.as_deref()).await?;
            let what = group.as_ref().map_or_else(String::new, |group| format!("/{group}"));
            let deleted = json!({"namespace": namespace, "group": group, "deleted": true});
            Ok(context.output.print_line(&format!("{namespace}{what} is deleted"), &deleted)?)
        }
        RulesCommand::Status { namespace, of } => {
            let groups = groups(context, &of, request(namespace, None, true)).await?;
            context.output.print(|| status(&groups), || groups.iter().map(group_json).collect())?;
            let is_bad = |group: &RuleGroup| {
                !group.unreadable_because.is_empty() || group.rules.iter().any(|rule| rule.health == "err")
            };
            if groups.iter().any(is_bad) { Err(Failure::Found) } else { Ok(()) }
        }
        RulesCommand::Check { .. } | RulesCommand::Test { .. } => Ok(()),
    }
}

fn request(namespace: Option<String>, group: Option<String>, without_texts: bool) -> ListRuleGroupsRequest {
    let (namespace, group) = (namespace.unwrap_or_default(), group.unwrap_or_default());
    ListRuleGroupsRequest { namespace, group, without_texts }
}

async fn groups(
    context: &Context,
    of: &TenantOption,
    request: ListRuleGroupsRequest,
) -> Result<Vec<RuleGroup>, Failure> {
    Ok(client_of(context, of)?.alerting().rule_groups(request).await?)
}

/// What becomes of a group.
struct Loaded {
    namespace: String,
    group: String,
    rules: usize,
    what: &'static str,
}

/// Groups by namespace and name, with the files that have them.
type Wanted = BTreeMap<(String, String), (PathBuf, rules::RuleGroup)>;

async fn load(context: &Context, arguments: &LoadArguments) -> Result<(), Failure> {
    let wanted = wanted(arguments)?;
    let client = client_of(context, &arguments.of)?;
    let alerting = client.alerting();
    let known = alerting.rule_groups(request(None, None, false)).await?;
    let known: BTreeMap<(String, String), String> =
        known.into_iter().map(|group| ((group.namespace, group.name), group.text)).collect();
    let mut loaded = Vec::new();
    let groups: Vec<&rules::RuleGroup> = wanted.values().map(|(_, group)| group).collect();
    let ids: Vec<&(String, String)> = wanted.keys().collect();
    // A composite rule is taken once what it speaks of is there.
    for (id, group) in dependencies_first(&groups).into_iter().map(|number| (ids[number], groups[number])) {
        let text = write_group(group);
        let what = match known.get(id) {
            Some(known) if *known == text => "unchanged",
            Some(_) => "changed",
            None => "new",
        };
        if what != "unchanged" && !arguments.dry_run {
            alerting.set_rule_group(&id.0, &text).await?;
        }
        loaded.push(Loaded { namespace: id.0.clone(), group: id.1.clone(), rules: group.rules.len(), what });
    }
    let namespaces: BTreeSet<String> = arguments.files.iter().map(|path| namespace_in(arguments, path)).collect();
    let is_gone = |id: &&(String, String)| !wanted.contains_key(*id) && namespaces.contains(&id.0);
    for (namespace, group) in known.keys().filter(is_gone).filter(|_| arguments.prune) {
        if !arguments.dry_run {
            alerting.delete_rule_group(namespace, Some(group)).await?;
        }
        loaded.push(Loaded { namespace: namespace.clone(), group: group.clone(), rules: 0, what: "deleted" });
    }
    let table = || {
        let columns = [Column::Left("NAMESPACE"), Column::Left("GROUP"), Column::Right("RULES"), Column::Left("WHAT")];
        let mut table = Table::new(columns);
        for Loaded { namespace, group, rules, what } in &loaded {
            table.row([namespace.clone(), group.clone(), rules.to_string(), (*what).to_owned()]);
        }
        table
    };
    let of_loaded = |loaded: &Loaded| {
        let Loaded { namespace, group, rules, what } = loaded;
        json!({ "namespace": namespace, "group": group, "rules": rules, "what": what })
    };
    Ok(context.output.print(table, || loaded.iter().map(of_loaded).collect())?)
}

/// What the files hold; nothing is loaded while one of them is wrong.
fn wanted(arguments: &LoadArguments) -> Result<Wanted, Failure> {
    let (mut wanted, mut wrong) = (Wanted::new(), Vec::new());
    for path in &arguments.files {
        let file: RuleFile = match read_rules(path) {
            Ok(file) => file,
            Err(mut problems) => {
                wrong.append(&mut problems);
                continue;
            }
        };
        let namespace = namespace_in(arguments, path);
        for group in file.groups {
            let (id, name) = ((namespace.clone(), group.name.clone()), group.name.clone());
            if wanted.insert(id, (path.clone(), group)).is_some() {
                wrong.push(format!("{}: the group {name:?} of {namespace:?} is there twice", path.display()));
            }
        }
    }
    let (files, groups): (Vec<_>, Vec<_>) = wanted.values().map(|(path, group)| (path.display(), group)).unzip();
    wrong.extend(check_together(&groups).into_iter().map(|(number, misfit)| {
        let problem = misfit.problem(&groups[number].name);
        format!("{}:{problem}", files[number])
    }));
    if wrong.is_empty() { Ok(wanted) } else { Err(Failure::Refused(wrong.join("\n       "))) }
}

/// The namespace of a file's groups.
fn namespace_in(arguments: &LoadArguments, path: &Path) -> String {
    arguments.namespace.clone().unwrap_or_else(|| namespace_of(path))
}

fn namespace_of(path: &Path) -> String {
    let name = PathBuf::from(path.file_name().unwrap_or_default());
    let stem = name.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    if stem.is_empty() { "default".to_owned() } else { stem }
}

async fn show(context: &Context, namespace: String, group: Option<String>, of: &TenantOption) -> Result<(), Failure> {
    let found = groups(context, of, request(Some(namespace.clone()), group.clone(), false)).await?;
    if found.is_empty() {
        let what =
            group.map_or_else(|| format!("namespace {namespace:?}"), |group| format!("group {namespace}/{group}"));
        return Err(Failure::Refused(format!("there is no {what}")));
    }
    if context.output.json {
        let text = |group: &RuleGroup| json!({"namespace": group.namespace, "group": group.name, "text": group.text});
        return Ok(context.output.print_json(&found.iter().map(text).collect::<Value>())?);
    }
    // A file that can be loaded again, and that promtool reads.
    let read = found.iter().map(|group| read_group(&group.text)).collect::<Result<Vec<_>, _>>();
    match read {
        Ok(groups) => Ok(context.output.print_text(&write_file(&groups))?),
        Err(_) => Ok(context.output.print_text(&found.iter().map(|group| group.text.as_str()).collect::<String>())?),
    }
}

fn list(groups: &[RuleGroup]) -> Table {
    let columns = [
        Column::Left("NAMESPACE"),
        Column::Left("GROUP"),
        Column::Right("RULES"),
        Column::Right("FIRING"),
        Column::Right("EVERY"),
        Column::Left("EVALUATED"),
        Column::Right("TOOK"),
        Column::Right("MISSED"),
        Column::Left("BY"),
    ];
    let mut table = Table::new(columns);
    for group in groups {
        let firing: u32 = group.rules.iter().map(|rule| rule.firing).sum();
        let evaluated =
            if group.last_evaluation_ms == 0 { "never".to_owned() } else { print_time(group.last_evaluation_ms) };
        let by = if group.evaluator == 0 { "nobody".to_owned() } else { format!("node {}", group.evaluator) };
        table.row([
            group.namespace.clone(),
            group.name.clone(),
            group.rules.len().to_string(),
            firing.to_string(),
            format!("{}s", group.interval_ms as f64 / 1e3),
            evaluated,
            took(group.duration_us),
            group.missed.to_string(),
            by,
        ]);
    }
    table
}

fn status(groups: &[RuleGroup]) -> Table {
    let columns = [
        Column::Left("GROUP"),
        Column::Left("RULE"),
        Column::Left("KIND"),
        Column::Left("HEALTH"),
        Column::Right("PENDING"),
        Column::Right("FIRING"),
        Column::Right("TOOK"),
        Column::Left("ERROR"),
    ];
    let mut table = Table::new(columns);
    for group in groups {
        let id = format!("{}/{}", group.namespace, group.name);
        if !group.unreadable_because.is_empty() {
            let nothing = String::new;
            let error = group.unreadable_because.clone();
            table.row([id, nothing(), nothing(), "unreadable".to_owned(), nothing(), nothing(), nothing(), error]);
            continue;
        }
        for rule in &group.rules {
            let kind = match (rule.alerting, rule.critical) {
                (false, _) => "record",
                (true, false) => "alert",
                (true, true) => "critical alert",
            };
            let count = |count: u32| if rule.alerting { count.to_string() } else { String::new() };
            table.row([
                id.clone(),
                rule.name.clone(),
                kind.to_owned(),
                rule.health.clone(),
                count(rule.pending),
                count(rule.firing),
                took(rule.duration_us),
                rule.last_error.clone(),
            ]);
        }
    }
    table
}

fn took(us: u64) -> String {
    format!("{:.1}ms", us as f64 / 1e3)
}

fn group_json(group: &RuleGroup) -> Value {
    let rule = |rule: &RuleStatus| {
        json!({
            "name": rule.name,
            "alerting": rule.alerting,
            "critical": rule.critical,
            "query": rule.query,
            "health": rule.health,
            "last_error": rule.last_error,
            "duration_us": rule.duration_us,
            "pending": rule.pending,
            "firing": rule.firing,
        })
    };
    json!({
        "namespace": group.namespace,
        "group": group.name,
        "revision": group.revision,
        "unreadable_because": Some(&group.unreadable_because).filter(|text| !text.is_empty()),
        "interval_ms": group.interval_ms,
        "last_evaluation_ms": Some(group.last_evaluation_ms).filter(|ms| *ms != 0),
        "duration_us": group.duration_us,
        "missed": group.missed,
        "evaluator": Some(group.evaluator).filter(|node| *node != 0),
        "rules": group.rules.iter().map(rule).collect::<Value>(),
    })
}
