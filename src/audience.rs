//! What the client of a request can use: a page, JSON, or something else. Pure.
//!
//! A browser says what a request is for in Fetch Metadata (W3C Fetch Metadata Request Headers), and no script can change that.
//! Browsers send it to https and localhost only, so without it `Accept` decides. A wrong guess hurts either way: a `fetch` that
//! follows a redirect to the provider fails in CORS, and a user who gets JSON is lost.

use http::{HeaderMap, HeaderValue, Method, header::ACCEPT};

/// Who reads the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// A browser going to a page: redirects and pages serve it.
    Navigation,
    /// A browser going to a page by a method that a redirect would change (a form's POST): a page, but no
    /// redirect.
    Submission,
    /// A page of another site shows this in a frame, seen or unseen: a page, but no redirect, which would begin a login
    /// that nobody asked for. The own cookies do not ride into such a frame.
    Framed,
    /// fetch, XHR, images, WebSockets, API clients: a status and JSON.
    Program,
    /// gRPC: HTTP 200 and a `grpc-status`.
    Grpc,
}

impl Audience {
    /// Whether a person reads it, as a page.
    pub fn is_person(self) -> bool {
        match self {
            Self::Navigation | Self::Submission | Self::Framed => true,
            Self::Program | Self::Grpc => false,
        }
    }
}

/// Whether another site makes the browser change something (Fetch Metadata §2.4). What is no browser, and an old one, does
/// not say where a request comes from: such a one is for `SameSite` and for the app.
pub fn is_cross_site_write(method: &Method, headers: &HeaderMap) -> bool {
    let mut sites = headers.get_all("sec-fetch-site").iter();
    !method.is_safe() && sites.any(|site| site == "cross-site")
}

/// Fetch Metadata first (`Sec-Fetch-Mode`, `Sec-Fetch-Dest`), `Accept` where it is absent.
pub fn of(method: &Method, headers: &HeaderMap) -> Audience {
    let mut signs = ClientHints::default();
    for (name, value) in headers {
        signs.note(name.as_str(), value);
    }
    signs.audience(method, headers)
}

/// The headers that tell who reads the answer, noted in one pass over a request: of each the first.
#[derive(Default)]
pub struct ClientHints<'a> {
    kind: Option<&'a HeaderValue>,
    mode: Option<&'a HeaderValue>,
    destination: Option<&'a HeaderValue>,
    site: Option<&'a HeaderValue>,
    purposes: [Option<&'a HeaderValue>; 4],
    requested_with: Option<&'a HeaderValue>,
    authorization: Option<&'a HeaderValue>,
    upgrades: bool,
}

impl<'a> ClientHints<'a> {
    /// Notes one header.
    #[inline]
    pub fn note(&mut self, name: &str, value: &'a HeaderValue) {
        // By length first, so that most names are told from all of them at once.
        let sign = match name.len() {
            5 if name == "x-moz" => &mut self.purposes[3],
            7 if name == "purpose" => &mut self.purposes[1],
            9 if name == "x-purpose" => &mut self.purposes[2],
            7 if name == "upgrade" => {
                self.upgrades = true;
                return;
            }
            11 if name == "sec-purpose" => &mut self.purposes[0],
            12 if name == "content-type" => &mut self.kind,
            13 if name == "authorization" => &mut self.authorization,
            14 if name == "sec-fetch-mode" => &mut self.mode,
            14 if name == "sec-fetch-dest" => &mut self.destination,
            14 if name == "sec-fetch-site" => &mut self.site,
            16 if name == "x-requested-with" => &mut self.requested_with,
            _ => return,
        };
        sign.get_or_insert(value);
    }

    /// Who it is. `headers` are those that were noted, all of them.
    pub fn audience(&self, method: &Method, headers: &HeaderMap) -> Audience {
        if self.is_grpc() {
            return Audience::Grpc;
        }
        let is_person = match self.mode {
            Some(mode) => mode == "navigate" && self.opens_a_page() && !self.is_speculative(),
            None => self.looks_like_a_browser(headers),
        };
        match (is_person, *method == Method::GET || *method == Method::HEAD) {
            (true, _) if self.is_in_anothers_frame() => Audience::Framed,
            (true, true) => Audience::Navigation,
            (true, false) => Audience::Submission,
            (false, _) => Audience::Program,
        }
    }

    /// gRPC over HTTP/2 and gRPC-Web; no form and no plain link can send this type.
    fn is_grpc(&self) -> bool {
        let Some(kind) = text(self.kind) else {
            return false;
        };
        let essence = kind.split(';').next().unwrap_or_default().trim();
        let Some((prefix, rest)) = essence.split_at_checked("application/grpc".len()) else {
            return false;
        };
        prefix.eq_ignore_ascii_case("application/grpc")
            && (rest.is_empty() || rest.starts_with(['+', '-']))
    }

    /// Windows and frames. A download (`<a download>`) navigates with the destination `empty`: redirected,
    /// it would save the sign-in page under the file's name; `embed` and `object` show no page of ours.
    fn opens_a_page(&self) -> bool {
        self.destination
            .is_none_or(|destination| PAGES.iter().any(|page| destination == page))
    }

    /// Whether a page of another site shows it. A page of a sibling host may: the own cookies ride into its frame, and where the
    /// provider knows the user a login is through without a word.
    fn is_in_anothers_frame(&self) -> bool {
        let is_top = self
            .destination
            .is_none_or(|destination| destination == "document");
        !is_top && self.site.is_some_and(|site| site == "cross-site")
    }

    /// A prefetch or prerender: nobody asked for the page yet, so it must not begin a login.
    fn is_speculative(&self) -> bool {
        self.purposes
            .iter()
            .filter_map(|purpose| text(*purpose))
            .map(str::to_ascii_lowercase)
            .any(|purpose| SPECULATIVE.iter().any(|word| purpose.contains(word)))
    }

    /// The rule for clients that send no Fetch Metadata.
    fn looks_like_a_browser(&self, headers: &HeaderMap) -> bool {
        let is_script = self
            .requested_with
            .is_some_and(|by| by.as_bytes().eq_ignore_ascii_case(b"XMLHttpRequest"));
        let has_token = text(self.authorization)
            .and_then(|credentials| credentials.get(..7))
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer "));
        !is_script
            && !has_token
            && !self.upgrades
            && !self.is_speculative()
            && headers
                .get_all(ACCEPT)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .flat_map(|value| value.split(','))
                .any(accepts_html)
    }
}

/// Whether one media range of `Accept` names HTML and does not refuse it (RFC 9110 §12.4.2: `q=0`).
/// `*/*` does not count: every API client sends it.
fn accepts_html(range: &str) -> bool {
    let mut parts = range.split(';').map(str::trim);
    let is_html = parts.next().is_some_and(|essence| {
        essence.eq_ignore_ascii_case("text/html")
            || essence.eq_ignore_ascii_case("application/xhtml+xml")
    });
    is_html
        && !parts.any(|parameter| {
            parameter.split_once('=').is_some_and(|(name, value)| {
                name.trim().eq_ignore_ascii_case("q")
                    && value.trim().parse().is_ok_and(|weight: f32| weight <= 0.0)
            })
        })
}

fn text(value: Option<&HeaderValue>) -> Option<&str> {
    value?.to_str().ok()
}

/// Whether a request is sent ahead of a person's wish, and must change nothing.
pub fn is_speculative(headers: &HeaderMap) -> bool {
    let mut signs = ClientHints::default();
    for (name, value) in headers {
        signs.note(name.as_str(), value);
    }
    signs.is_speculative()
}

/// What browsers write into `Sec-Purpose`, and wrote into `Purpose`, `X-Purpose` and `X-Moz` before: Safari says `preview`.
const SPECULATIVE: [&str; 3] = ["prefetch", "prerender", "preview"];

/// The values of `Sec-Fetch-Dest` behind which a person looks at a page.
const PAGES: [&str; 4] = ["document", "iframe", "frame", "fencedframe"];

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::{Audience::*, *};

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    const HTML: (&str, &str) = (
        "accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    );

    #[test]
    fn fetch_metadata_decides_where_it_is_there() {
        let mode = |mode| ("sec-fetch-mode", mode);
        let dest = |dest| ("sec-fetch-dest", dest);
        let site = |site| ("sec-fetch-site", site);
        let table: &[(&[(&str, &str)], Audience)] = &[
            (&[mode("navigate"), dest("document")], Navigation),
            (&[mode("navigate"), dest("iframe")], Navigation),
            (&[mode("navigate"), dest("frame")], Navigation),
            (&[mode("navigate")], Navigation),
            (
                &[mode("navigate"), dest("iframe"), site("cross-site")],
                Framed,
            ),
            (
                &[mode("navigate"), dest("frame"), site("cross-site")],
                Framed,
            ),
            (
                &[mode("navigate"), dest("fencedframe"), site("cross-site")],
                Framed,
            ),
            (
                &[mode("navigate"), dest("object"), site("cross-site")],
                Program,
            ),
            (
                &[mode("navigate"), dest("iframe"), site("same-site")],
                Navigation,
            ),
            (
                &[mode("navigate"), dest("iframe"), site("same-origin")],
                Navigation,
            ),
            (
                &[mode("navigate"), dest("document"), site("cross-site")],
                Navigation,
            ),
            (
                &[mode("no-cors"), dest("image"), site("cross-site")],
                Program,
            ),
            (&[mode("navigate"), dest("empty")], Program),
            (&[mode("navigate"), dest("object")], Program),
            (&[mode("navigate"), dest("embed")], Program),
            (&[mode("cors"), dest("empty"), HTML], Program),
            (&[mode("same-origin"), dest("empty"), HTML], Program),
            (&[mode("no-cors"), dest("image")], Program),
            (&[mode("no-cors"), dest("script"), HTML], Program),
            (&[mode("websocket"), dest("empty"), HTML], Program),
            (&[mode("nested-navigate"), HTML], Program),
            (&[mode(""), HTML], Program),
            (
                &[mode("navigate"), ("sec-purpose", "prefetch"), HTML],
                Program,
            ),
            (
                &[
                    mode("navigate"),
                    ("sec-purpose", "prefetch;prerender"),
                    HTML,
                ],
                Program,
            ),
        ];
        for (lines, expected) in table {
            let lines: Vec<_> = lines.to_vec();
            let mut map = HeaderMap::new();
            for (name, value) in &lines {
                map.append(
                    HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                );
            }
            assert_eq!(of(&Method::GET, &map), *expected, "{lines:?}");
        }
    }

    #[test]
    fn accept_decides_where_fetch_metadata_is_absent() {
        let accept = |value: &'static str| headers(&[("accept", value)]);
        assert_eq!(of(&Method::GET, &headers(&[HTML])), Navigation);
        assert_eq!(of(&Method::GET, &accept("TEXT/HTML")), Navigation);
        assert_eq!(
            of(&Method::GET, &accept("application/json, text/html;q=0.1")),
            Navigation
        );
        assert_eq!(of(&Method::GET, &accept("text/html;q=0")), Program);
        assert_eq!(
            of(&Method::GET, &accept("text/html; Q=0.000, */*")),
            Program
        );
        assert_eq!(of(&Method::GET, &accept("*/*")), Program);
        assert_eq!(of(&Method::GET, &accept("application/json")), Program);
        assert_eq!(of(&Method::GET, &accept("text/htmlx")), Program);
        assert_eq!(of(&Method::GET, &HeaderMap::new()), Program);
    }

    #[test]
    fn scripts_tokens_upgrades_and_prefetches_are_programs() {
        for line in [
            ("x-requested-with", "XMLHttpRequest"),
            ("authorization", "Bearer abc"),
            ("authorization", "bearer abc"),
            ("upgrade", "websocket"),
            ("purpose", "prefetch"),
            ("x-purpose", "prefetch"),
            ("x-purpose", "preview"),
            ("x-moz", "prefetch"),
        ] {
            assert_eq!(
                of(&Method::GET, &headers(&[HTML, line])),
                Program,
                "{line:?}"
            );
        }
        let basic = headers(&[HTML, ("authorization", "Basic YTpi")]);
        assert_eq!(of(&Method::GET, &basic), Navigation);
    }

    #[test]
    fn a_method_that_a_redirect_would_change_is_a_submission() {
        let navigate = headers(&[
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ]);
        for (method, expected) in [
            (Method::GET, Navigation),
            (Method::HEAD, Navigation),
            (Method::POST, Submission),
            (Method::PUT, Submission),
        ] {
            assert_eq!(of(&method, &navigate), expected);
            assert_eq!(of(&method, &headers(&[HTML])), expected);
        }
    }

    #[test]
    fn grpc_is_told_by_its_content_type() {
        let kind = |value: &'static str| headers(&[("content-type", value), HTML]);
        for value in [
            "application/grpc",
            "application/grpc+proto",
            "Application/gRPC;charset=utf-8",
            "application/grpc-web+proto",
            "application/grpc-web-text",
        ] {
            assert_eq!(of(&Method::POST, &kind(value)), Grpc, "{value}");
        }
        for value in ["application/grpcx", "application/json", "application/gr"] {
            assert_eq!(of(&Method::POST, &kind(value)), Submission, "{value}");
        }
    }

    proptest! {
        /// Whatever the headers say, a request that is no GET or HEAD is never answered by a redirect.
        #[test]
        fn only_get_and_head_navigate(mode in "\\PC{0,12}", accept in "\\PC{0,40}", method in "[A-Z]{1,8}") {
            let mut map = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_str(&mode) {
                map.insert("sec-fetch-mode", value);
            }
            if let Ok(value) = HeaderValue::from_str(&accept) {
                map.insert(ACCEPT, value);
            }
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            if of(&method, &map) == Navigation {
                prop_assert!(method == Method::GET || method == Method::HEAD);
            }
        }
    }
}
