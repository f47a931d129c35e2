//! What is set, and what is removed.

use http::{HeaderName, header::LOCATION};

use super::*;

fn refused(status: StatusCode, headers: &[(HeaderName, &'static str)]) -> DeniedHttpResponse {
    let mut response = Response::new(Body::from("why"));
    *response.status_mut() = status;
    for (name, value) in headers {
        response
            .headers_mut()
            .append(name, HeaderValue::from_static(value));
    }
    let answer = refuse(response);
    assert_ne!(answer.status.unwrap().code, OK);
    match answer.http_response {
        Some(HttpResponse::Denied(denied)) => denied,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_refusal_is_what_the_client_gets() {
    let denied = refused(
        StatusCode::FOUND,
        &[
            (LOCATION, "https://app.example.com/oauth2/sign_in"),
            (CONTENT_LENGTH, "3"),
            (SET_COOKIE, "a=1"),
            (SET_COOKIE, "b=2"),
        ],
    );
    assert_eq!(denied.status, Some(HttpStatus { code: 302 }));
    assert_eq!(denied.body, "why");
    let lines: Vec<_> = denied
        .headers
        .iter()
        .map(|option| {
            let line = option.header.as_ref().unwrap();
            (&*line.key, &*line.value, option.append.is_some())
        })
        .collect();
    assert_eq!(
        lines,
        [
            ("location", "https://app.example.com/oauth2/sign_in", false),
            ("set-cookie", "a=1", true),
            ("set-cookie", "b=2", true),
        ]
    );
}
