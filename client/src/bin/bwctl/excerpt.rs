//! Shows the place in an expression that a node's message names.

use bellwether_client::Error;

use crate::failure::Failure;

/// What stands before an excerpt's lines.
const INDENT: &str = "       ";
/// How nodes begin what they say of a query.
const ABOUT_QUERY: &str = "invalid parameter \"query\": ";
/// Characters of a line that are shown before and behind the place.
const AROUND: usize = 60;

/// The failure with the place, if the message begins with one: `line:column: ...`, in bytes and from 1.
pub fn of_expression(expression: &str, error: Error) -> Failure {
    match &error {
        Error::Refused { message, .. } => match excerpt(expression, message) {
            Some(excerpt) => Failure::Expression { message: message.clone(), excerpt },
            None => Failure::Client(error),
        },
        _ => Failure::Client(error),
    }
}

fn excerpt(expression: &str, message: &str) -> Option<String> {
    let mut parts = message.strip_prefix(ABOUT_QUERY).unwrap_or(message).splitn(3, ':');
    let (line, column) = (parts.next()?.parse::<usize>().ok()?, parts.next()?.parse::<usize>().ok()?);
    parts.next()?;
    let line = expression.lines().nth(line.checked_sub(1)?)?;
    // The end of the text is a place, too.
    let before = line.get(..column.checked_sub(1)?)?;
    let begin = before.char_indices().rev().nth(AROUND - 1).map_or(0, |(at, _)| at);
    let behind = &line[before.len()..];
    let end = behind.char_indices().nth(AROUND).map_or(line.len(), |(at, _)| before.len() + at);
    // One character of the sign's line for each that is shown: tabs stay tabs.
    let sign: String = line[begin..before.len()].chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    Some(format!("{INDENT}{}\n{INDENT}{sign}^", &line[begin..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_stands_below_the_place() {
        let shown = |expression: &str, message: &str| excerpt(expression, message).unwrap_or_default();
        assert_eq!(shown("sum(up", "1:7: parse error: x"), "       sum(up\n             ^");
        assert_eq!(shown("up)", "invalid parameter \"query\": 1:3: x"), "       up)\n         ^");
        assert_eq!(
            shown("sum(\n\tup{}}", "2:5: parse error: x: y"),
            "       \tup{}}\n       \t    ^".replace("    ^", "   ^")
        );
        assert_eq!(shown("é + )", "1:6: x"), "       é + )\n           ^");
        for (expression, message) in
            [("up", "1:9: x"), ("up", "0:1: x"), ("up", "2:1: x"), ("é", "1:2: x"), ("up", "no place"), ("up", "1:2")]
        {
            assert_eq!(excerpt(expression, message), None, "{message}");
        }
        let long = "a + ".repeat(100);
        let shown = shown(&long, "1:201: x");
        assert!(shown.lines().all(|line| line.len() <= INDENT.len() + 2 * AROUND), "{shown}");
    }
}
