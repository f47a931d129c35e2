//! `/tokens`: operators list and end API tokens.

use http::{Method, Response, StatusCode};
use serde::Serialize;

use super::{
    Desk,
    sessions::{Problem, Whose},
};
use crate::{
    answer::reply,
    api_token::{Enabled, TokenName},
    clock::{self, Timestamp},
    endpoint::tokens::ListedToken,
    response::Body,
    session::directory::UserKey,
};

/// Serves `/tokens` (`name` is none) and `/tokens/ID`.
pub(super) async fn serve(
    method: &Method,
    name: Option<&str>,
    query: Option<&str>,
    desk: Desk<'_>,
) -> Response<Body> {
    let Some(enabled) = &desk.snapshot.api_tokens else {
        let message = "there are no API tokens here: [api_tokens] is not set";
        return Problem::new(StatusCode::NOT_FOUND, "no_api_tokens", message).answer();
    };
    let now = clock::now();
    let served = match (method, name) {
        (&Method::GET, None) => list(query, enabled, now).await,
        (&Method::DELETE, None) => end_several(query, desk, enabled, now).await,
        (&Method::DELETE, Some(name)) => end_one(name, desk, enabled, now).await,
        (_, name) => return Problem::method_not_allowed(name.is_some()),
    };
    served.unwrap_or_else(|problem| problem.answer())
}

#[derive(Serialize)]
struct Tokens {
    user: String,
    tokens: Vec<ListedToken>,
}

#[derive(Serialize)]
struct Ended {
    ended: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<usize>,
}

async fn list(
    query: Option<&str>,
    enabled: &Enabled,
    now: Timestamp,
) -> Result<Response<Body>, Problem> {
    let Ok(Whose::User { provider, subject }) = Whose::read(query) else {
        let message = "tokens are listed by user: user=PROVIDER:SUBJECT";
        return Err(Problem::bad_request(message));
    };
    let user = UserKey::new(&provider, &subject);
    let listed = enabled.tokens.list(&user, now).await?;
    let answer = Tokens {
        user: format!("{provider}:{subject}"),
        tokens: listed.iter().map(ListedToken::from).collect(),
    };
    Ok(reply::json(StatusCode::OK, &answer))
}

async fn end_several(
    query: Option<&str>,
    desk: Desk<'_>,
    enabled: &Enabled,
    now: Timestamp,
) -> Result<Response<Body>, Problem> {
    let (ended, tokens) = match Whose::read(query)? {
        Whose::Everybody => {
            enabled.tokens.end_everybodys(now).await?;
            ("everybody".to_owned(), None)
        }
        Whose::User { provider, subject } => {
            let user = UserKey::new(&provider, &subject);
            let ended = enabled.tokens.end_all(&user, now).await?;
            for token in &ended {
                desk.note_token(&token.start, &token.name);
            }
            (format!("{provider}:{subject}"), Some(ended.len()))
        }
    };
    tracing::info!(
        whose = ended,
        tokens,
        "API tokens were ended by an operator"
    );
    desk.note("tokens_ended", &ended, None);
    Ok(reply::json(StatusCode::OK, &Ended { ended, tokens }))
}

async fn end_one(
    name: &str,
    desk: Desk<'_>,
    enabled: &Enabled,
    now: Timestamp,
) -> Result<Response<Body>, Problem> {
    let unknown = || {
        let message = "no token of that id is known here; it may have ended";
        Problem::new(StatusCode::NOT_FOUND, "unknown_token", message)
    };
    let parsed = TokenName::parse(name).ok_or_else(unknown)?;
    let ended = enabled
        .tokens
        .end(&parsed, now)
        .await?
        .ok_or_else(unknown)?;
    tracing::info!(token = ended.start, "an API token was ended by an operator");
    desk.note_token(&ended.start, &ended.name);
    desk.note("tokens_ended", &ended.start, None);
    let ended = Ended {
        ended: parsed.to_string(),
        tokens: Some(1),
    };
    Ok(reply::json(StatusCode::OK, &ended))
}
