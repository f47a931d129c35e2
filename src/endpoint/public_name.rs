//! Leads whoever opened the gate under another name than `public_url`'s to that one before a login begins. Cookies hang
//! on the host: a login that begins under one name and comes back under another is lost.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Response, StatusCode, header::SET_COOKIE};

use crate::{
    answer::reply, audience::Audience, clean::CleanRequest, response::Body, snapshot::Snapshot,
};

/// A redirect to the same address below `public_url`, whatever host the request names; none where it came for
/// `public_url`, or is no person's navigation.
///
/// None either where the browser was led there a moment ago: then something in front writes another `Host`, and to lead
/// it there again would never end. A cookie tells: a browser that really comes from another name does not bring it.
pub fn lead_there(snapshot: &Snapshot, request: &CleanRequest) -> Option<Response<Body>> {
    if request.is_for_public_url || request.audience != Audience::Navigation {
        return None;
    }
    let (target, cookies) = (request.target(), &snapshot.sessions.cookies);
    let mark = mark_of(target);
    if cookies.find(&request.head.headers).led == Some(&mark) {
        return None;
    }
    let there = format!("{}{target}", snapshot.site.origin());
    let mut response = reply::redirect(StatusCode::FOUND, &there);
    let cookie = cookies.write_led(&mark);
    response.headers_mut().append(SET_COOKIE, cookie);
    Some(response)
}

/// Names an address without saying it.
fn mark_of(target: &str) -> String {
    let digest = digest(&SHA256, target.as_bytes());
    URL_SAFE_NO_PAD.encode(&digest.as_ref()[..12])
}
