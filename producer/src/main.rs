//! The `producer` program: takes documents over HTTP and from the intake queue.

use std::process::ExitCode;

fn main() -> ExitCode {
    warren_service::program::main("producer", warren_producer::run)
}
