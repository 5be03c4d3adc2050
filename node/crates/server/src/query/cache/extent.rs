//! The steps of a query that were computed, and which of them still stand. Pure.

use std::collections::BTreeSet;

use bellwether_model::{Labels, TimeRange, Timestamp};
use bellwether_promql::{HistogramPoint, MatrixSeries, Point, StepReach};

use crate::routing::{GroupChanges, ReadAt, ReadPlaces};

/// Stretches of an answer that are computed, where what is kept lies between them; where there would be more, only the longest of
/// what is kept is used.
const FRESH_PARTS_MAX: usize = 4;

/// Steps at multiples of their distance, first and last included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// First time.
    pub first: Timestamp,
    /// Last time.
    pub last: Timestamp,
    /// Their distance.
    pub step_ms: i64,
}

impl Steps {
    /// Those of a range, if they are at multiples of the step.
    pub fn aligned(start: Timestamp, end: Timestamp, step_ms: i64) -> Option<Steps> {
        let is_aligned = step_ms > 0 && start.rem_euclid(step_ms) == 0 && start <= end;
        is_aligned.then(|| Steps { first: start, last: end - end.rem_euclid(step_ms), step_ms })
    }

    /// How many.
    pub fn count(&self) -> i64 {
        (self.last - self.first) / self.step_ms + 1
    }

    fn to(self, first: Timestamp, last: Timestamp) -> Option<Steps> {
        (first <= last).then_some(Steps { first, last, ..self })
    }

    fn common(self, other: Steps) -> Option<Steps> {
        self.to(self.first.max(other.first), self.last.min(other.last))
    }

    /// What is left of them before and behind some times.
    fn without(self, times: TimeRange) -> [Option<Steps>; 2] {
        let round_down = |time: i64| time.saturating_sub(time.rem_euclid(self.step_ms));
        // Beyond the steps one time is as good as another.
        let first = times.first.clamp(self.first, self.last.saturating_add(1));
        let last = times.last.clamp(self.first.saturating_sub(1), self.last);
        if last < first {
            return [Some(self), None];
        }
        [self.to(self.first, round_down(first.saturating_sub(1))), self.to(round_down(last) + self.step_ms, self.last)]
    }
}

/// Steps of a query and what they came to.
#[derive(Debug)]
pub struct Extent {
    /// Which.
    pub steps: Steps,
    /// Sorted by labels, none without points.
    pub series: Vec<MatrixSeries>,
    /// What is said about all of them together.
    pub notes: Notes,
    /// What they were read from.
    pub read_at: ReadPlaces,
}

/// Warnings and infos.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// Things that are probably wrong.
    pub warnings: Vec<String>,
    /// Things that may be wrong.
    pub infos: Vec<String>,
}

impl Notes {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.warnings.is_empty() && self.infos.is_empty()
    }

    fn has_all_of(&self, other: &Notes) -> bool {
        let has_all = |these: &[String], those: &[String]| those.iter().all(|text| these.contains(text));
        has_all(&self.warnings, &other.warnings) && has_all(&self.infos, &other.infos)
    }

    /// What is said of several stretches together, if that is what would be said of the whole: one of `exact` says all that any
    /// stretch says. `doubtful` are those of steps of which only a part is used.
    pub fn together(exact: &[&Notes], doubtful: Option<&Notes>) -> Option<Notes> {
        let most = exact.iter().max_by_key(|notes| notes.warnings.len() + notes.infos.len());
        let Some(most) = most else { return doubtful.is_none_or(Notes::is_empty).then(Notes::default) };
        exact.iter().copied().chain(doubtful).all(|notes| most.has_all_of(notes)).then(|| (*most).clone())
    }
}

/// A stretch of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stretch {
    /// Taken from what is kept.
    Kept(Steps),
    /// Computed.
    Fresh(Steps),
}

impl Extent {
    /// The steps that would come out the same now, in ascending stretches.
    pub fn standing(&self, changes: &[GroupChanges], reach: &StepReach) -> Vec<Steps> {
        let is_as_before = |change: &GroupChanges| {
            let same = |at: &ReadAt| at.epoch == change.at.epoch && at.range == change.at.range;
            self.read_at.get(&change.group).is_some_and(same)
        };
        if changes.len() != self.read_at.len() || !changes.iter().all(is_as_before) {
            return Vec::new();
        }
        let mut standing = vec![self.steps];
        for times in changes.iter().flat_map(|change| &change.times) {
            let changed = reach.steps_seeing(*times);
            standing = standing.into_iter().flat_map(|steps| steps.without(changed)).flatten().collect();
        }
        standing
    }

    /// What some of its steps came to.
    pub fn part(&self, steps: Steps) -> Vec<MatrixSeries> {
        let cut = |series: &MatrixSeries| {
            let (points, histograms) = within(series, steps);
            let any = !points.is_empty() || !histograms.is_empty();
            let (points, histograms) = (points.to_vec(), histograms.to_vec());
            any.then(|| MatrixSeries { labels: series.labels.clone(), points, histograms })
        };
        self.series.iter().filter_map(cut).collect()
    }

    /// Bytes that some of its steps take.
    pub fn part_bytes(&self, steps: Steps) -> usize {
        let bytes = |series: &MatrixSeries| {
            let (points, histograms) = within(series, steps);
            series_bytes(&series.labels, points, histograms)
        };
        self.series.iter().map(bytes).sum()
    }

    /// Bytes in memory, about.
    pub fn byte_len(&self) -> usize {
        let texts = self.notes.warnings.iter().chain(&self.notes.infos).map(String::len).sum::<usize>();
        size_of::<Extent>() + texts + self.read_at.len() * size_of::<ReadAt>() * 2 + matrix_bytes(&self.series)
    }
}

fn within(series: &MatrixSeries, steps: Steps) -> (&[Point], &[HistogramPoint]) {
    fn cut<P>(points: &[P], steps: Steps, time: impl Fn(&P) -> Timestamp) -> &[P] {
        let from = points.partition_point(|point| time(point) < steps.first);
        let to = points.partition_point(|point| time(point) <= steps.last);
        &points[from..to]
    }
    let points = cut(&series.points, steps, |point| point.timestamp);
    (points, cut(&series.histograms, steps, |point| point.timestamp))
}

fn series_bytes(labels: &Labels, points: &[Point], histograms: &[HistogramPoint]) -> usize {
    let histograms = histograms.iter().map(HistogramPoint::byte_len).sum::<usize>();
    size_of::<MatrixSeries>() + labels.byte_len() + size_of_val(points) + histograms
}

/// Bytes of a result.
pub fn matrix_bytes(series: &[MatrixSeries]) -> usize {
    series.iter().map(|series| series_bytes(&series.labels, &series.points, &series.histograms)).sum()
}

/// How an answer for `wanted` is made where the steps of `standing` are kept.
pub fn stretches(wanted: Steps, standing: &[Steps]) -> Vec<Stretch> {
    let mut kept: Vec<Steps> = standing.iter().filter_map(|steps| steps.common(wanted)).collect();
    if kept.len() >= FRESH_PARTS_MAX {
        kept = kept.into_iter().max_by_key(Steps::count).into_iter().collect();
    }
    let mut stretches = Vec::new();
    let mut next = wanted.first;
    for steps in kept {
        stretches.extend(wanted.to(next, steps.first - wanted.step_ms).map(Stretch::Fresh));
        stretches.push(Stretch::Kept(steps));
        next = steps.last + wanted.step_ms;
    }
    stretches.extend(wanted.to(next, wanted.last).map(Stretch::Fresh));
    stretches
}

/// Steps beside those of an answer that are worth keeping with it: they stand and adjoin, and all together are no more than were kept.
pub fn beside(wanted: Steps, known: Steps, standing: &[Steps]) -> [Option<Steps>; 2] {
    let mut room = known.count() - wanted.count();
    let mut take = |found: Option<Steps>, from_end: bool| {
        let found = found.filter(|_| room > 0)?;
        let count = found.count().min(room);
        room -= count;
        let length = (count - 1) * found.step_ms;
        if from_end { found.to(found.last - length, found.last) } else { found.to(found.first, found.first + length) }
    };
    let of = |time: Timestamp| standing.iter().find(move |steps| steps.first <= time && time <= steps.last);
    let (before, behind) = (wanted.first - wanted.step_ms, wanted.last + wanted.step_ms);
    let before = of(before).and_then(|steps| steps.to(steps.first, before));
    let behind = of(behind).and_then(|steps| steps.to(behind, steps.last));
    [take(before, true), take(behind, false)]
}

/// Adds what later steps came to.
pub fn append(earlier: Vec<MatrixSeries>, later: Vec<MatrixSeries>) -> Vec<MatrixSeries> {
    if earlier.is_empty() {
        return later;
    }
    let mut all = Vec::with_capacity(earlier.len().max(later.len()));
    let mut later = later.into_iter().peekable();
    for mut series in earlier {
        while let Some(new) = later.next_if(|new| new.labels < series.labels) {
            all.push(new);
        }
        if let Some(same) = later.next_if(|new| new.labels == series.labels) {
            // By name, so that nothing that a series may have one day is left out.
            let MatrixSeries { labels: _, points, histograms } = same;
            series.points.extend(points);
            series.histograms.extend(histograms);
        }
        all.push(series);
    }
    all.extend(later);
    all
}

/// How many steps of an answer are taken from what is kept.
pub fn kept_count(stretches: &[Stretch]) -> i64 {
    let kept = |stretch: &Stretch| match stretch {
        Stretch::Kept(steps) => steps.count(),
        Stretch::Fresh(_) => 0,
    };
    stretches.iter().map(kept).sum()
}

/// The groups' places, in order.
pub fn places(changes: &[GroupChanges]) -> ReadPlaces {
    changes.iter().map(|change| (change.group, change.at)).collect()
}

/// Whether every group answered once: an answer that was put together by two maps of the ring says nothing.
pub fn is_of_one_map(changes: &[GroupChanges]) -> bool {
    let groups: BTreeSet<_> = changes.iter().map(|change| change.group).collect();
    groups.len() == changes.len()
}

#[cfg(test)]
mod tests {
    use bellwether_model::{HashRange, RefEpoch, ShardGroupId};

    use super::*;

    fn steps(first: i64, last: i64) -> Steps {
        Steps { first, last, step_ms: 10 }
    }

    fn changes(epoch: u64, times: &[(i64, i64)]) -> GroupChanges {
        let times = times.iter().map(|(first, last)| TimeRange::new(*first, *last)).collect();
        let at = ReadAt { epoch: RefEpoch(epoch), range: HashRange::ALL, log_index: 5 };
        GroupChanges { group: ShardGroupId(1), at, times }
    }

    fn extent(first: i64, last: i64) -> Extent {
        let labels = |name: &str| Labels::of(&[("n", name)]);
        let points = |every: i64| {
            let times = (first..=last).step_by(10).filter(move |time| time % every == 0);
            times.map(|time| Point { timestamp: time, value: time as f64 }).collect::<Vec<_>>()
        };
        let series = [("a", 10), ("b", 20), ("c", 50)];
        let series = series.map(|(name, every)| MatrixSeries {
            labels: labels(name),
            points: points(every),
            histograms: Vec::new(),
        });
        let series = series.into_iter().filter(|series| !series.points.is_empty()).collect();
        Extent { steps: steps(first, last), series, notes: Notes::default(), read_at: places(&[changes(1, &[])]) }
    }

    const REACH: StepReach = StepReach { before_ms: 25, after_ms: 0, fixed: None };

    #[test]
    fn steps_that_see_a_change_do_not_stand() {
        let extent = extent(100, 200);
        let standing = |changes: GroupChanges| extent.standing(&[changes], &REACH);
        assert_eq!(standing(changes(1, &[])), [steps(100, 200)]);
        assert_eq!(standing(changes(1, &[(150, 150)])), [steps(100, 140), steps(180, 200)]);
        assert_eq!(standing(changes(1, &[(0, 99), (191, 500)])), [steps(130, 190)]);
        assert_eq!(standing(changes(1, &[(0, 74), (201, 500)])), [steps(100, 200)]);
        assert_eq!(standing(changes(1, &[(i64::MIN, i64::MAX)])), []);
        // Another incarnation, another map.
        assert_eq!(standing(changes(2, &[])), []);
        assert_eq!(extent.standing(&[], &REACH), []);
        let fixed = StepReach { fixed: Some(TimeRange::new(0, 10)), ..REACH };
        assert_eq!(extent.standing(&[changes(1, &[(10, 20)])], &fixed), []);
    }

    #[test]
    fn an_answer_is_made_of_what_stands_and_of_what_is_computed() {
        use Stretch::{Fresh, Kept};
        let made = |standing: &[Steps]| stretches(steps(100, 200), standing);
        assert_eq!(made(&[]), [Fresh(steps(100, 200))]);
        assert_eq!(made(&[steps(0, 300)]), [Kept(steps(100, 200))]);
        assert_eq!(made(&[steps(0, 50), steps(220, 300)]), [Fresh(steps(100, 200))]);
        assert_eq!(
            made(&[steps(0, 120), steps(150, 180)]),
            [Kept(steps(100, 120)), Fresh(steps(130, 140)), Kept(steps(150, 180)), Fresh(steps(190, 200))]
        );
        let many = [steps(100, 100), steps(120, 130), steps(150, 150), steps(170, 170), steps(190, 190)];
        assert_eq!(made(&many), [Fresh(steps(100, 110)), Kept(steps(120, 130)), Fresh(steps(140, 200))]);
    }

    #[test]
    fn stretches_put_together_are_the_whole() {
        let whole = extent(100, 200);
        for cut in (100..200).step_by(10) {
            let joined = append(whole.part(steps(100, cut)), whole.part(steps(cut + 10, 200)));
            assert_eq!(joined, whole.series, "cut behind {cut}");
            assert_eq!(matrix_bytes(&whole.part(steps(100, cut))), {
                let parts = whole.part(steps(100, cut));
                parts
                    .iter()
                    .map(|series| series_bytes(&series.labels, &series.points, &series.histograms))
                    .sum::<usize>()
            });
        }
        assert_eq!(whole.part_bytes(whole.steps), matrix_bytes(&whole.series));
    }

    #[test]
    fn what_adjoins_is_kept_while_it_is_no_more_than_before() {
        let known = steps(100, 200);
        assert_eq!(beside(steps(110, 210), known, &[known]), [None, None]);
        assert_eq!(beside(steps(180, 210), known, &[known]), [Some(steps(110, 170)), None]);
        assert_eq!(beside(steps(140, 150), known, &[known]), [Some(steps(100, 130)), Some(steps(160, 200))]);
        assert_eq!(beside(steps(180, 210), known, &[steps(100, 120), steps(150, 200)]), [Some(steps(150, 170)), None]);
        assert_eq!(beside(steps(230, 240), known, &[known]), [None, None]);
    }

    #[test]
    fn notes_are_told_only_if_they_are_those_of_the_whole() {
        let notes = |texts: &[&str]| Notes {
            warnings: Vec::new(),
            infos: texts.iter().map(|text| (*text).to_owned()).collect(),
        };
        let (none, one, two) = (notes(&[]), notes(&["a"]), notes(&["a", "b"]));
        assert_eq!(Notes::together(&[&one, &two, &none], Some(&one)), Some(two.clone()));
        assert_eq!(Notes::together(&[&one], Some(&two)), None);
        assert_eq!(Notes::together(&[&one, &notes(&["b"])], None), None);
        assert_eq!(Notes::together(&[], Some(&one)), None);
        assert_eq!(Notes::together(&[], None), Some(none));
    }

    #[test]
    fn only_steps_at_multiples_of_their_distance_are_kept() {
        assert_eq!(Steps::aligned(100, 209, 10), Some(steps(100, 200)));
        assert_eq!(Steps::aligned(-20, 5, 10), Some(steps(-20, 0)));
        assert_eq!(Steps::aligned(101, 209, 10), None);
        assert_eq!(Steps::aligned(100, 90, 10), None);
        assert_eq!(Steps::aligned(0, 0, 0), None);
    }
}
