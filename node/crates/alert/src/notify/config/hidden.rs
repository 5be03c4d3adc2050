//! A configuration that anybody may see.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::global::GLOBAL;
use super::kinds::KINDS;
use super::schema::{Schema, Shape};
use crate::yaml;
use crate::yaml::write::push_document;

/// What stands for a secret, as in Alertmanager.
const SECRET: &str = "<secret>";
/// For an address: amtool reads the configuration again, and some of its versions take no other text for one.
const SECRET_URL: &str = "http://<secret>";
/// For a mapping.
const SECRET_MAPPING: &str = "{}";

/// The configuration as YAML with nothing in place of its secrets, and without comments, in which there may be some; none if it is no
/// YAML.
pub fn without_secrets(config: &str) -> Option<String> {
    static SECRETS: LazyLock<BTreeMap<&str, &str>> = LazyLock::new(|| {
        let mut names = BTreeMap::new();
        collect(&GLOBAL, &mut names);
        KINDS.iter().for_each(|(kind, _)| collect(kind.schema(), &mut names));
        names
    });
    let root = yaml::read(config).ok()??;
    let mut out = String::new();
    push_document(&mut out, &root, &|name| SECRETS.get(name).copied());
    Some(out)
}

/// By their names alone: a setting of this name is hidden wherever it stands.
fn collect(schema: &'static Schema, names: &mut BTreeMap<&'static str, &'static str>) {
    for field in schema.fields {
        let shown = match &field.shape {
            Shape::Secret | Shape::SecretTemplate => SECRET,
            Shape::SecretUrl | Shape::SecretUrlTemplate => SECRET_URL,
            Shape::SecretLists => SECRET_MAPPING,
            Shape::One(below) | Shape::Many(below) | Shape::Named(below) => {
                collect(below, names);
                continue;
            }
            _ => continue,
        };
        names.insert(field.name, shown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::Config;

    #[test]
    fn secrets_are_not_shown_and_the_rest_is_a_configuration() {
        let config = "global: {slack_api_url: 'http://x/abc'} # a comment\nroute: {receiver: a}\nreceivers:\n- name: a\n  slack_configs:\n  - \
                      {channel: '#c', http_config: {authorization: {credentials: abc}}}\n  webhook_configs: [{url: 'http://x/abc'}]\n";
        let shown = without_secrets(config).unwrap();
        assert!(!shown.contains("abc") && !shown.contains("comment"), "{shown}");
        assert!(shown.contains("channel: \"#c\""), "{shown}");
        assert!(Config::read(&shown.replace("<secret>", "y")).is_ok(), "{shown}");
        assert_eq!(without_secrets("a: ["), None);
    }
}
