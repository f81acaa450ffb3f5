//! Whether what a stream delivers is what its follower has to read next.
//!
//! A stream never says that messages are missing: a truncated position is answered with the first one that is left, a
//! position beyond the end with silence, a stream that was created anew with other messages under old numbers. So a
//! follower attaches *at* the last message that it has, and goes on only if it gets that very message again.
//!
//! Positions have gaps that are no loss: a stream takes one or two for itself whenever it begins a segment. Truncation
//! takes from the front, so a gap is no loss if the message before it is still there: that is looked up, by attaching
//! there again. Of several segments, however, a stream deletes the newest first, and the message before a gap can still be
//! there for a moment: a gap that is too wide for a segment's beginning is a loss all the same.
//!
//! Silence alone proves nothing: the broker may be slow. A silence that lasts is compared with the stream's end.

use warren_protocol::ports::{FollowFrom, LogError, Position, SEGMENT_GAP};

/// The end of a stream is known only to so many messages: what the broker takes together, and what a lagging member of
/// a cluster has not got yet.
const END_IS_VAGUE: u64 = 5000;

/// What becomes of a delivered message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is the next one.
    Give,
    /// It was given out before.
    Skip,
    /// There is a gap before it: attach again at [`Resume::start`].
    Look,
}

/// How far a follower is.
#[derive(Debug)]
pub(super) struct Resume {
    /// The last message that was read, and its digest.
    last: Option<(Position, u32)>,
    /// Whether the stream has delivered `last` since the follower attached.
    found_last: bool,
    /// The position behind a gap that is being looked up.
    gap: Option<Position>,
}

impl Resume {
    pub(super) fn new(from: FollowFrom) -> Self {
        let last = match from {
            FollowFrom::Start | FollowFrom::Time { .. } => None,
            FollowFrom::After { position, digest } => Some((position, digest)),
        };
        Self { last, found_last: last.is_none(), gap: None }
    }

    /// The position to attach at; `None`: the first that there is.
    pub(super) fn start(&self) -> Option<Position> {
        self.last.map(|(position, _)| position)
    }

    /// Whether the stream has still to deliver a message that is known to be there: silence is no answer then.
    pub(super) fn expects_last(&self) -> bool {
        !self.found_last
    }

    /// The follower has attached, at [`Resume::start`].
    pub(super) fn attached(&mut self) {
        self.found_last = self.last.is_none();
    }

    /// Judges a stream that stays silent at [`Resume::start`], by where it ends. One that is far too short to have the
    /// message is another one; of any other it is not certain.
    pub(super) fn compare_with_end(&self, end: Option<Position>) -> Result<(), LogError> {
        match self.start() {
            Some(position) if end.is_none_or(|end| position.0.saturating_sub(end.0) > END_IS_VAGUE) => {
                Err(LogError::Replaced { position })
            }
            _ => Ok(()),
        }
    }

    /// Judges a message; the errors end the follower.
    pub(super) fn judge(&mut self, position: Position, digest: u32) -> Result<Step, LogError> {
        let Some((last, last_digest)) = self.last else {
            self.last = Some((position, digest));
            return Ok(Step::Give);
        };
        if !self.found_last {
            if position > last {
                return Err(LogError::Truncated { expected: last, found: position });
            }
            if position == last && digest != last_digest {
                return Err(LogError::Replaced { position });
            }
            self.found_last = position == last;
            return Ok(Step::Skip);
        }
        if position <= last {
            return Ok(Step::Skip);
        }
        if position.0 > last.0 + 1 && self.gap != Some(position) {
            self.gap = Some(position);
            return Ok(Step::Look);
        }
        if position.0 > last.0 + 1 + SEGMENT_GAP {
            return Err(LogError::Truncated { expected: last, found: position });
        }
        (self.last, self.gap) = (Some((position, digest)), None);
        Ok(Step::Give)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digest of the message at a position in the stream of these tests.
    fn digest(position: u64) -> u32 {
        position as u32 * 3
    }

    fn after(position: u64) -> Resume {
        let mut resume = Resume::new(FollowFrom::After { position: Position(position), digest: digest(position) });
        resume.attached();
        resume
    }

    impl Resume {
        fn delivers(&mut self, position: u64) -> Result<Step, LogError> {
            self.judge(Position(position), digest(position))
        }
    }

    #[test]
    fn from_the_start_the_first_message_may_stand_anywhere() {
        let mut resume = Resume::new(FollowFrom::Start);
        resume.attached();
        assert_eq!((resume.start(), resume.expects_last()), (None, false));
        assert_eq!(resume.delivers(800), Ok(Step::Give));
        assert_eq!(resume.delivers(801), Ok(Step::Give));
    }

    #[test]
    fn a_follower_goes_on_behind_the_message_that_it_knows() {
        let mut resume = after(5);
        assert_eq!((resume.start(), resume.expects_last()), (Some(Position(5)), true));
        assert_eq!(resume.delivers(4), Ok(Step::Skip), "a stream may begin a little earlier");
        assert_eq!(resume.delivers(5), Ok(Step::Skip));
        assert!(!resume.expects_last());
        assert_eq!(resume.delivers(6), Ok(Step::Give));
        resume.attached();
        assert_eq!(resume.start(), Some(Position(6)), "a lost connection");
        assert_eq!((resume.delivers(6), resume.delivers(7)), (Ok(Step::Skip), Ok(Step::Give)));
    }

    #[test]
    fn a_message_that_is_gone_is_a_truncation() {
        let truncated = LogError::Truncated { expected: Position(5), found: Position(9) };
        assert_eq!(after(5).delivers(9), Err(truncated));
    }

    #[test]
    fn another_message_in_its_place_is_another_log() {
        assert_eq!(after(5).judge(Position(5), 0), Err(LogError::Replaced { position: Position(5) }));
    }

    #[test]
    fn a_stream_that_is_far_too_short_is_another_one() {
        let replaced = Err(LogError::Replaced { position: Position(9000) });
        assert_eq!(after(9000).compare_with_end(None), replaced);
        assert_eq!(after(9000).compare_with_end(Some(Position(3999))), replaced);
        for end in [4000, 8999, 9000, 20_000] {
            assert_eq!(after(9000).compare_with_end(Some(Position(end))), Ok(()), "it may end at {end}");
        }
        assert_eq!(Resume::new(FollowFrom::Start).compare_with_end(None), Ok(()));
    }

    #[test]
    fn a_gap_is_no_loss_if_the_message_before_it_is_still_there() {
        let mut resume = after(5);
        assert_eq!((resume.delivers(5), resume.delivers(8)), (Ok(Step::Skip), Ok(Step::Look)));
        resume.attached();
        assert_eq!((resume.start(), resume.expects_last()), (Some(Position(5)), true));
        assert_eq!((resume.delivers(5), resume.delivers(8)), (Ok(Step::Skip), Ok(Step::Give)));
        assert_eq!(resume.delivers(9), Ok(Step::Give));
    }

    #[test]
    fn a_gap_that_is_too_wide_is_a_loss_even_if_the_message_before_it_is_still_there() {
        for (found, outcome) in [
            (6 + SEGMENT_GAP, Ok(Step::Give)),
            (7 + SEGMENT_GAP, Err(LogError::Truncated { expected: Position(5), found: Position(7 + SEGMENT_GAP) })),
        ] {
            let mut resume = after(5);
            assert_eq!((resume.delivers(5), resume.delivers(found)), (Ok(Step::Skip), Ok(Step::Look)));
            resume.attached();
            assert_eq!((resume.delivers(5), resume.delivers(found)), (Ok(Step::Skip), outcome));
        }
    }

    #[test]
    fn a_gap_that_grows_while_it_is_looked_up_is_looked_up_again() {
        let mut resume = after(5);
        assert_eq!((resume.delivers(5), resume.delivers(8)), (Ok(Step::Skip), Ok(Step::Look)));
        resume.attached();
        assert_eq!((resume.delivers(5), resume.delivers(40)), (Ok(Step::Skip), Ok(Step::Look)));
        resume.attached();
        assert!(matches!(resume.delivers(40), Err(LogError::Truncated { .. })));
    }
}
