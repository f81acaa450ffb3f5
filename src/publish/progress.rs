//! Progress of long work: a bar on a terminal, a line now and then without one.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// How far reading and confirming have come.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    bytes_read: Arc<AtomicU64>,
    total_bytes: Option<u64>,
    began: Instant,
    next_line: std::sync::Mutex<Instant>,
}

impl Progress {
    /// Starts to show progress; `bytes_read` is counted by whoever reads, `total_bytes` is `None` if nobody knows.
    pub(crate) fn start(total_bytes: Option<u64>, bytes_read: Arc<AtomicU64>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let template = match total_bytes {
                Some(_) => "{bar:30} {percent}%  {msg}  {elapsed} (about {eta} left)",
                None => "{spinner} {bytes} read  {msg}  {elapsed}",
            };
            let bar = ProgressBar::with_draw_target(total_bytes, ProgressDrawTarget::stderr_with_hz(10));
            // The templates are constant, and right.
            bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        let began = Instant::now();
        Self { bar, bytes_read, total_bytes, began, next_line: std::sync::Mutex::new(began + LINE_INTERVAL) }
    }

    /// Says how many documents are confirmed by now.
    pub(crate) fn accepted(&self, documents: u64) {
        let rate = documents as f64 / self.elapsed().as_secs_f64().max(0.001);
        let text = format!("{documents} documents, {rate:.0}/s");
        let read = self.bytes_read.load(Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.set_position(read);
            bar.set_message(text);
            return;
        }
        let mut next_line = self.next_line.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if Instant::now() >= *next_line {
            *next_line = Instant::now() + LINE_INTERVAL;
            match self.total_bytes {
                Some(total) => eprintln!("{text}, {}% read", read * 100 / total.max(1)),
                None => eprintln!("{text}"),
            }
        }
    }

    /// Prints a line above the bar.
    pub(crate) fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    /// The time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
