//! The pages that links in mails open, for platforms without a front end of their own. They hold nothing of anybody: what they
//! do, they do by the API, with the token of the link.

use poem::endpoint::make_sync;
use poem::http::header;
use poem::{IntoEndpoint, Response, Route, get};

/// The pages, as in the links of mails.
const PAGES: [&str; 3] = ["/verify-email", "/reset-password", "/invitation"];

/// All paths there are, for the metrics.
pub(crate) const PATHS: [&str; 5] = [PAGES[0], PAGES[1], PAGES[2], "/links.js", "/links.css"];

/// Our own script and style, our own API, and nothing of or inside anybody else's page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// Adds the pages to `routes`.
pub(crate) fn add(mut routes: Route) -> Route {
    for page in PAGES {
        routes = routes.at(
            page,
            file(include_str!("link.html"), "text/html; charset=utf-8"),
        );
    }
    routes
        .at(
            "/links.js",
            file(include_str!("links.js"), "text/javascript; charset=utf-8"),
        )
        .at(
            "/links.css",
            file(include_str!("links.css"), "text/css; charset=utf-8"),
        )
}

/// Serves `text`. Its address may hold a token, which is nobody else's to know or to keep.
fn file(text: &'static str, kind: &'static str) -> impl IntoEndpoint {
    get(make_sync(move |_| {
        Response::builder()
            .content_type(kind)
            .header(header::CONTENT_SECURITY_POLICY, POLICY)
            .header(header::REFERRER_POLICY, "no-referrer")
            .header(header::CACHE_CONTROL, "no-store")
            .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
            .body(text)
    }))
}
