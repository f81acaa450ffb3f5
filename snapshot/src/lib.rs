//! Snapshots: the files of a partition's index in an object store, with the place in the log that they contain.

mod settings;

pub use settings::Settings;
