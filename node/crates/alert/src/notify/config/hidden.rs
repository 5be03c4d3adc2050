//! A configuration that anybody may see.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::address::without_password;
use super::global::GLOBAL;
use super::kinds::KINDS;
use super::schema::{Schema, Shape};
use crate::yaml;
use crate::yaml::write::{Shown, push_document};

/// What stands for a secret, as in Alertmanager.
const SECRET: &str = "<secret>";
/// For an address: amtool reads the configuration again, and some of its versions take no other text for one.
const SECRET_URL: &str = "http://<secret>";

/// What of a setting is not shown; the later hides more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Hidden {
    /// The password of an address.
    Password,
    /// Each text in it.
    Texts,
    /// All of it.
    Text,
    /// All of it, an address.
    Url,
}

impl Hidden {
    fn shown(self) -> Shown {
        match self {
            Hidden::Password => Shown::Each(without_password),
            Hidden::Texts => Shown::Each(|_| SECRET.to_owned()),
            Hidden::Text => Shown::As(SECRET),
            Hidden::Url => Shown::As(SECRET_URL),
        }
    }
}

/// The configuration as YAML with other texts in place of its secrets, and without comments, in which there may be some; none if it is
/// no YAML.
pub fn without_secrets(config: &str) -> Option<String> {
    static HIDDEN: LazyLock<BTreeMap<&str, Hidden>> = LazyLock::new(|| {
        let mut names = BTreeMap::new();
        collect(&GLOBAL, &mut names);
        KINDS.iter().for_each(|(kind, _)| collect(kind.schema(), &mut names));
        names
    });
    let root = yaml::read(config).ok()??;
    let mut out = String::new();
    push_document(&mut out, &root, &|name| HIDDEN.get(name).map(|hidden| hidden.shown()));
    Some(out)
}

/// By their names alone: a setting of this name is hidden wherever it stands, as much as it is anywhere.
fn collect(schema: &'static Schema, names: &mut BTreeMap<&'static str, Hidden>) {
    for field in schema.fields {
        let hidden = match &field.shape {
            Shape::Secret | Shape::SecretTemplate => Hidden::Text,
            Shape::SecretUrl | Shape::SecretUrlTemplate => Hidden::Url,
            Shape::SecretTexts | Shape::SecretTemplateMap | Shape::SecretLists => Hidden::Texts,
            Shape::Url | Shape::AnyUrl => Hidden::Password,
            Shape::One(below) | Shape::Many(below) | Shape::Named(below) => {
                collect(below, names);
                continue;
            }
            _ => continue,
        };
        let known = names.entry(field.name).or_insert(hidden);
        *known = hidden.max(*known);
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

    #[test]
    fn secrets_in_lists_in_mappings_and_in_addresses_are_not_shown_either() {
        let config = "\
global:
  opsgenie_api_url: https://me:hidden@opsgenie/
  http_config:
    proxy_url: http://me:hidden@proxy:3128
    proxy_connect_header: {X-Proxy: [hidden, hidden]}
    http_headers: {X-Key: {values: [shown], secrets: [hidden, 'hidden: too'], files: [key]}}
route: {receiver: a}
receivers:
- name: a
  sms_configs: [{url: 'http://sms/hidden', to: '+1', form: {key: hidden, proxy_url: hidden}}]
  alertmanager_configs: [{url: 'http://me:hidden@other/'}]
  webhook_configs:
  - {url: 'http://hook/hidden', http_config: {oauth2: {client_id: me, client_secret: hidden, token_url: 'http://me:hidden@tokens/t'}}}
";
        let shown = without_secrets(config).unwrap();
        assert!(!shown.contains("hidden"), "{shown}");
        for line in [
            "opsgenie_api_url: https://me:xxxxx@opsgenie/\n",
            "proxy_url: http://me:xxxxx@proxy:3128\n",
            "X-Proxy:\n        - \"<secret>\"\n        - \"<secret>\"\n",
            "values:\n          - shown\n        secrets:\n          - \"<secret>\"\n          - \"<secret>\"\n",
            "form:\n          key: \"<secret>\"\n          proxy_url: \"<secret>\"\n",
            "token_url: http://me:xxxxx@tokens/t\n",
        ] {
            assert!(shown.contains(line), "{line} {shown}");
        }
        assert!(Config::read(&shown.replace("http://<secret>", "http://y")).is_ok(), "{shown}");
    }
}
