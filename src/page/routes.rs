//! The addresses of the page, and the headers of every answer.
//!
//! An address takes GET and HEAD, and POST where a form does something (`access`). The `Host` must be this machine's (a foreign page
//! could else read the line through a name of its own that leads here), and every answer carries a
//! Content-Security-Policy without inline script and style.

use super::access::{Right, Viewer, sign_in};
use super::album::{PhotoKey, PhotoSize};
use super::form_page::Layout;
use super::hosts::is_own_host;
use super::metrics::{self, MEDIA_TYPE};
use super::rejects;
use super::screen::{RENDER_EVERY, ScreenName};
use super::state::Page;
use super::whole_page::WholePage;
use super::{
    account, check, false_rejects, health_forms, lens, pareto, recipes, shift_screen, teach, users,
};
use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HOST, IF_NONE_MATCH,
    REFERRER_POLICY, TRANSFER_ENCODING, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::time::Duration;
use tokio::time::Instant;

/// Longest wait of a viewer for something new.
const UPDATE_WAIT: Duration = Duration::from_secs(10);
/// Interval of looks at what no event tells: counters, times, causes.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Sources of a page: our own, and nothing inline.
const POLICY: &str = "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// All addresses.
pub fn router(state: Page) -> Router {
    Router::new()
        .route("/", get(live))
        .route("/health", get(health))
        .route("/counters", get(counters))
        .route(check::ADDRESS, get(shift_check))
        .route(lens::ADDRESS, get(lens))
        .route("/updates/{screen}", get(updates))
        .route("/picture/{run}/{place}/{seq}/{size}", get(picture))
        .route("/assets/{name}", get(asset))
        .route("/metrics", get(metrics))
        .route("/health/live", get(is_live))
        .route("/health/ready", get(is_ready))
        .merge(false_rejects::routes())
        .merge(sign_in::routes())
        .merge(teach::routes())
        .merge(rejects::routes())
        .merge(check::forms::routes())
        .merge(lens::forms::routes())
        .merge(account::routes())
        .merge(health_forms::routes())
        .merge(pareto::routes())
        .merge(recipes::routes())
        .merge(shift_screen::routes())
        .merge(users::routes())
        .fallback(none_such)
        .layer(middleware::from_fn_with_state(state.clone(), guard))
        .with_state(state)
}

/// Refuses other hosts, and adds the headers of every answer.
async fn guard(State(page): State<Page>, request: Request, next: Next) -> Response {
    let refused = refusal_of(&page, request.headers());

    let mut response = match refused {
        None => next.run(request).await,
        Some(refused) => refused.into_response(),
    };

    let headers = response.headers_mut();

    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));

    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));

    // `no-referrer` would take the Origin from our own forms.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));

    let policy = HeaderName::from_static("cross-origin-resource-policy");

    headers.insert(policy, HeaderValue::from_static("same-origin"));

    // An answer that may be kept has said so already.
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));

    response
}

/// Why a request is refused whatever it asks for.
fn refusal_of(page: &Page, headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
    // Two lengths of a body, of which each reader believes another one, are how requests are smuggled. hyper refuses
    // two Content-Lengths, and reads by Transfer-Encoding where both stand; no browser sends a form with it.
    if headers.contains_key(TRANSFER_ENCODING) {
        let words = "a body is sent with Content-Length, not with Transfer-Encoding\n";

        return Some((StatusCode::LENGTH_REQUIRED, words));
    }

    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok());
    let is_own = host.is_some_and(|host| is_own_host(host, &page.names()));

    if is_own && hosts.next().is_none() {
        return None;
    }

    let words = "this page is asked for as localhost, 127.0.0.1 or [::1], or by a name of its certificate\n";

    Some((StatusCode::MISDIRECTED_REQUEST, words))
}

async fn live(State(page): State<Page>, viewer: Viewer) -> Response {
    whole(&page, viewer, ScreenName::Live)
}

async fn health(State(page): State<Page>, viewer: Viewer) -> Response {
    whole(&page, viewer, ScreenName::Health)
}

async fn counters(State(page): State<Page>, viewer: Viewer) -> Response {
    whole(&page, viewer, ScreenName::Counters)
}

async fn shift_check(State(page): State<Page>, viewer: Viewer) -> Response {
    whole(&page, viewer, ScreenName::ShiftCheck)
}

async fn lens(State(page): State<Page>, viewer: Viewer) -> Response {
    whole(&page, viewer, ScreenName::Lens)
}

/// A live screen for a viewer, with the forms of what the viewer may do there.
fn whole(page: &Page, viewer: Viewer, name: ScreenName) -> Response {
    page.viewed();

    let hindrance = viewer.hindrance(match name {
        ScreenName::Health => Right::SetUp,
        _ => Right::Operate,
    });

    let layout = Layout::new(page, viewer, name.title());
    let forms = match name {
        ScreenName::Live | ScreenName::Counters => Ok(String::new()),
        ScreenName::Health => health_forms::forms(page, &layout, hindrance),
        ScreenName::ShiftCheck => check::forms::forms(page, &layout, hindrance),
        ScreenName::Lens => lens::forms::forms(page, &layout, hindrance),
    };

    let forms = match forms {
        Ok(forms) => forms,
        Err(error) => return fault(&error),
    };

    let reloads = name != ScreenName::ShiftCheck || check::forms::is_waiting(page);

    let html = page.with_screen(name, |screen| {
        // Everything is newer than version 0.
        let update = screen.update(0, &page.assets.build);

        let whole = WholePage {
            layout: &layout,
            screen: name,
            version: update.version,
            fragments: update.fragments,
            forms,
            reloads,
        };

        whole.render()
    });

    let rendered = html.and_then(|html| html);

    match rendered {
        Ok(html) => ([(CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response(),
        Err(error) => fault(&error),
    }
}

fn fault(error: &dyn std::error::Error) -> Response {
    tracing::error!("page: {error} (please report this)");

    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

/// What is new on a screen; waits for it.
async fn updates(
    State(page): State<Page>,
    Path(screen): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let since = since(query.as_deref());

    let Some((name, since)) = ScreenName::of(&screen).zip(since) else {
        let words =
            "ask for /updates/live, health, counters, shift-check or lens with since=VERSION\n";

        return (StatusCode::BAD_REQUEST, words).into_response();
    };

    let end = Instant::now() + UPDATE_WAIT;

    // Subscribed before the first look, so that nothing between the two is missed.
    let mut news = page.pictures.news();

    loop {
        page.viewed();

        let is_over = Instant::now() >= end;

        let answer = page.with_screen(name, |screen| {
            let update = screen.update(since, &page.assets.build);
            let has_news = !update.fragments.is_empty();
            let is_told = is_over || has_news;

            is_told.then(|| serde_json::to_string(&update))
        });

        match answer {
            Ok(Some(Ok(json))) => {
                return ([(CONTENT_TYPE, "application/json")], json).into_response();
            }

            Ok(Some(Err(error))) => return fault(&error),
            Err(error) => return fault(&error),
            Ok(None) => {}
        }

        // A picture or an event is rendered as soon as the screen may be rendered again.
        tokio::select! {
            _ = news.changed() => tokio::time::sleep(RENDER_EVERY).await,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// The version out of `since=VERSION`.
fn since(query: Option<&str>) -> Option<u64> {
    let mut pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    let (_, version) = pairs.find(|(key, _)| *key == "since")?;

    version.parse().ok()
}

/// A part's picture. Its address is never used for another one, so that browsers may keep it.
async fn picture(
    State(page): State<Page>,
    Path((run, place, seq, size)): Path<(String, usize, u64, String)>,
    headers: HeaderMap,
) -> Response {
    let size = match size.as_str() {
        "large.jpg" => PhotoSize::Large,
        "small.jpg" => PhotoSize::Small,
        _ => return none_such().await.into_response(),
    };

    let place = page.place(&run, place);
    let key = place.map(|place| PhotoKey { place, seq });

    // An album keeps the last pictures alone, so that a link may be older than its picture.
    let file = key.and_then(|key| page.pictures.album().file(&key, size));

    let Some(file) = file else {
        return none_such().await.into_response();
    };

    let tag = format!("\"{run}-{seq}-{size:?}\"");
    let lasting = "private, max-age=3600, immutable";
    let body = Body::from(file.to_vec());

    tagged(&headers, &tag, lasting, "image/jpeg", body)
}

async fn asset(State(page): State<Page>, Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Some(asset) = page.assets.file(&name) else {
        return none_such().await.into_response();
    };

    let body = Body::from(asset.text);

    tagged(&headers, &asset.tag, "no-cache", asset.kind, body)
}

/// A file with its tag; 304 to a browser that has it.
fn tagged(
    headers: &HeaderMap,
    tag: &str,
    lasting: &'static str,
    kind: &'static str,
    body: Body,
) -> Response {
    // A browser may send several lists, each with several tags.
    let known = headers.get_all(IF_NONE_MATCH).iter();

    let mut known = known
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','));
    let is_known = known.any(|known| known.trim() == tag);

    // The headers of a 304 are those that the file itself would have.
    let own_tag = (ETAG, tag.to_owned());
    let own_lasting = (CACHE_CONTROL, lasting.to_owned());
    let own = [own_tag, own_lasting];

    if is_known {
        return (StatusCode::NOT_MODIFIED, own).into_response();
    }

    (own, [(CONTENT_TYPE, kind)], body).into_response()
}

async fn metrics(State(page): State<Page>) -> Response {
    let readings = page.readings();
    let encoded = metrics::encode(readings);

    match encoded {
        Ok(text) => ([(CONTENT_TYPE, MEDIA_TYPE)], text).into_response(),
        Err(error) => fault(&error),
    }
}

/// 200 while every stage gives signs of life.
async fn is_live(State(page): State<Page>) -> Response {
    let stuck = page.stuck();

    if stuck.is_empty() {
        return "live\n".into_response();
    }

    let names = stuck.join(", ");
    let words = format!("no sign of life from {names}\n");

    (StatusCode::SERVICE_UNAVAILABLE, words).into_response()
}

/// 200 if a part that came now would be judged.
async fn is_ready(State(page): State<Page>) -> Response {
    let condition = page.now().condition;

    if condition.ready {
        return "ready\n".into_response();
    }

    let causes = condition.causes.join("\n");
    let words = format!("not ready\n{causes}\n");

    (StatusCode::SERVICE_UNAVAILABLE, words).into_response()
}

async fn none_such() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "there is nothing here\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_out_of_the_query() {
        assert_eq!(since(Some("since=7")), Some(7));
        assert_eq!(since(Some("a=1&since=0")), Some(0));

        for wrong in [
            None,
            Some(""),
            Some("since="),
            Some("since=-1"),
            Some("version=1"),
        ] {
            assert_eq!(since(wrong), None, "{wrong:?}");
        }
    }
}
