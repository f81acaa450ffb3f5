//! The program `query-service`: searches over HTTP, and the search page.

use std::process::ExitCode;

fn main() -> ExitCode {
    warren_service::program::main("query-service", warren_query_service::run)
}
