//! Authorization requests that clients push ahead (RFC 9126): what a browser would carry otherwise, under a short name.
//!
//! Each is sealed under its name: whoever can look into the store learns nothing, and can put nothing there. It is answered once (§4); until
//! then its user may come back to it, after a login or by reloading the page.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use super::{parameters::Parameters, strangers::Strangers};
use crate::{
    clock::Timestamp,
    kv::{self, Store, Table},
    random,
    session::seal::{KeyRing, Purpose},
};

/// Those that wait for their users.
pub struct PushedRequests {
    waiting: Table<String>,
    /// What was pushed lately by clients that nobody vouches for.
    strangers: Strangers,
    keys: Arc<ArcSwap<KeyRing>>,
}

/// Names a pushed request.
pub type RequestName = [u8; 16];

#[derive(Serialize, Deserialize)]
struct Pushed<'a> {
    /// The handle of the client that pushed it.
    client: &'a str,
    query: &'a str,
}

/// Who pushes.
#[derive(Clone, Copy)]
pub struct Pusher<'a> {
    /// The client's handle.
    pub client: &'a str,
    /// Whether the operator knows it, and it has proven who it is.
    pub is_vouched_for: bool,
}

impl PushedRequests {
    /// Those in `store`, sealed under `keys`.
    pub fn new(store: Arc<dyn Store>, keys: Arc<ArcSwap<KeyRing>>) -> Self {
        Self {
            waiting: Table::new(Arc::clone(&store), "pushed-requests", 2),
            strangers: Strangers::new(store, "pushed-counts", LASTS),
            keys,
        }
    }

    /// Keeps a request; its `request_uri`.
    ///
    /// # Errors
    /// When the store does not answer, or is full.
    pub async fn push(
        &self,
        pusher: Pusher<'_>,
        parameters: &Parameters,
        now: Timestamp,
    ) -> Result<String, kv::Error> {
        let name: RequestName = random::bytes();
        let query = parameters.encode();
        let pushed = Pushed {
            client: pusher.client,
            query: &query,
        };
        let plain = postcard::to_allocvec(&pushed).map_err(|error| kv::Error(error.to_string()))?;
        let keys = self.keys.load();
        let sealed = keys.seal(Purpose::PushedRequest, &name, &plain, random::bytes());
        if !pusher.is_vouched_for {
            self.strangers.take(sealed.len(), now).await?;
        }
        self.waiting.put(&name, &sealed, now.after(LASTS)).await?;
        Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(name)))
    }

    /// What `client` has pushed under this name. It stays: whoever has to sign in on the way comes back with the same name.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn find(
        &self,
        client: &str,
        request_uri: &str,
    ) -> Result<Option<(RequestName, Parameters)>, kv::Error> {
        let Some(name) = name(request_uri) else {
            return Ok(None);
        };
        let sealed = self.waiting.get(&name).await?;
        let keys = self.keys.load();
        let plain =
            sealed.and_then(|sealed| keys.open(Purpose::PushedRequest, &name, sealed.as_bytes()));
        Ok(plain.and_then(|plain| {
            let pushed: Pushed<'_> = postcard::from_bytes(&plain).ok()?;
            let parameters = Parameters::parse(pushed.query.as_bytes()).ok()?;
            (pushed.client == client).then_some((name, parameters))
        }))
    }

    /// A request is answered. Whether it was not before: of all who answer, one is the first.
    ///
    /// # Errors
    /// When the store does not answer: then it may have been.
    pub async fn spend(&self, name: &RequestName) -> Result<bool, kv::Error> {
        Ok(self.waiting.take(name).await?.is_some())
    }
}

fn name(request_uri: &str) -> Option<RequestName> {
    let encoded = request_uri.strip_prefix(PREFIX)?;
    if encoded.len() != 22 {
        return None;
    }
    URL_SAFE_NO_PAD.decode(encoded).ok()?.try_into().ok()
}

/// RFC 9126 §2.2.
const PREFIX: &str = "urn:ietf:params:oauth:request_uri:";
/// How long a request waits for its user, who may have to sign in first.
pub const LASTS: Duration = Duration::from_mins(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(store: Arc<dyn Store>, secret: &str) -> PushedRequests {
        let secret = crate::secret::Secret::new(secret.to_owned());
        let keys = KeyRing::new(&[secret], "app.example gate");
        PushedRequests::new(store, Arc::new(ArcSwap::from_pointee(keys)))
    }

    const APP: Pusher<'_> = Pusher {
        client: "app",
        is_vouched_for: false,
    };

    #[tokio::test]
    async fn a_request_is_its_clients_alone_and_is_answered_once() {
        let store: Arc<dyn Store> = Arc::new(kv::Memory::default());
        let waiting = requests(Arc::clone(&store), "one");
        let now = crate::clock::now();
        let parameters = Parameters::parse(b"state=a%26b&nonce=n").unwrap();
        let uri = waiting.push(APP, &parameters, now).await.unwrap();
        let (request, found) = waiting.find("app", &uri).await.unwrap().unwrap();
        assert_eq!(found.get("state"), Some("a&b"));
        for (client, uri) in [
            ("other", &*uri),
            ("app", &uri[1..]),
            ("app", &format!("{uri}A")),
            (
                "app",
                "urn:ietf:params:oauth:request_uri:AAAAAAAAAAAAAAAAAAAAAA",
            ),
            ("app", "https://app.example/request"),
            ("app", ""),
        ] {
            assert!(waiting.find(client, uri).await.unwrap().is_none(), "{uri}");
        }
        let other = requests(Arc::clone(&store), "two");
        assert!(other.find("app", &uri).await.unwrap().is_none(), "sealed");
        let kept = store.scan("pushed-requests".to_owned(), 9).await.unwrap();
        assert!(!String::from_utf8_lossy(&kept[0].1).contains("nonce"));
        // Somebody may come back to it until it is answered.
        assert!(waiting.find("app", &uri).await.unwrap().is_some());
        assert!(waiting.spend(&request).await.unwrap());
        assert!(!waiting.spend(&request).await.unwrap());
        assert!(waiting.find("app", &uri).await.unwrap().is_none());
    }

    /// Those that a server would take, each.
    #[tokio::test]
    async fn what_strangers_push_has_a_bound_and_others_have_room() {
        let store = kv::Memory::new(10_000, 10_000_000);
        let waiting = requests(Arc::new(store), "one");
        let now = crate::clock::now();
        let parameters = Parameters::parse(format!("state={}", "a".repeat(15_000)).as_bytes());
        let parameters = parameters.unwrap();
        let push = async |pusher, now| waiting.push(pusher, &parameters, now).await;
        let known = Pusher {
            is_vouched_for: true,
            ..APP
        };
        for now in [now, now.after(LASTS)] {
            let mut pushed = 0;
            while push(APP, now).await.is_ok() {
                pushed += 1;
                assert!(pushed < 1_000, "it is not bounded");
            }
            for _ in 0..50 {
                assert!(push(known, now).await.is_ok());
            }
        }
    }
}
