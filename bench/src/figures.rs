//! How figures are printed.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use warren_tests::searches::{Figures, Latencies};
use warren_tests::writers::Progress;

/// The figures of all writes.
pub(crate) fn writes(written: &Progress) {
    println!("writes: {} confirmed; tries repeated: {}", written.confirmed, causes(&written.retried));
}

/// The figures of all searches.
pub(crate) fn searches(figures: &Figures) {
    let Figures { complete, latencies, longest_gap, .. } = figures;
    let (failed, retries) = (causes(&figures.causes), causes(&figures.retries));
    println!("searches: {complete} complete; failed: {failed}; asked again: {retries}");
    println!(
        "search latency: p50 {}, p99 {}, longest {}; longest time without a complete answer {:.2} s",
        millis(latencies.percentile(50.0)),
        millis(latencies.percentile(99.0)),
        millis(Some(latencies.longest())),
        longest_gap.as_secs_f64()
    );
}

/// A distribution, on one line.
pub(crate) fn latencies(what: &str, latencies: &Latencies) {
    let [p50, p90, p99] = [50.0, 90.0, 99.0].map(|percent| millis(latencies.percentile(percent)));
    println!("{what}: p50 {p50}, p90 {p90}, p99 {p99}, longest {}", millis(Some(latencies.longest())));
}

/// The seconds from `before` seconds before an event until `after` seconds after it.
pub(crate) fn seconds(figures: &Figures, event: Instant, before: f64, after: f64) {
    println!("  second   complete  failed       p50       p99   longest");
    for second in &figures.seconds {
        let at = match second.start.checked_duration_since(event) {
            Some(later) => later.as_secs_f64(),
            None => -(event - second.start).as_secs_f64(),
        };
        if (-before..after).contains(&at) {
            println!(
                "{at:+8.1} {:10} {:7} {:>9} {:>9} {:>9}",
                second.complete,
                second.failed,
                millis(second.latencies.percentile(50.0)),
                millis(second.latencies.percentile(99.0)),
                millis(Some(second.latencies.longest()))
            );
        }
    }
}

/// Counts by cause.
pub(crate) fn causes(counts: &BTreeMap<String, u64>) -> String {
    if counts.is_empty() {
        return "none".to_owned();
    }
    counts.iter().map(|(cause, count)| format!("{count} × {cause}")).collect::<Vec<_>>().join(", ")
}

fn millis(duration: Option<Duration>) -> String {
    duration.map_or("–".to_owned(), |duration| format!("{:.1} ms", duration.as_secs_f64() * 1000.0))
}
