//! Where results go.

use std::io::{self, Write};

use serde_json::Value;

use crate::table::Table;

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

    /// Text as it is.
    pub fn print_text(self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}
