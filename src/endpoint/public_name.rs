//! Redirects a browser that came by another host name to `public_url` before a login begins. Cookies belong to a host: a login that
//! begins under one name and returns under another is lost.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Response, StatusCode, header::SET_COOKIE};
use url::form_urlencoded;

use super::Endpoint;
use crate::{
    answer::reply,
    audience::Audience,
    clean::CleanRequest,
    response::Body,
    site::{Site, is_path},
    snapshot::Snapshot,
};

/// A redirect to the same address below `public_url`, whatever host the request names; from another app that shares the
/// login, to the sign-in page there, which leads back. None where it came for `public_url`, or is no person's navigation.
///
/// None either where the browser was led there a moment ago: then something in front writes another `Host`, and to lead
/// it there again would never end. A cookie tells: a browser that really comes from another name does not bring it.
pub fn lead_there(snapshot: &Snapshot, request: &CleanRequest) -> Option<Response<Body>> {
    if request.is_for_public_url || request.audience != Audience::Navigation {
        return None;
    }
    let (target, cookies) = (request.target(), &snapshot.sessions.cookies);
    let mark = mark_of(target);
    let found = cookies.find(&request.head.headers);
    if found.led == Some(&mark) {
        return None;
    }
    let host = &request.forwarding.seen().host;
    let there = match snapshot.site.app_origin(host) {
        Some(app) => login_from(&snapshot.site, &app, request),
        None => format!("{}{target}", snapshot.site.origin()),
    };
    let mut response = reply::redirect(StatusCode::FOUND, &there);
    let headers = response.headers_mut();
    headers.append(SET_COOKIE, cookies.write_led(&mark));
    // Else whoever is signed in at `public_url` would be sent back at once, and here be nobody again.
    for cookie in cookies.expire_hiding(found.session_cookies) {
        headers.append(SET_COOKIE, cookie);
    }
    Some(response)
}

/// The address below `public_url` at which a login begins that leads back to `app`, the origin of another app.
fn login_from(site: &Site, app: &str, request: &CleanRequest) -> String {
    if Endpoint::find(site, request.path()).is_none() {
        let sign_in = site.sign_in(&format!("{app}{}", request.target()));
        return site.origin() + &sign_in;
    }
    // A page of the gate's: what it was asked for goes along, and a way back without a host means this one.
    let mut query = form_urlencoded::Serializer::new(String::new());
    let mut back = None;
    for (key, value) in form_urlencoded::parse(request.query().unwrap_or_default().as_bytes()) {
        match (&*key, &mut back) {
            ("rd", Some(_)) => {}
            ("rd", back) => *back = Some(value.into_owned()),
            _ => _ = query.append_pair(&key, &value),
        }
    }
    let back = match back.as_deref() {
        None => format!("{app}/"),
        Some(path) if is_path(path) => format!("{app}{path}"),
        Some(other) => other.to_owned(),
    };
    let query = query.append_pair("rd", &back).finish();
    format!("{}{}?{query}", site.origin(), request.path())
}

/// Names an address without saying it.
fn mark_of(target: &str) -> String {
    let digest = digest(&SHA256, target.as_bytes());
    URL_SAFE_NO_PAD.encode(&digest.as_ref()[..12])
}
