//! What makes routes an API: its description, its health, and an answer for whatever is not a route.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{Method, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, Router};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, SecurityRequirement};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use warren_protocol::Problem;
use warren_protocol::problem::Code;

use super::ApiError;

type Ready = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Turns the routes of one or several roles into one router, with `/healthz`, `/readyz` and `/openapi.json`, and with
/// problems for unknown routes and methods. `ready` says why the process cannot do its work yet.
pub fn finish(api: OpenApiRouter, ready: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Router {
    let (router, mut document) =
        api.merge(health_routes(ready)).merge(OpenApiRouter::new().routes(routes!(openapi))).split_for_parts();
    document.info = InfoBuilder::new()
        .title("Warren")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("A document search engine that lives in RabbitMQ."))
        .build();
    let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    let key = ComponentsBuilder::new().security_scheme("key", scheme).build();
    match &mut document.components {
        Some(components) => components.security_schemes.extend(key.security_schemes),
        components => *components = Some(key),
    }
    document.security = Some(vec![SecurityRequirement::new("key", Vec::<String>::new())]);
    router.fallback(not_found).method_not_allowed_fallback(method_not_allowed).layer(Extension(Document(Arc::new(document))))
}

/// `/healthz` (the process runs) and `/readyz` (it can do its work; `ready` says why not). [`finish`] adds them itself.
pub fn health_routes(ready: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> OpenApiRouter {
    let ready: Ready = Arc::new(ready);
    OpenApiRouter::new().routes(routes!(healthz)).routes(routes!(readyz)).with_state(ready)
}

#[derive(Clone)]
struct Document(Arc<OpenApi>);

/// The state of a process.
#[derive(Serialize, ToSchema)]
struct Health {
    /// `ok`.
    status: &'static str,
}

/// Whether the process runs.
#[utoipa::path(get, path = "/healthz", tag = "operation", responses((status = 200, body = Health)))]
async fn healthz() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Whether the process can do its work.
#[utoipa::path(get, path = "/readyz", tag = "operation",
    responses((status = 200, body = Health), (status = 503, body = Problem, description = "Not yet; the detail says why")))]
async fn readyz(State(ready): State<Ready>) -> Result<Json<Health>, ApiError> {
    match ready() {
        Ok(()) => Ok(Json(Health { status: "ok" })),
        Err(reason) => Err(ApiError::new(Code::Unavailable, reason)),
    }
}

/// This description.
#[utoipa::path(get, path = "/openapi.json", tag = "operation",
    responses((status = 200, description = "OpenAPI", content_type = "application/json")))]
async fn openapi(Extension(Document(document)): Extension<Document>) -> Response {
    Json(document.as_ref()).into_response()
}

async fn not_found(uri: Uri) -> ApiError {
    ApiError::new(Code::NotFound, format!("there is no route {}: /openapi.json lists them", uri.path()))
}

async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    ApiError::new(Code::MethodNotAllowed, format!("{} does not take {method}: /openapi.json lists what it takes", uri.path()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt;

    /// A route of one half.
    #[utoipa::path(get, path = "/things/{id}", params(("id" = String, Path,)), responses((status = 200)))]
    async fn read() {}

    /// The same path in the other half.
    #[utoipa::path(delete, path = "/things/{id}", params(("id" = String, Path,)), responses((status = 200)))]
    async fn remove() {}

    fn router(ready: Result<(), String>) -> Router {
        let halves = OpenApiRouter::new().routes(routes!(read)).merge(OpenApiRouter::new().routes(routes!(remove)));
        finish(halves, move || ready.clone())
    }

    async fn ask(router: Router, method: &str, path: &str) -> (u16, serde_json::Value, axum::http::HeaderMap) {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default(), headers)
    }

    #[tokio::test]
    async fn the_description_holds_the_routes_of_both_halves() {
        let (status, document, _) = ask(router(Ok(())), "GET", "/openapi.json").await;
        assert_eq!(status, 200);
        for path in ["/healthz", "/readyz", "/openapi.json"] {
            assert!(document["paths"][path]["get"].is_object(), "{path}");
        }
        assert!(document["paths"]["/things/{id}"]["get"].is_object());
        assert!(document["paths"]["/things/{id}"]["delete"].is_object());
        assert_eq!(document["components"]["securitySchemes"]["key"]["scheme"], "bearer");
        assert_eq!(ask(router(Ok(())), "GET", "/things/1").await.0, 200);
        assert_eq!(ask(router(Ok(())), "DELETE", "/things/1").await.0, 200);
    }

    #[tokio::test]
    async fn what_is_no_route_is_a_problem() {
        let (status, problem, headers) = ask(router(Ok(())), "GET", "/nowhere").await;
        assert_eq!((status, &problem["code"]), (404, &"not_found".into()));
        assert_eq!(headers["content-type"], "application/problem+json");
        let (status, problem, headers) = ask(router(Ok(())), "POST", "/things/1").await;
        assert_eq!((status, &problem["code"]), (405, &"method_not_allowed".into()));
        assert!(headers.contains_key("allow"), "{headers:?}");
    }

    #[tokio::test]
    async fn readiness_says_why_not() {
        assert_eq!(ask(router(Ok(())), "GET", "/readyz").await.0, 200);
        let (status, problem, _) = ask(router(Err("the catalog is behind".to_owned())), "GET", "/readyz").await;
        assert_eq!((status, &problem["detail"]), (503, &"the catalog is behind".into()));
        assert_eq!(ask(router(Err(String::new())), "GET", "/healthz").await.0, 200);
    }
}
