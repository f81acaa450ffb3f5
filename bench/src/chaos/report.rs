//! What is printed of a run with disturbances.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use warren_tests::searches::Figures;
use warren_tests::verification::Verdict;
use warren_tests::writers::Progress;

/// One disturbance: when the process was back, when all answers were complete again, and what failed in between.
pub(super) fn round(number: u32, name: &str, back: Duration, before: &Figures, after: &Figures, began: Instant) {
    let failed = after.causes_since(before);
    let last_failed = after.last_failed().filter(|last| *last >= began).map(|last| last - began);
    let until = match last_failed {
        Some(last) => format!("answers complete again after {:.1} s", last.as_secs_f64()),
        None => "all answers complete".to_owned(),
    };
    println!(
        "round {number:3}: {name}: running again after {:.1} s, everything as it was after {:.1} s; {until}; failed searches: {}",
        back.as_secs_f64(),
        began.elapsed().as_secs_f64(),
        causes(&failed)
    );
}

/// The figures of a whole run.
pub(super) fn end(written: &Progress, searched: &Figures, verdict: &Verdict) {
    println!("writes: {} confirmed; tries repeated: {}", written.confirmed, causes(&written.retried));
    searches(searched);
    println!("{verdict}");
}

/// The figures of searches.
pub(crate) fn searches(figures: &Figures) {
    println!(
        "searches: {} complete, {} failed: {}; asked again: {}",
        figures.complete,
        figures.failed(),
        causes(&figures.causes),
        causes(&figures.retries)
    );
    println!(
        "search latency: p50 {}, p99 {}, longest {:.1} ms; longest time without a complete answer {:.2} s",
        millis(figures.latencies.percentile(50.0)),
        millis(figures.latencies.percentile(99.0)),
        figures.latencies.longest().as_secs_f64() * 1000.0,
        figures.longest_gap.as_secs_f64()
    );
}

/// Milliseconds, or a dash.
pub(crate) fn millis(duration: Option<Duration>) -> String {
    duration.map_or("–".to_owned(), |duration| format!("{:.1} ms", duration.as_secs_f64() * 1000.0))
}

fn causes(counts: &BTreeMap<String, u64>) -> String {
    if counts.is_empty() {
        return "none".to_owned();
    }
    counts.iter().map(|(cause, count)| format!("{count} × {cause}")).collect::<Vec<_>>().join(", ")
}
