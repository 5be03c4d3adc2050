//! Syntax tree to text in lines, laid out as Prometheus does: what does not fit a line is spread over several.

use std::fmt::{self, Write};

use crate::ast::Expr;
use crate::printer::{Head, Operator, SubqueryRange};

/// An expression that is longer is spread.
const LINE_BYTES_MAX: usize = 100;
const INDENT: &str = "  ";

impl Expr {
    /// Its canonical text, in several lines if it is long.
    pub fn pretty(&self) -> String {
        let mut out = String::new();
        write(self, 0, &mut out);
        out
    }
}

/// Has room for so many bytes.
struct Line(usize);

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.checked_sub(text.len()).ok_or(fmt::Error)?;
        Ok(())
    }
}

fn fits_a_line(expr: &Expr) -> bool {
    write!(Line(LINE_BYTES_MAX), "{expr}").is_ok()
}

/// Writes an expression that begins a line at that level.
fn write(expr: &Expr, level: usize, out: &mut String) {
    let indent = INDENT.repeat(level);
    if fits_a_line(expr) {
        // Prometheus leaves out the indent of a subquery here.
        let is_subquery = matches!(expr, Expr::Subquery(_));
        out.push_str(&format!("{}{expr}", if is_subquery { "" } else { &indent }));
        return;
    }
    match expr {
        Expr::Number(_) | Expr::String(_) | Expr::Selector(_) | Expr::Range(_) => {
            out.push_str(&format!("{indent}{expr}"));
        }
        Expr::Subquery(subquery) => {
            write(&subquery.expr, level, out);
            out.push_str(&SubqueryRange(subquery).to_string());
        }
        Expr::Call(call) => {
            out.push_str(&format!("{indent}{}(", call.function.name));
            for (at, arg) in call.args.iter().enumerate() {
                out.push_str(if at == 0 { "\n" } else { ",\n" });
                write(arg, level + 1, out);
            }
            out.push_str(&format!("\n{indent})"));
        }
        Expr::Aggregate(aggregate) => {
            out.push_str(&format!("{indent}{}(\n", Head(aggregate)));
            if let Some(param) = &aggregate.param {
                write(param, level + 1, out);
                out.push_str(",\n");
            }
            write(&aggregate.expr, level + 1, out);
            out.push_str(&format!("\n{indent})"));
        }
        Expr::Binary(binary) => {
            write(&binary.lhs, level + 1, out);
            out.push_str(&format!("\n{indent}{}\n", Operator(binary)));
            write(&binary.rhs, level + 1, out);
        }
        Expr::Unary(unary) => {
            let mut operand = String::new();
            write(&unary.expr, level, &mut operand);
            out.push_str(&format!("{indent}{}{}", if unary.negative { "-" } else { "+" }, operand.trim()));
        }
        Expr::Paren(paren) => {
            out.push_str(&format!("{indent}(\n"));
            write(&paren.expr, level + 1, out);
            out.push_str(&format!("\n{indent})"));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::parser::parse;

    fn check(text: &str, lines: &[&str]) {
        let expr = parse(text).unwrap();
        let pretty = expr.pretty();
        assert_eq!(parse(&pretty).unwrap().to_string(), expr.to_string());
        assert_eq!(pretty.lines().collect::<Vec<_>>(), lines);
    }

    #[test]
    fn what_fits_a_line_stays_on_it() {
        check("sum(rate( a[5m] ))by(b)", &["sum by (b) (rate(a[5m]))"]);
        let name = "a".repeat(96);
        check(&format!("{name} * b"), &[format!("{name} * b").as_str()]);
        check(&format!("{name}a * b"), &[format!("  {name}a").as_str(), "*", "  b"]);
    }

    #[test]
    fn what_is_longer_is_spread() {
        let a = r#"the_first_metric{of="some",labels="and more",not="one"}"#;
        let b = r#"the_other_metric{of="some",labels="and more",not="one"}"#;
        let [a_line, b_line] = [a, b].map(|text| parse(text).unwrap().to_string());
        check(
            &format!("sum by (job) (rate({a}[5m])) / on (job) group_left () sum(rate({b}[5m]))"),
            &[
                format!("  sum by (job) (rate({a_line}[5m]))").as_str(),
                "/ on (job) group_left ()",
                format!("  sum(rate({b_line}[5m]))").as_str(),
            ],
        );
        check(
            &format!("topk by (x) (3, -({a} > bool {b}))"),
            &[
                "topk by (x) (",
                "  3,",
                "  -(",
                format!("      {a_line}").as_str(),
                "    > bool",
                format!("      {b_line}").as_str(),
                "  )",
                ")",
            ],
        );
        check(
            &format!("clamp(max_over_time(({a} or {b})[1h:1m] offset 5m), 0, 1)"),
            &[
                "clamp(",
                "  max_over_time(",
                "    (",
                format!("        {a_line}").as_str(),
                "      or",
                format!("        {b_line}").as_str(),
                "    )[1h:1m] offset 5m",
                "  ),",
                "  0,",
                "  1",
                ")",
            ],
        );
        check(
            &format!("sum(max_over_time(rate({a}[5m])[1h:]) + {b})"),
            &[
                "sum(",
                format!("    max_over_time(rate({a_line}[5m])[1h:])").as_str(),
                "  +",
                format!("    {b_line}").as_str(),
                ")",
            ],
        );
    }
}
