//! Tables for people: aligned columns, two spaces between them.

use std::fmt;

const GAP: &str = "  ";

/// A column's heading, and on which side its cells stand.
#[derive(Debug, Clone, Copy)]
pub enum Column {
    /// For text.
    Left(&'static str),
    /// For numbers.
    Right(&'static str),
}

/// Rows of cells under headings.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Column {
    fn heading(self) -> &'static str {
        match self {
            Column::Left(heading) | Column::Right(heading) => heading,
        }
    }
}

impl Table {
    pub fn new(columns: impl IntoIterator<Item = Column>) -> Table {
        Table { columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row, with a cell for each column.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        assert_eq!(N, self.columns.len(), "a row has a cell for each column");
        self.rows.push(cells.into());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headings: Vec<String> = self.columns.iter().map(|column| column.heading().to_owned()).collect();
        let lines = || std::iter::once(&headings).chain(&self.rows);
        let width = |at: usize| lines().map(|cells| cells[at].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        for cells in lines() {
            let mut line = String::new();
            for ((column, cell), width) in self.columns.iter().zip(cells).zip(&widths) {
                if !line.is_empty() {
                    line.push_str(GAP);
                }
                match column {
                    Column::Left(_) => line.push_str(&format!("{cell:<width$}")),
                    Column::Right(_) => line.push_str(&format!("{cell:>width$}")),
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_have_no_tail() {
        let mut table = Table::new([Column::Right("ID"), Column::Left("ADDRESS"), Column::Left("ZONE")]);
        table.row(["1", "127.0.0.1:9481", "é"].map(str::to_owned));
        table.row(["20", "a:1", ""].map(str::to_owned));
        expect_test::expect![[r#"
            ID  ADDRESS         ZONE
             1  127.0.0.1:9481  é
            20  a:1
        "#]]
        .assert_eq(&table.to_string());
    }
}
