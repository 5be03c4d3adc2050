//! From columns to the result that the caller sees.

use bellwether_model::Labels;

use crate::column::bytes_of_shared;
use crate::eval::histogram_range::Seen;
use crate::eval::{Evaluator, same_labelset};
use crate::outcome::{EvalError, HistogramPoint, MatrixSeries, Point, Value, VectorSample};
use crate::plan::{Plan, RangeNode, Root, ScalarNode, VectorNode};
use crate::windows::Grid;

impl Evaluator<'_> {
    pub(crate) fn finish(&self, plan: &Plan) -> Result<Value, EvalError> {
        let grid = plan.times.grid();
        let instant = plan.times.is_instant();
        match &plan.root {
            Root::String(value) => Ok(Value::String { timestamp: grid.start, value: value.clone() }),
            Root::Range(range) => self.raw_ranges(range, &grid),
            Root::Scalar(scalar) if instant => {
                let value = self.scalar(scalar, &grid)?.at(0);
                Ok(Value::Scalar(Point { timestamp: grid.start, value }))
            }
            Root::Scalar(scalar) => self.scalar_matrix(scalar, &grid),
            Root::Vector(vector) if instant => self.instant_vector(vector, &grid),
            Root::Vector(vector) => self.matrix(vector, &grid),
        }
    }

    fn scalar_matrix(&self, scalar: &ScalarNode, grid: &Grid) -> Result<Value, EvalError> {
        let scalar = self.scalar(scalar, grid)?;
        let mut account = self.meter.account();
        account.take(grid.steps * size_of::<Point>())?;
        account.keep();
        let points = (0..grid.steps).map(|step| Point { timestamp: grid.time(step), value: scalar.at(step) });
        let (labels, histograms) = (Labels::empty(), Vec::new());
        Ok(Value::Matrix(vec![MatrixSeries { labels, points: points.collect(), histograms }]))
    }

    fn instant_vector(&self, vector: &VectorNode, grid: &Grid) -> Result<Value, EvalError> {
        let mut samples = Vec::new();
        let mut account = self.meter.account();
        self.vector(vector, grid, &mut |labels, column| {
            let histogram = column.histogram(0).cloned();
            let Some(value) = column.get(0).or(histogram.as_ref().map(|_| f64::NAN)) else { return Ok(()) };
            let histogram_bytes = histogram.as_ref().map_or(0, |histogram| histogram.byte_len());
            account.take(size_of::<VectorSample>() + labels.byte_len() + histogram_bytes)?;
            let point = Point { timestamp: grid.start, value };
            samples.push(VectorSample { labels: labels.to_result(), point, histogram });
            Ok(())
        })?;
        account.keep();
        if !vector.is_ordered() {
            samples.sort_by(|a, b| a.labels.cmp(&b.labels));
        }
        if self.delays_names {
            self.check_distinct(&samples)?;
        }
        Ok(Value::Vector(samples))
    }

    fn matrix(&self, vector: &VectorNode, grid: &Grid) -> Result<Value, EvalError> {
        let mut matrix = Vec::new();
        let mut account = self.meter.account();
        self.vector(vector, grid, &mut |labels, column| {
            let count = column.present.count();
            if !column.any() {
                return Ok(());
            }
            account.take(size_of::<MatrixSeries>() + labels.byte_len() + count * size_of::<Point>())?;
            let mut histograms = Vec::new();
            if let Some(of_column) = &column.histograms {
                account.take(bytes_of_shared(of_column.iter().map(|(_, histogram)| histogram)))?;
                account.take(of_column.present().count() * size_of::<HistogramPoint>())?;
                histograms.extend(of_column.iter().map(|(step, histogram)| HistogramPoint {
                    timestamp: grid.time(step),
                    histogram: histogram.clone(),
                }));
            }
            let mut points = Vec::with_capacity(count);
            let point = |step| Point { timestamp: grid.time(step), value: column.values[step] };
            points.extend(column.present.iter().map(point));
            matrix.push(MatrixSeries { labels: labels.to_result(), points, histograms });
            self.meter.work(count)
        })?;
        account.keep();
        self.sorted(matrix)
    }

    fn raw_ranges(&self, range: &RangeNode, grid: &Grid) -> Result<Value, EvalError> {
        let mut matrix = Vec::new();
        let mut account = self.meter.account();
        self.ranges(range, grid, &mut |data| {
            let seen = data.windows.bounds(0);
            if data.sample_count(0) == 0 {
                return Ok(());
            }
            account.take(size_of::<MatrixSeries>() + data.labels.byte_len() + seen.len() * size_of::<Point>())?;
            let samples = data.timestamps[seen.clone()].iter().zip(&data.values[seen.clone()]);
            let points = samples.map(|(timestamp, value)| Point { timestamp: *timestamp, value: *value }).collect();
            let mut histograms = Vec::new();
            if let Some(seen) = Seen::at(data, 0) {
                for (timestamp, histogram) in seen.histogram_times.iter().zip(seen.histograms) {
                    let point = HistogramPoint { timestamp: *timestamp, histogram: histogram.clone() };
                    account.take(point.byte_len())?;
                    histograms.push(point);
                }
            }
            matrix.push(MatrixSeries { labels: data.labels.to_result(), points, histograms });
            self.meter.work(seen.len())
        })?;
        account.keep();
        self.sorted(matrix)
    }

    /// Names that are dropped at last may have been all that told series apart.
    fn check_distinct(&self, samples: &[VectorSample]) -> Result<(), EvalError> {
        let mut account = self.meter.account();
        account.take(samples.len() * size_of::<&Labels>())?;
        let mut labels: Vec<&Labels> = samples.iter().map(|sample| &sample.labels).collect();
        labels.sort_unstable();
        if labels.windows(2).any(|pair| pair[0] == pair[1]) { same_labelset() } else { Ok(()) }
    }

    fn sorted(&self, mut matrix: Vec<MatrixSeries>) -> Result<Value, EvalError> {
        matrix.sort_by(|a, b| a.labels.cmp(&b.labels));
        if self.delays_names {
            unite(&mut matrix)?;
        }
        Ok(Value::Matrix(matrix))
    }
}

/// Makes one of series that have the same labels once their names are gone, if they share no time.
fn unite(matrix: &mut Vec<MatrixSeries>) -> Result<(), EvalError> {
    let count = matrix.len();
    matrix.dedup_by(|twin, kept| {
        let same = twin.labels == kept.labels;
        if same {
            kept.points.append(&mut twin.points);
            kept.histograms.append(&mut twin.histograms);
        }
        same
    });
    if matrix.len() == count {
        return Ok(());
    }
    for series in matrix {
        series.points.sort_by_key(|point| point.timestamp);
        series.histograms.sort_by_key(|point| point.timestamp);
        let floats = series.points.iter().map(|point| point.timestamp);
        let mut times: Vec<_> = floats.chain(series.histograms.iter().map(|point| point.timestamp)).collect();
        times.sort_unstable();
        if times.windows(2).any(|pair| pair[0] == pair[1]) {
            return same_labelset();
        }
    }
    Ok(())
}
