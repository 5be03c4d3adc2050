//! Results drawn in the terminal: lines in braille for what changes over time, bars for what is at one time.
//!
//! A character of braille has two columns of four dots, so a plot of 80 by 16 characters has 160 by 64 dots. Pure: width and
//! colours come in.

use std::collections::BTreeMap;

use bellwether_client::{Answer, ResultSeries, Sample, Value};

use crate::query::{print_labels, print_value};
use crate::times::print_time;

/// Rows of characters of the plotted area.
const ROWS: usize = 16;
/// Lines or bars that are drawn; others are counted.
const SERIES_MAX: usize = 20;
/// Columns for a plotted area or for bars at the least, however narrow the terminal is.
const AREA_COLUMNS_MIN: usize = 16;
/// Parts of the width that the names beside bars may take.
const BAR_NAME_SHARE: usize = 2;
/// Samples further apart than this many times the usual distance are not joined.
const GAP: i64 = 2;

const DOTS_WIDE: usize = 2;
const DOTS_HIGH: usize = 4;
/// The bit of each dot in a character of braille, by column and row.
const DOT_BITS: [[u32; DOTS_HIGH]; DOTS_WIDE] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
const BRAILLE: u32 = 0x2800;
/// Eighths of a character, for the end of a bar.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
/// Told apart on light and dark grounds: blue, red, green, magenta, cyan, yellow.
const COLORS: [u8; 6] = [34, 31, 32, 35, 36, 33];

/// Draws an answer so many columns wide.
pub fn plot(answer: &Answer, width: usize, colors: bool) -> String {
    let paint = Paint { colors };
    match &answer.value {
        Value::Text { value, .. } => format!("{value}\n"),
        Value::Scalar(sample) => {
            bars(&[ResultSeries { samples: vec![*sample], ..ResultSeries::default() }], width, paint)
        }
        Value::Vector(series) => bars(series, width, paint),
        Value::Matrix(series) => lines(series, width, paint),
    }
}

#[derive(Clone, Copy)]
struct Paint {
    colors: bool,
}

impl Paint {
    fn text(self, series: usize, text: &str) -> String {
        match self.colors {
            true => format!("\x1b[{}m{text}\x1b[0m", COLORS[series % COLORS.len()]),
            false => text.to_owned(),
        }
    }
}

fn bars(series: &[ResultSeries], width: usize, paint: Paint) -> String {
    let values: Vec<(String, f64)> = series
        .iter()
        .filter_map(|series| series.samples.last().map(|sample| (print_labels(series), sample.value)))
        .collect();
    let shown = &values[..values.len().min(SERIES_MAX)];
    let numbers: Vec<String> = shown.iter().map(|(_, value)| print_value(*value)).collect();
    let number_columns = numbers.iter().map(|number| number.chars().count()).max().unwrap_or(0);
    let longest = shown.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let name_columns = longest.min(width / BAR_NAME_SHARE);
    let bar_columns = width.saturating_sub(name_columns + number_columns + 4).max(AREA_COLUMNS_MIN);
    let largest = shown.iter().map(|(_, value)| value.abs()).filter(|value| value.is_finite()).fold(0.0, f64::max);
    let mut text = String::new();
    for (at, ((name, value), number)) in shown.iter().zip(&numbers).enumerate() {
        let part = if value.is_finite() && largest > 0.0 { value.abs() / largest } else { 0.0 };
        let eighths = (part * (bar_columns * EIGHTHS.len()) as f64).round() as usize;
        let bar = "█".repeat(eighths / EIGHTHS.len()) + EIGHTHS[eighths % EIGHTHS.len()];
        let line = format!(
            "{:<name_columns$}  {number:>number_columns$}  {}",
            shortened(name, name_columns),
            if bar.is_empty() { bar } else { paint.text(at, &bar) }
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text + &left_out(values.len()) + &not_drawn(series)
}

fn lines(series: &[ResultSeries], width: usize, paint: Paint) -> String {
    let shown = &series[..series.len().min(SERIES_MAX)];
    let Some(frame) = Frame::around(shown) else { return "no samples to draw\n".to_owned() + &not_drawn(series) };
    let labels = [frame.high, (frame.high + frame.low) / 2.0, frame.low].map(short);
    let label_columns = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    let columns = width.saturating_sub(label_columns + 2).max(AREA_COLUMNS_MIN);
    let mut canvas = Canvas::new(columns);
    for (at, series) in shown.iter().enumerate() {
        canvas.draw(&series.samples, &frame, at);
    }
    let mut text = String::new();
    for row in 0..ROWS {
        let label = match row {
            0 => &labels[0],
            row if row == ROWS / 2 => &labels[1],
            row if row == ROWS - 1 => &labels[2],
            _ => "",
        };
        text.push_str(&format!("{label:>label_columns$} ┤"));
        text.push_str(&canvas.row(row, paint));
        text.push('\n');
    }
    let (first, last) = (print_time(frame.first_ms), print_time(frame.last_ms));
    text.push_str(&format!("{:label_columns$} └{}\n", "", "─".repeat(columns)));
    if first.len() + last.len() < columns {
        let rest = columns - first.len();
        text.push_str(&format!("{:label_columns$}  {first}{last:>rest$}\n", ""));
    } else {
        // Too narrow for one line.
        text.push_str(&format!("{:label_columns$}  {first}\n{:label_columns$}  {last:>columns$}\n", "", ""));
    }
    for (at, series) in shown.iter().enumerate() {
        let latest = series.samples.last().map(|sample| short(sample.value)).unwrap_or_default();
        let name_columns = width.saturating_sub(latest.chars().count() + 6).max(AREA_COLUMNS_MIN);
        text.push_str(&format!(
            "{} {}  {latest}\n",
            paint.text(at, "━━"),
            shortened(&print_labels(series), name_columns)
        ));
    }
    text + &left_out(series.len()) + &not_drawn(series)
}

fn left_out(series: usize) -> String {
    match series.saturating_sub(SERIES_MAX) {
        0 => String::new(),
        others => format!("and {others} more: choose some with topk, or add them up\n"),
    }
}

fn not_drawn(series: &[ResultSeries]) -> String {
    match series.iter().map(|series| series.histograms.len()).sum() {
        0 => String::new(),
        1 => "a histogram is not drawn: choose a number of it with histogram_quantile\n".to_owned(),
        count => format!("{count} histograms are not drawn: choose numbers of them with histogram_quantile\n"),
    }
}

/// The first characters of a text, and a sign where others follow.
fn shortened(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    text.chars().take(columns.saturating_sub(1)).chain(['…']).collect()
}

/// A value in few characters: `12.3k`, `1.5e-7`.
fn short(value: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let magnitude = value.abs();
    if !value.is_finite() {
        return print_value(value);
    }
    if magnitude >= 1e15 || (magnitude > 0.0 && magnitude < 1e-3) {
        return format!("{value:.2e}");
    }
    let (unit, name) = UNITS.into_iter().find(|(unit, _)| magnitude >= *unit).unwrap_or((1.0, ""));
    let digits = format!("{:.3}", value / unit);
    format!("{}{name}", digits.trim_end_matches('0').trim_end_matches('.'))
}

/// The times and values that a plot reaches over.
struct Frame {
    first_ms: i64,
    last_ms: i64,
    low: f64,
    high: f64,
    /// The least distance of two samples of one series.
    step_ms: i64,
}

impl Frame {
    /// Around all finite samples, if there are any.
    fn around(series: &[ResultSeries]) -> Option<Frame> {
        let samples = || series.iter().flat_map(|series| &series.samples).filter(|sample| sample.value.is_finite());
        let times = samples().map(|sample| sample.timestamp_ms);
        let (first_ms, last_ms) = (times.clone().min()?, times.max()?);
        let mut low = samples().map(|sample| sample.value).fold(f64::INFINITY, f64::min);
        let mut high = samples().map(|sample| sample.value).fold(f64::NEG_INFINITY, f64::max);
        if low == high {
            // A flat line in the middle.
            let around = if low == 0.0 { 1.0 } else { low.abs() / 2.0 };
            (low, high) = (low - around, high + around);
        }
        let steps = series.iter().flat_map(|series| series.samples.windows(2));
        let steps = steps.map(|pair| pair[1].timestamp_ms.saturating_sub(pair[0].timestamp_ms));
        Some(Frame { first_ms, last_ms, low, high, step_ms: steps.filter(|step| *step > 0).min().unwrap_or(1) })
    }
}

/// Dots, and whose they are.
struct Canvas {
    columns: usize,
    /// Bits of braille and the series that drew last, by row and column.
    cells: BTreeMap<(usize, usize), (u32, usize)>,
}

impl Canvas {
    fn new(columns: usize) -> Canvas {
        Canvas { columns, cells: BTreeMap::new() }
    }

    fn draw(&mut self, samples: &[Sample], frame: &Frame, series: usize) {
        let mut before: Option<(i64, (i64, i64))> = None;
        for sample in samples {
            if !sample.value.is_finite() {
                before = None;
                continue;
            }
            let to = self.place(sample, frame);
            let joined = before.filter(|(time_ms, _)| {
                sample.timestamp_ms.saturating_sub(*time_ms) < frame.step_ms.saturating_mul(GAP)
            });
            self.join(joined.map_or(to, |(_, from)| from), to, series);
            before = Some((sample.timestamp_ms, to));
        }
    }

    /// The dot of a sample, counted from the left and from the top.
    fn place(&self, sample: &Sample, frame: &Frame) -> (i64, i64) {
        let (wide, high) = ((self.columns * DOTS_WIDE - 1) as f64, (ROWS * DOTS_HIGH - 1) as f64);
        let span = (frame.last_ms as f64 - frame.first_ms as f64).max(1.0);
        let right = (sample.timestamp_ms as f64 - frame.first_ms as f64) / span;
        // Halved first: the difference of the largest numbers is none.
        let up = (sample.value / 2.0 - frame.low / 2.0) / (frame.high / 2.0 - frame.low / 2.0);
        ((right * wide).round() as i64, ((1.0 - up) * high).round() as i64)
    }

    /// Dots from one place to another, both included.
    fn join(&mut self, from: (i64, i64), to: (i64, i64), series: usize) {
        let (wide, high) = (to.0 - from.0, to.1 - from.1);
        let steps = wide.abs().max(high.abs()).max(1);
        for step in 0..=steps {
            let part = |length: i64| (length * step * 2 + steps * length.signum()) / (steps * 2);
            self.dot(from.0 + part(wide), from.1 + part(high), series);
        }
    }

    fn dot(&mut self, x: i64, y: i64, series: usize) {
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
        let cell = self.cells.entry((y / DOTS_HIGH, x / DOTS_WIDE)).or_default();
        *cell = (cell.0 | DOT_BITS[x % DOTS_WIDE][y % DOTS_HIGH], series);
    }

    fn row(&self, row: usize, paint: Paint) -> String {
        let mut text = String::new();
        let mut blank = 0;
        for ((_, column), (bits, series)) in self.cells.range((row, 0)..(row, self.columns)) {
            text.extend(std::iter::repeat_n(' ', column - blank));
            let character = char::from_u32(BRAILLE | bits).expect("all 256 patterns of braille are characters");
            text.push_str(&paint.text(*series, character.encode_utf8(&mut [0; 4])));
            blank = column + 1;
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use bellwether_client::{HistogramSample, series};
    use expect_test::{Expect, expect};

    use super::*;

    fn check(value: Value, width: usize, want: Expect) {
        let text = plot(&Answer { value, warnings: Vec::new(), infos: Vec::new(), explanation: None }, width, false);
        let fits = |line: &str| line.chars().count() <= width.max(AREA_COLUMNS_MIN + 15) || line.contains("not drawn");
        assert!(text.lines().all(fits), "{text}");
        want.assert_eq(&text);
    }

    #[test]
    fn a_vector_is_drawn_as_bars() {
        let one = |host: &str, value: f64| series([("__name__", "load"), ("host", host)], [(0, value)]).into();
        check(
            Value::Vector(vec![one("a", 1.0), one("b", 0.53), one("quite-a-long-name", -0.25), one("d", f64::NAN)]),
            50,
            expect![[r#"
                load{host="a"}                 1  ████████████████
                load{host="b"}              0.53  ████████▌
                load{host="quite-a-long-…  -0.25  ████
                load{host="d"}               NaN
            "#]],
        );
        check(
            Value::Scalar(Sample { timestamp_ms: 0, value: 2.0 }),
            30,
            expect![[r#"
            {}  2  ███████████████████████
        "#]],
        );
        check(Value::Vector(Vec::new()), 30, expect![[""]]);
    }

    #[test]
    fn a_matrix_is_drawn_as_lines() {
        let wave: Vec<(i64, f64)> = (0..120).map(|at| (at * 15_000, (at as f64 / 12.0).sin() * 1500.0)).collect();
        let steps: Vec<(i64, f64)> = (0..120).map(|at| (at * 15_000, f64::from(at as i32 / 40 * 500))).collect();
        check(
            Value::Matrix(vec![series([("a", "wave")], wave).into(), series([("a", "steps")], steps).into()]),
            72,
            expect![[r#"
               1.5k ┤       ⢀⠔⠉⠉⠒⢄                                 ⢀⠤⠒⠉⠉⠢⢄
                    ┤      ⡰⠁     ⠑⡄                              ⡠⠃     ⠈⠢⡀
                    ┤    ⢠⠊        ⠘⡄                          ⣀⣀⣰⣁⣀⣀⣀⣀⣀⣀⣀⣀⣱⣀⣀⣀⣀⣀⣀⣀⣀
                    ┤   ⢠⠃          ⠈⢢                         ⡇⡰⠁          ⠱⡀
                    ┤  ⢠⠃             ⢣                       ⢰⡱⠁            ⢣
                    ┤ ⢀⠎              ⠈⢆  ⡖⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⢺⠃              ⠣⡀
                    ┤ ⡜                ⠘⡄⢀⠇                  ⢀⠇                ⢱
                    ┤⡸                  ⠱⣸                   ⡎                  ⢣
              0.471 ┤⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⢫                  ⡸                   ⠈⢆
                    ┤                    ⠈⢆                ⢰⠁                    ⠘⡄
                    ┤                     ⠘⡄              ⢠⠃                      ⠱⡀
                    ┤                      ⠘⡄            ⢠⠊                        ⠱
                    ┤                       ⠱⡀          ⢠⠃
                    ┤                        ⠱⡀        ⢠⠃
                    ┤                         ⠘⠤⡀     ⡰⠁
            -1.499k ┤                           ⠑⠤⣀⣀⠤⠊
                    └───────────────────────────────────────────────────────────────
                     1970-01-01T00:00:00.000Z               1970-01-01T00:29:45.000Z
            ━━ {a="wave"}  -708.437
            ━━ {a="steps"}  1k
        "#]],
        );
    }

    #[test]
    fn a_gap_is_left_open_and_a_flat_line_is_in_the_middle() {
        let flat = [(0, 5.0), (1000, 5.0), (2000, 5.0), (20_000, 5.0), (21_000, f64::NAN), (22_000, 5.0)];
        check(
            Value::Matrix(vec![series([("__name__", "flat")], flat).into()]),
            20,
            expect![[r#"
                7.5 ┤
                    ┤
                    ┤
                    ┤
                    ┤
                    ┤
                    ┤
                    ┤
                  5 ┤⠉⠉            ⠁⠈
                    ┤
                    ┤
                    ┤
                    ┤
                    ┤
                    ┤
                2.5 ┤
                    └────────────────
                     1970-01-01T00:00:00.000Z
                     1970-01-01T00:00:22.000Z
                ━━ flat  5
            "#]],
        );
        check(
            Value::Matrix(vec![series([("__name__", "none")], [(0, f64::NAN)]).into()]),
            20,
            expect![["no samples to draw\n"]],
        );
    }

    #[test]
    fn histograms_are_named_and_not_drawn() {
        let histograms = vec![HistogramSample::default(); 2];
        let one = ResultSeries { histograms, ..ResultSeries::default() };
        check(
            Value::Vector(vec![one.clone()]),
            30,
            expect![[r#"
            2 histograms are not drawn: choose numbers of them with histogram_quantile
        "#]],
        );
        check(
            Value::Matrix(vec![one]),
            30,
            expect![[r#"
            no samples to draw
            2 histograms are not drawn: choose numbers of them with histogram_quantile
        "#]],
        );
    }

    #[test]
    fn the_largest_numbers_are_drawn() {
        let extremes = [(i64::MIN, f64::MIN), (0, 0.0), (i64::MAX, f64::MAX)];
        let value = Value::Matrix(vec![series([("a", "b")], extremes).into()]);
        let text = plot(&Answer { value, warnings: Vec::new(), infos: Vec::new(), explanation: None }, 40, true);
        assert!(text.contains("\u{1b}[34m"), "{text}");
    }

    #[test]
    fn values_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (12.0, "12"),
            (1234.6, "1.235k"),
            (-2e6, "-2M"),
            (0.25, "0.25"),
            (1.5e-7, "1.50e-7"),
            (f64::MAX, "1.80e308"),
        ] {
            assert_eq!(short(value), text);
        }
    }
}
