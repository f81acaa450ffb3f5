//! The HTTP edge of the query service: parameters in, domain calls, answers out.

mod book;
mod dead_letters;
mod documents;
mod indexes;
mod kept;
mod merge;
mod page;
mod search;
mod sources;
mod status;
mod suggest;

use axum::routing::get;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::QueryService;

/// All routes with their descriptions.
pub(crate) fn api() -> OpenApiRouter<QueryService> {
    OpenApiRouter::new()
        .routes(routes!(page::page))
        .routes(routes!(indexes::list))
        .routes(routes!(indexes::show, indexes::create, indexes::delete))
        .routes(routes!(search::by_parameters, search::by_request))
        .routes(routes!(book::query))
        .routes(routes!(suggest::suggest))
        .routes(routes!(merge::merge))
        .routes(routes!(documents::show))
        // The document whose id is the last word of a producer's route.
        .route("/indexes/{index}/documents/delete", get(documents::show_delete))
        .routes(routes!(status::status))
        .routes(routes!(dead_letters::list, dead_letters::purge))
        .routes(routes!(dead_letters::show))
        .routes(routes!(dead_letters::body))
        .routes(routes!(dead_letters::replay))
        .routes(routes!(sources::list))
        .routes(routes!(sources::show, sources::create, sources::delete))
}
