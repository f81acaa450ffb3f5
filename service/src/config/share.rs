//! Which partitions a worker takes while workers do not agree on that by themselves.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `k/n`: this worker is the k-th of n, and takes the partitions p with p mod n = k − 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Share {
    number: NonZeroU32,
    of: NonZeroU32,
}

/// A text that is no share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a share: write k/n with 1 ≤ k ≤ n, such as 1/2 for the first of two workers")]
pub struct InvalidShare(String);

impl Share {
    /// Whether the partition belongs to this share.
    pub fn takes(&self, partition: u32) -> bool {
        partition % self.of == self.number.get() - 1
    }
}

impl Default for Share {
    /// All partitions.
    fn default() -> Self {
        Self { number: NonZeroU32::MIN, of: NonZeroU32::MIN }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl FromStr for Share {
    type Err = InvalidShare;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (number, of) = text.split_once('/')?;
            let share = Self { number: number.trim().parse().ok()?, of: of.trim().parse().ok()? };
            (share.number <= share.of).then_some(share)
        };
        parse().ok_or_else(|| InvalidShare(text.to_owned()))
    }
}

impl TryFrom<String> for Share {
    type Error = InvalidShare;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Share> for String {
    fn from(share: Share) -> Self {
        share.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_all_workers_are_all_partitions_once() {
        let shares: Vec<Share> = ["1/3", "2/3", "3/3"].iter().map(|text| text.parse().unwrap()).collect();
        for partition in 0..20 {
            assert_eq!(shares.iter().filter(|share| share.takes(partition)).count(), 1);
        }
        assert!((0..20).all(|partition| Share::default().takes(partition)));
    }

    #[test]
    fn what_is_no_share_is_refused() {
        for text in ["", "1", "0/1", "2/1", "1/0", "a/b", "1/2/3", "-1/2"] {
            assert_eq!(text.parse::<Share>(), Err(InvalidShare(text.to_owned())));
        }
        assert_eq!("2/4".parse::<Share>().unwrap().to_string(), "2/4");
    }
}
