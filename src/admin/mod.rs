//! The admin listener: health, metrics, sessions, tokens and grants, apart from the public port. Whoever reaches it may use it.

mod desk;
mod grants;
mod guard;
mod metrics;
mod reload;
mod sessions;
mod signing_keys;
mod tokens;

use std::{net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use http::{HeaderValue, Method, Request, Response, StatusCode, header::ALLOW};
use hyper::body::Incoming;

use self::{desk::Desk, metrics::Exposition, sessions::Problem};
use crate::{
    answer::reply,
    endpoint::health,
    listen::{Listener, SideEnd, SideService, serve_aside},
    response::Body,
    snapshot::Snapshot,
};

/// The most connections at once. A scrape takes a millisecond; more than this is no scrape.
const CONNECTIONS: usize = 64;

/// Serves `/ping`, `/ready`, `/metrics`, `/reload`, `/sessions`, `/tokens`, `/grants` and `/signing_keys` on `listener`, until the `end`.
/// Whoever asks whether the gate stops is answered until it has. There may be `most` connections at once, if that is few.
pub async fn serve(listener: Listener, most: usize, current: Arc<ArcSwap<Snapshot>>, end: SideEnd) {
    tracing::info!(address = listener.place(), "admin listening");
    let exposition = Exposition::new(&current);
    let service = Service {
        current,
        exposition,
    };
    serve_aside(listener, most.min(CONNECTIONS), service, end).await;
}

struct Service {
    current: Arc<ArcSwap<Snapshot>>,
    exposition: Exposition,
}

impl SideService for Service {
    const KEY: &'static str = "admin_listen";

    /// `peer` is where the operator is.
    async fn answer(&self, request: Request<Incoming>, peer: Option<IpAddr>) -> Response<Body> {
        let snapshot = self.current.load_full();
        let (headers, uri) = (request.headers(), request.uri());
        let path = uri.path();
        match path {
            "/ping" => return health::ping(),
            "/ready" => return health::ready_in_detail(&snapshot),
            _ => {}
        }
        let below = |place: &str| match path.strip_prefix(place) {
            Some("") => Some(None),
            Some(rest) => rest.strip_prefix('/').map(Some),
            None => None,
        };
        let (session, token, grant) = (below("/sessions"), below("/tokens"), below("/grants"));
        let is_keys = path == "/signing_keys";
        let is_known = session.is_some() || token.is_some() || grant.is_some() || is_keys;
        if !matches!(path, "/metrics" | "/reload") && !is_known {
            let text = "there is /ping, /ready, /metrics, /reload, /sessions, /tokens, /grants and /signing_keys\n";
            return reply::text(StatusCode::NOT_FOUND, text);
        }
        // Scrapers ask by whatever name they have been given, and numbers are no secret worth more than that.
        // No browser opens a Unix socket.
        let is_named = is_known && peer.is_some();
        let refused = guard::refuse_pages(headers).and_then(|()| {
            if is_named {
                guard::refuse_names(headers)
            } else {
                Ok(())
            }
        });
        if let Err(message) = refused {
            return Problem::new(StatusCode::FORBIDDEN, "forbidden", message).answer();
        }
        let (method, query) = (request.method(), uri.query());
        if is_keys {
            return signing_keys::serve(method, Desk::new(&snapshot, peer)).await;
        }
        if let Some(name) = session {
            return sessions::serve(method, name, query, Desk::new(&snapshot, peer)).await;
        }
        if let Some(name) = grant {
            return grants::serve(method, name, query, Desk::new(&snapshot, peer)).await;
        }
        match token {
            Some(name) => tokens::serve(method, name, query, Desk::new(&snapshot, peer)).await,
            None if matches!(*method, Method::GET | Method::HEAD) => {
                if path == "/reload" {
                    reload::serve(&snapshot.metrics.reloads.last())
                } else {
                    self.exposition.serve()
                }
            }
            None => {
                let mut answer = reply::text(StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD\n");
                let allow = HeaderValue::from_static("GET, HEAD");
                answer.headers_mut().insert(ALLOW, allow);
                answer
            }
        }
    }
}
