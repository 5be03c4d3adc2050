//! The selectors of an expression.

use crate::ast::{Expr, VectorSelector};

impl Expr {
    /// All vector selectors, those of ranges and of `info` included, in the order written.
    pub fn selectors(&self) -> Vec<&VectorSelector> {
        let mut found = Vec::new();
        collect(self, &mut found);
        found
    }
}

fn collect<'a>(expr: &'a Expr, found: &mut Vec<&'a VectorSelector>) {
    match expr {
        Expr::Number(_) | Expr::String(_) => {}
        Expr::Selector(selector) => found.push(selector),
        Expr::Range(range) => found.push(&range.selector),
        Expr::Subquery(subquery) => collect(&subquery.expr, found),
        Expr::Call(call) => call.args.iter().for_each(|arg| collect(arg, found)),
        Expr::Aggregate(aggregate) => {
            aggregate.param.iter().for_each(|param| collect(param, found));
            collect(&aggregate.expr, found);
        }
        Expr::Binary(binary) => {
            collect(&binary.lhs, found);
            collect(&binary.rhs, found);
        }
        Expr::Unary(unary) => collect(&unary.expr, found),
        Expr::Paren(paren) => collect(&paren.expr, found),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn selectors_are_found_wherever_they_stand() {
        let check = |text: &str, names: &[&str]| {
            let expr = crate::parse(text).unwrap();
            let found: Vec<&str> = expr.selectors().iter().filter_map(|selector| selector.name.as_deref()).collect();
            assert_eq!(found, names, "{text}");
        };
        check("1 + vector(2)", &[]);
        check("sum by (a) (rate(b[5m])) / -(c offset 1m)", &["b", "c"]);
        check("quantile(scalar(q), max_over_time(d[1h:1m])) > bool e", &["q", "d", "e"]);
    }
}
