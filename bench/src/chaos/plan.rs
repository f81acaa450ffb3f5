//! What happens to whom: chosen by chance, the same for the same seed.

use std::time::Duration;

use fastrand::Rng;
use warren_tests::stack::Stack;

/// The choices to come.
pub(super) struct Plan {
    random: Rng,
    targets: Vec<Target>,
}

/// Whom something happens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Producer(usize),
    Worker(usize),
    Query(usize),
    Broker,
}

/// What happens to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// SIGKILL.
    Kill,
    /// SIGSTOP, then SIGCONT.
    Freeze,
    /// SIGTERM.
    Stop,
}

/// One disturbance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    pub target: Target,
    pub deed: Deed,
    /// How long it stays away, or frozen.
    pub pause: Duration,
}

impl Plan {
    /// Everyone has the same chance, workers twice the others': they have most to lose.
    pub(super) fn new(seed: u64, stack: &Stack) -> Self {
        let mut targets = vec![Target::Broker];
        targets.extend((0..stack.producers.len()).map(Target::Producer));
        targets.extend((0..stack.queries.len()).map(Target::Query));
        targets.extend((0..stack.workers.len()).flat_map(|number| [Target::Worker(number); 2]));
        Self { random: Rng::with_seed(seed), targets }
    }

    pub(super) fn next_round(&mut self) -> Round {
        let target = self.targets[self.random.usize(..self.targets.len())];
        let deed = [Deed::Kill, Deed::Freeze, Deed::Stop][self.random.usize(..3)];
        let range = if deed == Deed::Freeze { 2000..20_000 } else { 0..5000 };
        Round { target, deed, pause: Duration::from_millis(self.random.u64(range)) }
    }
}

impl Round {
    /// For people.
    pub(super) fn name(&self, stack: &Stack) -> String {
        let target = match self.target {
            Target::Producer(number) => &stack.producers[number].name,
            Target::Worker(number) => &stack.workers[number].name,
            Target::Query(number) => &stack.queries[number].name,
            Target::Broker => "broker",
        };
        let (deed, then) = match self.deed {
            Deed::Kill => ("SIGKILL", "back after"),
            Deed::Freeze => ("SIGSTOP", "SIGCONT after"),
            Deed::Stop => ("SIGTERM", "back after"),
        };
        format!("{deed} {target}, {then} {:.1} s", self.pause.as_secs_f64())
    }
}
