//! The two made-up users, and the page that lets a visitor be one of them.
//!
//! Who signs people in is a gate of its own, with `[issuer]`. The page is its app, and here it also finds its users: as a provider of
//! `type = "oauth2"` that takes anybody's word. A code and an access token are the name of the user who was picked.

use askama::Template;
use http::{HeaderMap, Method, StatusCode, header::AUTHORIZATION, request::Parts};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    page::{self, Message},
    server::{self, Request, Response},
};
use crate::issuer::parameters::Parameters;

/// Whom the page serves.
#[derive(Clone, Debug)]
pub(super) struct PickerSettings {
    /// The application that asks, as the page names it.
    pub(super) client_id: &'static str,
    /// Its origin: the form of the page ends up there.
    pub(super) app_origin: String,
    /// Where the user who was picked is sent to.
    pub(super) callback: Url,
}

/// Serves the page and the users until `shutdown`.
pub(super) async fn serve(
    listener: TcpListener,
    settings: PickerSettings,
    shutdown: CancellationToken,
) {
    server::serve(listener, shutdown, move |request| {
        let settings = settings.clone();
        async move { settings.answer(request).await }
    })
    .await;
}

impl PickerSettings {
    async fn answer(&self, request: Request) -> Response {
        let (head, body) = request.into_parts();
        match (&head.method, head.uri.path()) {
            (&Method::GET | &Method::HEAD, PICK) => self.show(&head),
            (&Method::POST, PICK) => match picked(body, "user").await {
                Some(user) => self.send_back(&head, user),
                None => say(
                    StatusCode::BAD_REQUEST,
                    "That did not work",
                    "There is no such user here.",
                ),
            },
            (&Method::POST, TOKEN) => match picked(body, "code").await {
                Some(user) => page::json(
                    StatusCode::OK,
                    &json!({ "access_token": user.login, "token_type": "Bearer" }),
                ),
                None => page::json(
                    StatusCode::BAD_REQUEST,
                    &json!({ "error": "invalid_grant" }),
                ),
            },
            (&Method::GET, USERINFO) => match holder(&head.headers) {
                Some(user) => page::json(StatusCode::OK, &user.claims()),
                None => page::text(StatusCode::UNAUTHORIZED, "nobody\n"),
            },
            (_, "/") => say(
                StatusCode::OK,
                "A provider for the demo",
                "It signs people in for the sidegate demo: two made-up users, no password. There is \
                 nothing to do here; open the address that the demo printed.",
            ),
            _ => say(
                StatusCode::NOT_FOUND,
                "Nothing here",
                "The demo provider has no page at this address.",
            ),
        }
    }

    fn show(&self, head: &Parts) -> Response {
        let nonce = page::nonce();
        let picker = Picker {
            nonce: &nonce,
            client_id: self.client_id,
            action: head.uri.path_and_query().map_or(PICK, |path| path.as_str()),
            users: &USERS,
            footer: FOOTER,
        };
        let form_targets = [self.app_origin.clone()];
        page::html(StatusCode::OK, &picker, &nonce, &form_targets)
    }

    fn send_back(&self, head: &Parts, user: &User) -> Response {
        let query = head.uri.query().unwrap_or_default();
        let parameters = Parameters::parse(query.as_bytes()).unwrap_or_default();
        let mut location = self.callback.clone();
        location
            .query_pairs_mut()
            .append_pair("code", user.login)
            .append_pair("state", parameters.get("state").unwrap_or_default());
        page::see_other(location.as_str())
    }
}

/// The user whom a form names in `field`.
async fn picked(body: Incoming, field: &str) -> Option<&'static User> {
    let form = Limited::new(body, LARGEST_FORM).collect().await.ok()?;
    let form = Parameters::parse(&form.to_bytes()).ok()?;
    User::find(form.get(field)?)
}

/// The user whose access token this is.
fn holder(headers: &HeaderMap) -> Option<&'static User> {
    let credentials = headers.get(AUTHORIZATION)?.to_str().ok()?;
    User::find(credentials.strip_prefix("Bearer ")?)
}

#[derive(Template)]
#[template(path = "demo/picker.html")]
struct Picker<'a> {
    nonce: &'a str,
    client_id: &'a str,
    action: &'a str,
    users: &'static [User],
    footer: &'a str,
}

fn say(status: StatusCode, title: &str, text: &str) -> Response {
    let nonce = page::nonce();
    let message = Message {
        nonce: &nonce,
        place: "Demo provider",
        title,
        text,
        bad: status.is_client_error(),
        link: None,
        footer: FOOTER,
    };
    page::html(status, &message, &nonce, &[])
}

/// Somebody who can sign in at the demo provider.
struct User {
    subject: &'static str,
    login: &'static str,
    name: &'static str,
    initials: &'static str,
    email: &'static str,
    groups: &'static [&'static str],
}

/// Everybody there is.
static USERS: [User; 2] = [
    User {
        subject: "demo-18151210",
        login: "ada",
        name: "Ada Lovelace",
        initials: "AL",
        email: "ada@demo.example",
        groups: &["admins", "engineers"],
    },
    User {
        subject: "demo-19061209",
        login: "grace",
        name: "Grace Hopper",
        initials: "GH",
        email: "grace@demo.example",
        groups: &["engineers"],
    },
];

impl User {
    fn find(login: &str) -> Option<&'static Self> {
        USERS.iter().find(|user| user.login == login)
    }

    fn claims(&self) -> Value {
        json!({
            "sub": self.subject,
            "preferred_username": self.login,
            "name": self.name,
            "email": self.email,
            "email_verified": true,
            "groups": self.groups,
        })
    }
}

/// Where the page is.
pub(super) const PICK: &str = "/pick";
/// Where codes become tokens.
pub(super) const TOKEN: &str = "/token";
/// Where tokens become users.
pub(super) const USERINFO: &str = "/userinfo";

const LARGEST_FORM: usize = 16 * 1024;

const FOOTER: &str = "Demo provider: two made-up users, no password. Nothing leaves this machine.";
