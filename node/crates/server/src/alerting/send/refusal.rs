//! What of a configuration cannot be sent, said when it is loaded and not when somebody should have been told.

use bellwether_alert::notify::Config;
use bellwether_alert::notify::config::settings::Settings;
use bellwether_alert::yaml::problems::Problem;

use super::{http_config, tls};

/// What is asked for and not done, with the receivers that ask.
pub fn refusals(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, receiver) in &config.receivers {
        for integration in receiver.integrations.iter().filter(|integration| integration.kind.is_sent()) {
            if let Some(refusal) = of_settings(&integration.settings) {
                let message = format!("receiver {name:?}: {}: {refusal}", integration.kind.name());
                problems.push(Problem { place: integration.settings.place, message });
            }
        }
    }
    problems.sort_by_key(|problem| problem.place);
    problems
}

fn of_settings(settings: &Settings) -> Option<String> {
    let of_http = settings.one("http_config").and_then(http_config::refusal);
    of_http.or_else(|| settings.one("tls_config").and_then(tls::refusal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_done_is_said_with_its_place() {
        let config = "
route: {receiver: a}
receivers:
- name: a
  webhook_configs:
  - {url: 'http://a'}
  - {url: 'http://b', http_config: {proxy_from_environment: true}}
  - {url: 'http://c', http_config: {proxy_url: 'socks5://p:1'}}
  - {url: 'http://d', http_config: {tls_config: {max_version: TLS11}}}
  - {url: 'http://e', http_config: {proxy_url: 'http://user:pw@p:1'}}
  email_configs:
  - {to: 'a@b', from: 'c@d', smarthost: 'm:25', tls_config: {ca_ref: x}}
";
        let config = Config::read(config).unwrap();
        let told: Vec<String> = refusals(&config).iter().map(Problem::to_string).collect();
        assert_eq!(
            told,
            [
                "7:5: receiver \"a\": webhook: proxy_from_environment is not supported: write proxy_url",
                "8:5: receiver \"a\": webhook: proxy_url is not supported: only proxies at http:// are",
                "9:5: receiver \"a\": webhook: tls_config.max_version TLS11 is not supported: TLS12 is the least",
                "12:5: receiver \"a\": email: tls_config.ca_ref is not supported: there is no store of secrets",
            ]
        );
    }
}
