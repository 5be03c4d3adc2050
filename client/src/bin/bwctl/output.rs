//! Where results go.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

use crate::table::Table;

/// Columns where there is no terminal that could tell.
const COLUMNS_DEFAULT: u16 = 80;

/// How results are printed.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// JSON instead of tables.
    pub json: bool,
}

impl Output {
    /// One or the other.
    pub fn print(self, table: impl FnOnce() -> Table, json: impl FnOnce() -> Value) -> io::Result<()> {
        if self.json { self.print_json(&json()) } else { self.print_text(&table().to_string()) }
    }

    /// One or the other, as one line.
    pub fn print_line(self, text: &str, json: &Value) -> io::Result<()> {
        let line = if self.json { json.to_string() } else { text.to_owned() };
        self.print_text(&format!("{line}\n"))
    }

    /// JSON, indented.
    pub fn print_json(self, value: &Value) -> io::Result<()> {
        self.print_text(&format!("{value:#}\n"))
    }

    /// How wide the terminal is.
    pub fn columns(self) -> u16 {
        let size = rustix::termios::tcgetwinsize(io::stdout());
        size.ok().map(|size| size.ws_col).filter(|columns| *columns > 0).unwrap_or(COLUMNS_DEFAULT)
    }

    /// Whether colours can be shown, and are wanted (<https://no-color.org>).
    #[expect(clippy::disallowed_methods, reason = "where programs are told so")]
    pub fn has_colors(self) -> bool {
        io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
    }

    /// Text as it is.
    pub fn print_text(self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}
