//! Histograms as the query API writes them: `{"count":"3","sum":"2.5","buckets":[[0,"1","2","3"]]}`.

use bellwether_promql::{Bucket, FloatHistogram};

use super::number::push_float;

/// Which bounds lie inside: 0 the upper one, 1 the lower one, 2 none, 3 both.
fn boundary_rule(bucket: &Bucket) -> u8 {
    match (bucket.lower_inclusive, bucket.upper_inclusive) {
        (false, true) => b'0',
        (true, false) => b'1',
        (false, false) => b'2',
        (true, true) => b'3',
    }
}

/// Buckets without observations are left out, and so is their list if there is none.
pub fn push_histogram(out: &mut Vec<u8>, histogram: &FloatHistogram) {
    let quoted = |out: &mut Vec<u8>, name: &[u8], value: f64| {
        out.extend_from_slice(name);
        out.push(b'"');
        push_float(out, value);
        out.push(b'"');
    };
    quoted(out, b"{\"count\":", histogram.count());
    quoted(out, b",\"sum\":", histogram.sum());
    let mut begun = false;
    for bucket in histogram.buckets().filter(|bucket| bucket.count != 0.0) {
        out.extend_from_slice(if begun { b",[" } else { b",\"buckets\":[[" });
        begun = true;
        out.push(boundary_rule(&bucket));
        [bucket.lower, bucket.upper, bucket.count].into_iter().for_each(|number| quoted(out, b",", number));
        out.push(b']');
    }
    out.extend_from_slice(if begun { b"]}" } else { b"}" });
}

#[cfg(test)]
pub(super) mod tests {
    use bellwether_promql::series_notation::{NotedValue, parse_values};
    use expect_test::{Expect, expect};

    use super::*;

    /// The histogram of one item of the series notation.
    pub(in crate::gateway) fn noted(text: &str) -> FloatHistogram {
        match &parse_values(text).unwrap()[..] {
            [Some(NotedValue::Histogram(histogram))] => FloatHistogram::from(&**histogram),
            other => panic!("{text} is {other:?}"),
        }
    }

    fn check(text: &str, want: Expect) {
        let mut out = Vec::new();
        push_histogram(&mut out, &noted(text));
        want.assert_eq(&String::from_utf8(out).unwrap());
    }

    #[test]
    fn buckets_say_which_bounds_are_theirs() {
        check(
            "{{count:10 sum:1.5 z_bucket:2 z_bucket_w:0.001 buckets:[3 0 1] n_buckets:[4]}}",
            expect![[
                r#"{"count":"10","sum":"1.5","buckets":[[1,"-1","-0.5","4"],[3,"-0.001","0.001","2"],[0,"0.5","1","3"],[0,"2","4","1"]]}"#
            ]],
        );
        check(
            "{{schema:-53 custom_values:[5 10] count:6 sum:NaN buckets:[1 2 3]}}",
            expect![[
                r#"{"count":"6","sum":"NaN","buckets":[[3,"-Inf","5","1"],[0,"5","10","2"],[0,"10","+Inf","3"]]}"#
            ]],
        );
        check("{{}}", expect![[r#"{"count":"0","sum":"0"}"#]]);
    }
}
