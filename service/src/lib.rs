//! What every process of Warren shares, so that each role holds its own work and nothing else.
//!
//! [`program`] is the door of every role: it reads the [`config`], starts [`telemetry`], connects the broker, and runs
//! the role until [`stop`]. [`readiness`] says whether it can. [`http`] is the edge: problems, extractors, and the guarded server. [`catalog`] is the live
//! table of indexes, [`roster`] who is alive, [`work`] what takes the processor, and [`human`] says sizes and times in words.

mod arenas;
pub mod catalog;
pub mod config;
pub mod http;
pub mod human;
pub mod program;
pub mod readiness;
pub mod roster;
pub mod stop;
pub mod telemetry;
pub mod work;

pub use catalog::{CatalogError, CatalogHandle, Creation, SourceCreation};
pub use config::{Config, ConfigError};
pub use readiness::Readiness;
pub use roster::Roster;
pub use stop::Stop;
pub use work::Work;
