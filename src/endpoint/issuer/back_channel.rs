//! The endpoints that clients call themselves, without a browser: a form, and a proof of who sends it (RFC 6749 §2.3).
//!
//! All of them begin and end alike: the sender's address is counted, the form is read, the client authenticates, and whoever was served
//! is not counted after all. So who guesses tokens or secrets is slowed down, and nobody else is.

use http::{HeaderMap, Response, header::ORIGIN};

use super::{
    answer::{Failure, admit, read_form, sender},
    client::authenticate,
    client_request::ClientRequest,
    device, introspect, par, revoke, token,
};
use crate::{
    clean::CleanRequest,
    clock,
    issuer::{
        Issuer, Throttles,
        client::{Client, Kind},
        error::{Code, OAuthError},
    },
    login::throttle::Throttle,
    observe::Record,
    response::Body,
    snapshot::Snapshot,
};

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackChannel {
    /// `PREFIX/token`
    Token,
    /// `PREFIX/revoke`
    Revoke,
    /// `PREFIX/introspect`
    Introspect,
    /// `PREFIX/device_authorization`
    DeviceAuthorization,
    /// `PREFIX/par`
    Par,
}

impl BackChannel {
    /// The last segment of its address.
    fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Revoke => "revoke",
            Self::Introspect => "introspect",
            Self::DeviceAuthorization => "device_authorization",
            Self::Par => "par",
        }
    }

    fn throttle(self, throttles: &Throttles) -> &Throttle {
        match self {
            Self::Token | Self::Revoke | Self::Introspect => &throttles.token,
            Self::DeviceAuthorization => &throttles.device,
            Self::Par => &throttles.par,
        }
    }

    /// Whether a request of `client` that was served counts. Anybody may fill the place where requests and programs wait for their users,
    /// by a secret that they registered for, too; and the place where used assertions are kept, by keys of their own.
    fn counts_success(self, client: &Client) -> bool {
        match self {
            Self::Token | Self::Introspect => false,
            Self::Revoke => client.kind == Kind::Document && !client.is_public(),
            Self::DeviceAuthorization | Self::Par => !client.is_vouched_for(),
        }
    }

    async fn work(
        self,
        request: &ClientRequest<'_>,
        record: &mut Record,
    ) -> Result<Response<Body>, Failure> {
        match self {
            Self::Token => token::give(request, record).await,
            Self::Revoke => revoke::revoke(request, record).await,
            Self::Introspect => introspect::introspect(request).await,
            Self::DeviceAuthorization => device::begin(request).await,
            Self::Par => par::push(request, record).await,
        }
    }
}

/// Whether a browser sends it for a page. Such a request comes from where the page's visitor is: what a user is shown of the program that
/// asks would be their own address.
fn comes_from_a_page(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site");
    headers.contains_key(ORIGIN) || site.is_some_and(|site| site != "none")
}

/// Serves one.
pub(super) async fn serve(
    at: BackChannel,
    snapshot: &Snapshot,
    issuer: &Issuer,
    request: Box<CleanRequest>,
    record: &mut Record,
) -> Response<Body> {
    let sender = sender(&request);
    let throttle = at.throttle(&issuer.state.throttles);
    let served = async {
        let headers = &request.head.headers;
        if at == BackChannel::DeviceAuthorization && comes_from_a_page(headers) {
            const PAGE: &str = "a page of a browser begins no device flow: use the code flow";
            return Err(OAuthError::new(Code::InvalidRequest, PAGE).into());
        }
        admit(throttle, &sender)?;
        let form = read_form(headers, request.body).await?;
        if at == BackChannel::Token {
            // Before the client's assertion is spent: who gets no token may ask again.
            issuer.signing.keys().await?;
        }
        let keys = &snapshot.sessions.keys;
        let client = authenticate(issuer, keys, headers, &form, (&sender, at.name())).await?;
        let client_request = ClientRequest {
            snapshot,
            issuer,
            client,
            form,
            address: request.client.address,
            now: clock::now(),
        };
        let answer = at.work(&client_request, record).await?;
        Ok::<_, Failure>((answer, at.counts_success(&client_request.client)))
    };
    match served.await {
        Ok((answer, counts)) => {
            if !counts {
                throttle.give_back(&sender);
            }
            answer
        }
        Err(failure) => {
            if failure.is_patience() {
                throttle.give_back(&sender);
            }
            failure.answer(record)
        }
    }
}
