//! What is refused before it is looked at: strange hosts, other sites' pages, writes over TCP.

use super::{App, answer};
use crate::api::error::ApiError;
use axum::{
    Router,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::Response,
};

/// On every answer: it is nobody's to keep, and nothing but what it says it is.
pub(super) fn harden<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router.layer(middleware::from_fn(async |request: Request, next: Next| {
        let mut response = next.run(request).await;
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        response
    }))
}

/// For TCP: a page in somebody's browser must not reach us, neither by name (DNS rebinding: the
/// `Host` is then the attacker's) nor by address (then it has an `Origin` or comes cross-site).
pub(super) fn read_only(router: Router<App>) -> Router<App> {
    router.layer(middleware::from_fn(
        async |request: Request, next: Next| match check(&request) {
            Ok(()) => next.run(request).await,
            Err(refused) => refused,
        },
    ))
}

#[allow(
    clippy::result_large_err,
    reason = "it is made once and returned as it is"
)]
fn check(request: &Request) -> Result<(), Response> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let text = "this address is read-only; send what changes the cluster to the agent's unix \
                    socket, as `holdfast` does";
        let mut refused = denied(StatusCode::METHOD_NOT_ALLOWED, text);
        refused
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Err(refused);
    }
    let authority = request
        .uri()
        .authority()
        .map(|authority| authority.as_str());
    if !is_addressed_here(request.headers()) || authority.is_some_and(|a| !is_local(a)) {
        let text = "the Host of the request must be localhost, 127.0.0.1 or [::1]";
        return Err(denied(StatusCode::FORBIDDEN, text));
    }
    if is_cross_origin(request.headers()) {
        let text = "requests from web pages are refused";
        return Err(denied(StatusCode::FORBIDDEN, text));
    }
    Ok(())
}

fn denied(status: StatusCode, text: &str) -> Response {
    answer::json(status, &ApiError::AccessDenied(text.to_owned()).json())
}

fn is_addressed_here(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    second.is_none()
        && first
            .and_then(|host| host.to_str().ok())
            .is_some_and(is_local)
}

fn is_local(authority: &str) -> bool {
    ["127.0.0.1", "localhost", "[::1]"]
        .iter()
        .any(|name| match authority.strip_prefix(name) {
            Some("") => true,
            Some(rest) => rest
                .strip_prefix(':')
                .is_some_and(|port| port.parse::<u16>().is_ok()),
            None => false,
        })
}

fn is_cross_origin(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    headers.contains_key(header::ORIGIN)
        || site.is_some_and(|site| site != b"none" && site != b"same-origin")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn only_requests_addressed_to_this_host_pass() {
        for good in [
            "127.0.0.1",
            "127.0.0.1:51678",
            "localhost",
            "localhost:1",
            "[::1]:51678",
        ] {
            assert!(is_local(good), "{good}");
        }
        for bad in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:80",
            "127.0.0.1:evil",
            "127.0.0.1:",
            "evil@127.0.0.1",
            "10.0.0.1",
        ] {
            assert!(!is_local(bad), "{bad}");
        }
        assert!(!is_addressed_here(&headers(&[])));
        assert!(!is_addressed_here(&headers(&[
            ("host", "localhost"),
            ("host", "localhost")
        ])));
    }

    #[test]
    fn requests_of_other_sites_pages_are_known() {
        assert!(!is_cross_origin(&headers(&[])));
        assert!(!is_cross_origin(&headers(&[("sec-fetch-site", "none")])));
        assert!(!is_cross_origin(&headers(&[(
            "sec-fetch-site",
            "same-origin"
        )])));
        assert!(is_cross_origin(&headers(&[(
            "sec-fetch-site",
            "cross-site"
        )])));
        assert!(is_cross_origin(&headers(&[(
            "sec-fetch-site",
            "same-site"
        )])));
        assert!(is_cross_origin(&headers(&[(
            "origin",
            "http://localhost:51678"
        )])));
    }
}
