//! `/`: the search page, one file without anything from elsewhere.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

/// The page, put together; its style and its script carry [`NONCE`].
static PAGE: LazyLock<String> = LazyLock::new(|| {
    let script = [
        include_str!("../page/base.js"),
        include_str!("../page/snippets.js"),
        include_str!("../page/hits.js"),
        include_str!("../page/facets.js"),
        include_str!("../page/search.js"),
        include_str!("../page/publish.js"),
        include_str!("../page/main.js"),
    ];
    include_str!("../page/page.html")
        .replace("{{style}}", include_str!("../page/style.css"))
        .replace("{{script}}", &script.concat())
});
/// What stands in the page for the number that lets its own style and script run, and no other.
const NONCE: &str = "{{nonce}}";

/// The search page
#[utoipa::path(get, path = "/", responses((status = 200, description = "The page", content_type = "text/html")), tag = "page")]
pub(super) async fn page() -> Response {
    let nonce = Uuid::new_v4().simple().to_string();
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (headers, PAGE.replace(NONCE, &nonce)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_its_own_style_and_script_may_run() {
        let response = page().await;
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        let nonce = policy.split("script-src 'nonce-").nth(1).unwrap().split('\'').next().unwrap();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let html = std::str::from_utf8(&body).unwrap();
        assert!(html.contains(&format!("<script nonce=\"{nonce}\">")) && html.contains(&format!("<style nonce=\"{nonce}\">")));
        assert!(!html.contains(NONCE));
        for forbidden in ["http://", "https://", "src=", " style=\"", "onclick=", "innerHTML"] {
            let known = html.replace("http://www.w3.org/2000/svg", "");
            assert!(!known.contains(forbidden), "the page must not contain {forbidden}");
        }
    }
}
