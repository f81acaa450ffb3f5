//! How long the buckets of a date histogram are, and where they begin. All dates are UTC.

use serde::{Deserialize, Serialize};
use time::{Date, Month, OffsetDateTime, UtcOffset};

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const WEEK: i64 = 7 * DAY;
/// 1970 began on a Thursday, weeks begin on Mondays.
const FIRST_MONDAY: i64 = 4 * DAY;
/// The longest fixed interval, ten thousand years: what is longer is a mistake.
const LONGEST: i64 = 3_652_425 * DAY;

/// How long a bucket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DateInterval {
    /// So many milliseconds, from an offset to 1970 on.
    Fixed {
        /// The length.
        millis: i64,
        /// Where the buckets begin.
        offset: i64,
    },
    /// So many months of the calendar: 1, 3 or 12.
    Months(i64),
}

/// The units of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum CalendarUnit {
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

impl CalendarUnit {
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "minute" | "1m" => Self::Minute,
            "hour" | "1h" => Self::Hour,
            "day" | "1d" => Self::Day,
            "week" | "1w" => Self::Week,
            "month" | "1M" => Self::Month,
            "quarter" | "1q" => Self::Quarter,
            "year" | "1y" => Self::Year,
            _ => return None,
        })
    }

    pub(super) fn interval(self, offset: i64) -> Option<DateInterval> {
        let fixed = |millis, offset| Some(DateInterval::Fixed { millis, offset });
        match self {
            Self::Minute => fixed(MINUTE, offset),
            Self::Hour => fixed(HOUR, offset),
            Self::Day => fixed(DAY, offset),
            Self::Week => fixed(WEEK, FIRST_MONDAY + offset),
            Self::Month | Self::Quarter | Self::Year if offset != 0 => None,
            Self::Month => Some(DateInterval::Months(1)),
            Self::Quarter => Some(DateInterval::Months(3)),
            Self::Year => Some(DateInterval::Months(12)),
        }
    }
}

/// Milliseconds of a text like `90m`; the sign is the caller's.
pub(super) fn duration(text: &str) -> Option<i64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "ms" => 1,
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        "d" => DAY,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(unit).filter(|millis| *millis <= LONGEST)
}

/// The same with a sign.
pub(super) fn offset(text: &str) -> Option<i64> {
    match text.strip_prefix('-') {
        Some(rest) => duration(rest).map(|millis| -millis),
        None => duration(text.strip_prefix('+').unwrap_or(text)),
    }
}

impl DateInterval {
    /// The number of the bucket of a date, in Unix milliseconds.
    pub fn bucket(self, millis: i64) -> i64 {
        match self {
            Self::Fixed { millis: length, offset } => (millis - offset).div_euclid(length),
            Self::Months(length) => month_of(millis).div_euclid(length),
        }
    }

    /// Where a bucket begins, in Unix milliseconds.
    pub fn start(self, bucket: i64) -> i64 {
        match self {
            Self::Fixed { millis, offset } => bucket.saturating_mul(millis).saturating_add(offset),
            Self::Months(length) => start_of_month(bucket.saturating_mul(length)),
        }
    }
}

/// The number of the month of a date, counted from the beginning of year 0.
pub fn month_of(millis: i64) -> i64 {
    // Beyond the years that can be written, the nearest month that can be.
    let date = OffsetDateTime::from_unix_timestamp(millis.div_euclid(SECOND))
        .map_or_else(|_| if millis < 0 { Date::MIN } else { Date::MAX }, |date| date.to_offset(UtcOffset::UTC).date());
    i64::from(date.year()) * 12 + i64::from(u8::from(date.month())) - 1
}

/// The beginning of a month, in Unix milliseconds.
pub fn start_of_month(month: i64) -> i64 {
    let year = i32::try_from(month.div_euclid(12)).unwrap_or(i32::MAX);
    let number = u8::try_from(month.rem_euclid(12) + 1).unwrap_or(1);
    let date = Month::try_from(number).ok().and_then(|month| Date::from_calendar_date(year, month, 1).ok());
    let date = date.unwrap_or(if month < 0 { Date::MIN } else { Date::MAX });
    date.midnight().assume_utc().unix_timestamp() * SECOND
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::date_from_text;

    fn millis(text: &str) -> i64 {
        (date_from_text(text).unwrap().unix_timestamp_nanos() / 1_000_000) as i64
    }

    #[test]
    fn every_date_is_in_the_bucket_that_begins_before_it_and_not_in_the_next() {
        let dates = ["1969-12-31T23:59:59.999Z", "1970-01-01T00:00:00Z", "2024-02-29T12:00:00Z", "2026-12-31T23:59:59Z"];
        let units = [
            CalendarUnit::Minute,
            CalendarUnit::Hour,
            CalendarUnit::Day,
            CalendarUnit::Week,
            CalendarUnit::Month,
            CalendarUnit::Quarter,
            CalendarUnit::Year,
        ];
        for date in dates.map(millis) {
            for interval in units.map(|unit| unit.interval(0).unwrap()) {
                let bucket = interval.bucket(date);
                assert!(interval.start(bucket) <= date && date < interval.start(bucket + 1), "{date} {interval:?}");
            }
        }
    }

    #[test]
    fn the_calendar_is_the_calendar() {
        for (unit, date, start) in [
            ("week", "2026-11-26T21:00:00Z", "2026-11-23T00:00:00Z"),
            ("month", "2024-02-29T12:00:00Z", "2024-02-01T00:00:00Z"),
            ("1q", "2026-11-26T21:00:00Z", "2026-10-01T00:00:00Z"),
            ("year", "1969-06-01T00:00:00Z", "1969-01-01T00:00:00Z"),
        ] {
            let interval = CalendarUnit::parse(unit).unwrap().interval(0).unwrap();
            assert_eq!(interval.start(interval.bucket(millis(date))), millis(start), "{unit}");
        }
        assert_eq!(CalendarUnit::Month.interval(DAY), None);
    }

    #[test]
    fn durations_have_a_number_and_a_unit() {
        assert_eq!(duration("90m"), Some(90 * MINUTE));
        assert_eq!(duration("500ms"), Some(500));
        assert_eq!(offset("-6h"), Some(-6 * HOUR));
        assert_eq!(offset("+1d"), Some(DAY));
        for bad in ["", "5", "m", "1M", "1.5h", "-1d", "99999999999999999999s", "9999999999d"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}
