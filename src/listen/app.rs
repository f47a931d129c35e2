//! The app's own listener (`app.listen`): there it asks for the access tokens of its users, and nothing else is served.

use std::{net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use http::{HeaderValue, Method, Request, Response, StatusCode, header::ALLOW};
use hyper::body::Incoming;

use super::{Listener, SideEnd, SideService, side};
use crate::{
    answer::reply,
    endpoint::app_token,
    observe::{Recorder, Verdict},
    response::Body,
    snapshot::Snapshot,
};

/// Answers the app on `listener`, by the configuration of the moment, until the `end`, `most` connections at once.
pub async fn serve(
    listener: Listener,
    most: usize,
    current: Arc<ArcSwap<Snapshot>>,
    recorder: Arc<Recorder>,
    end: SideEnd,
) {
    tracing::info!(address = listener.place(), "listening for the app");
    side::serve(listener, most, Service { current, recorder }, end).await;
}

struct Service {
    current: Arc<ArcSwap<Snapshot>>,
    recorder: Arc<Recorder>,
}

impl SideService for Service {
    const KEY: &'static str = "app.listen";

    async fn answer(&self, request: Request<Incoming>, peer: Option<IpAddr>) -> Response<Body> {
        let snapshot = self.current.load_full();
        let (method, path) = (request.method(), request.uri().path());
        let mut record = self.recorder.begin(method, path);
        record.client = peer.map(|peer| peer.to_canonical());
        record.verdict = Verdict::Own;
        let own = snapshot.site.path("token");
        let response = if path != own {
            record.verdict = Verdict::NotFound;
            reply::text(StatusCode::NOT_FOUND, format!("there is {own}\n"))
        } else if *method == Method::GET {
            app_token::serve(&snapshot, request.headers(), &mut record).await
        } else {
            record.verdict = Verdict::MethodNotAllowed;
            let mut response = reply::text(StatusCode::METHOD_NOT_ALLOWED, "GET\n");
            let allow = HeaderValue::from_static("GET");
            response.headers_mut().insert(ALLOW, allow);
            response
        };
        record.note_answer(response.status());
        response
    }
}
