//! Addresses, as far as they can be judged without asking anybody.

/// Whether something is an address that HTTP can be spoken to.
pub fn check_url(text: &str) -> Result<(), String> {
    if let Some(bad) = text.chars().find(|c| c.is_control() || *c == ' ') {
        return Err(format!("an address cannot hold {bad:?}"));
    }
    let scheme = text.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    if !scheme.is_some_and(|scheme| scheme == "http" || scheme == "https") {
        return Err("an address begins with http:// or https://".to_owned());
    }
    let after = text.split_once("://").map(|(_, after)| after).unwrap_or_default();
    let authority = after.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if host.is_empty() || host.starts_with(':') {
        return Err("the address has no host".to_owned());
    }
    // Of an IPv6 address in brackets, what comes after them.
    let port = host.rsplit_once(']').map_or(host, |(_, after)| after).rsplit_once(':').map(|(_, port)| port);
    if port.is_some_and(|port| !port.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err("the address's port is no number".to_owned());
    }
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('%') {
        if !after.get(..2).is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            return Err("in the address % is not followed by two hexadecimal digits".to_owned());
        }
        rest = after;
    }
    Ok(())
}

/// An address with `xxxxx` in place of its password, as Go shows it; of anything else what would be one.
pub fn without_password(text: &str) -> String {
    let (scheme, rest) = text.split_at(text.find("//").map_or(0, |slashes| slashes + 2));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let is_port = |(_, port): (&str, &str)| port.bytes().all(|byte| byte.is_ascii_digit());
    let end = match authority.rfind('@') {
        // A password that should have been written with %2F is no less one.
        None if !authority.rsplit_once(':').is_none_or(is_port) => rest.rfind('@'),
        end => end,
    };
    match end.map(|end| rest.split_at(end)).and_then(|(user, host)| Some((user.split_once(':')?.0, host))) {
        Some((user, host)) => format!("{scheme}{user}:xxxxx{host}"),
        None => text.to_owned(),
    }
}

/// Parts `host:port`, with an IPv6 address in brackets.
pub fn host_and_port(text: &str) -> Result<(String, String), String> {
    let wrong = || format!("{text:?} is no address; write host:port");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').ok_or_else(wrong)?,
        None if host.contains([':', '[', ']']) => return Err(wrong()),
        None => host,
    };
    if port.is_empty() { Err(wrong()) } else { Ok((host.to_owned(), port.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_scheme_and_a_host() {
        for good in ["http://a", "https://user:pw@a.b:80/c?d=e#f", "HTTP://[::1]:9093/%20", "http://a:"] {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "a",
            "ftp://a",
            "http:a",
            "http://",
            "http:///x",
            "http://a:b",
            "http://a/%zz",
            "http://a b",
            "http://:80",
        ] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        for (text, shown) in [
            ("http://a:80/b@c:d", "http://a:80/b@c:d"),
            ("http://me@a/b", "http://me@a/b"),
            ("https://me:p@ss@a:80/b?c#d", "https://me:xxxxx@a:80/b?c#d"),
            ("socks5://:p@[::1]:80", "socks5://:xxxxx@[::1]:80"),
            ("http://me:p/a?s#s@a:80/b", "http://me:xxxxx@a:80/b"),
            ("me:p@a", "me:xxxxx@a"),
            ("http://me:@a", "http://me:xxxxx@a"),
            ("a:80", "a:80"),
            ("", ""),
        ] {
            assert_eq!(without_password(text), shown);
        }
    }

    #[test]
    fn a_host_has_a_port() {
        assert_eq!(host_and_port("[::1]:25"), Ok(("::1".to_owned(), "25".to_owned())));
        assert_eq!(host_and_port("mail:smtp"), Ok(("mail".to_owned(), "smtp".to_owned())));
        for bad in ["mail", "mail:", "::1:25", "[::1:25", ""] {
            assert!(host_and_port(bad).is_err(), "{bad}");
        }
    }
}
