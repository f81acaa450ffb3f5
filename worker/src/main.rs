//! The `worker` program: indexes its share of the partitions and answers searches on them.

use std::process::ExitCode;

fn main() -> ExitCode {
    warren_service::program::main("worker", warren_worker::run)
}
