//! The HTTP edge that all roles share: errors as problems, extractors that name what is wrong, one guarded server.

mod api;
mod extract;
mod guard;
mod observe;
mod problem;
mod server;

pub use api::{finish, health_routes};
pub use extract::{ApiJson, ApiPath, ApiQuery, linger, parse_json};
pub use problem::{ApiError, problem_response};
pub use server::{bind, serve};
