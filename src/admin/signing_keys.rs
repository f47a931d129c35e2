//! `/signing_keys`: the keys that sign the issuer's tokens. Operators see which, and have the next one sign.

use http::{HeaderValue, Method, Response, StatusCode, header::ALLOW};

use super::{Desk, sessions::Problem};
use crate::{answer::reply, clock, jose::sign::PublicKeys, response::Body};

/// Serves it.
pub(super) async fn serve(method: &Method, desk: Desk<'_>) -> Response<Body> {
    let served = match *method {
        Method::GET => list(desk).await,
        Method::POST => rotate(desk).await,
        _ => {
            let status = StatusCode::METHOD_NOT_ALLOWED;
            let message = "this address takes GET, POST";
            let mut answer = Problem::new(status, "method_not_allowed", message).answer();
            let allow = HeaderValue::from_static("GET, POST");
            answer.headers_mut().insert(ALLOW, allow);
            return answer;
        }
    };
    served.unwrap_or_else(|problem| problem.answer())
}

async fn list(desk: Desk<'_>) -> Result<Response<Body>, Problem> {
    let issuer = desk.snapshot.issuer.as_ref().ok_or_else(none)?;
    let keys = issuer.signing.keys().await?;
    let keys = PublicKeys::of(keys.published());
    Ok(reply::json(StatusCode::OK, &keys))
}

async fn rotate(desk: Desk<'_>) -> Result<Response<Body>, Problem> {
    let issuer = desk.snapshot.issuer.as_ref().ok_or_else(none)?;
    let rotated = issuer.signing.rotate(clock::now()).await?;
    let keys = rotated.ok_or_else(|| {
        let message = "the keys are those of issuer.signing_keys: put another one first there";
        Problem::new(StatusCode::CONFLICT, "own_keys", message)
    })?;
    let first = keys.published().first().map(|key| key.id().to_owned());
    let first = first.unwrap_or_default();
    desk.note("signing_key_rotated", &first, None);
    tracing::info!(key = first, "an operator has had the next key sign tokens");
    Ok(reply::json(
        StatusCode::OK,
        &PublicKeys::of(keys.published()),
    ))
}

fn none() -> Problem {
    let message = "the gate is no authorization server: there is no [issuer]";
    Problem::new(StatusCode::NOT_FOUND, "no_issuer", message)
}
