//! Which value says a serial number: each does by itself, whatever its series, and no two are equal. Chunks so have bits of all
//! sorts to compress, and counters that fall.

use super::history::Series;

/// 2⁴⁰: there are fewer serial numbers than that.
const FACTOR: f64 = (1u64 << 40) as f64;
/// What makes a fraction with bits to the end.
const TENTH: f64 = 0.1;

/// A way to say it.
#[derive(Debug, Clone, Copy)]
enum Manner {
    /// 7
    Plain,
    /// -7
    Negative,
    /// 7.1
    Tenth,
    /// 7 · 2⁴⁰
    Large,
    /// 7 / 2⁴⁰
    Small,
}

impl Manner {
    const ALL: [Manner; 5] = [Manner::Plain, Manner::Negative, Manner::Tenth, Manner::Large, Manner::Small];
}

impl Series {
    /// The value that says this serial number in this series.
    pub fn value(self, serial: u64) -> f64 {
        let number = serial as f64;
        match self.manner(serial) {
            Manner::Plain => number,
            Manner::Negative => -number,
            Manner::Tenth => number + TENTH,
            Manner::Large => number * FACTOR,
            Manner::Small => number / FACTOR,
        }
    }

    /// The serial number that a value says; `None` if this series never has that value.
    pub fn serial(self, value: f64) -> Option<u64> {
        let number = match value {
            _ if value < 0.0 => -value,
            _ if value < 1.0 => value * FACTOR,
            _ if value >= FACTOR => value / FACTOR,
            _ => value.trunc(),
        };
        // Whatever is not exactly the value of this number is nobody's.
        let serial = number as u64;
        (serial > 0 && self.value(serial).to_bits() == value.to_bits()).then_some(serial)
    }

    fn manner(self, serial: u64) -> Manner {
        match self.metric_number() {
            1 => Manner::Negative,
            3 => Manner::Tenth,
            4 => Manner::ALL[(serial % Manner::ALL.len() as u64) as usize],
            5 => Manner::Large,
            6 => Manner::Small,
            _ => Manner::Plain,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cluster::history::METRICS;

    fn series(number: usize) -> Series {
        Series { tenant: 0, writer: 1, number }
    }

    #[test]
    fn a_value_says_its_serial_number() {
        let mut values = BTreeSet::new();
        for serial in (1..5_000).chain(1 << 30..(1 << 30) + 100) {
            for series in (0..METRICS).map(series) {
                let value = series.value(serial);
                assert_eq!(series.serial(value), Some(serial), "{value} of {series:?}");
                values.insert(value.to_bits());
            }
        }
        // Besides the two that are plain, and the one that takes turns, no series says a number as another one does.
        assert_eq!(values.len(), 5 * 5_099);
    }

    #[test]
    fn what_was_nobodys_value_says_nothing() {
        let strange =
            [0.0, -0.0, 7.9, 7.100_000_000_000_1, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE];
        for value in strange {
            assert!((0..METRICS).all(|number| series(number).serial(value).is_none()), "{value}");
        }
        assert_eq!(series(0).serial(-7.0), None);
        assert_eq!(series(1).serial(7.0), None);
    }
}
