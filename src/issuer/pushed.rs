//! Authorization requests that clients push ahead (RFC 9126): what a browser would carry otherwise, under a short name.
//!
//! Each is sealed under its name: whoever can look into the store learns nothing, and can put nothing there. It is answered once (§4); until
//! then its user may come back to it, after a login or by reloading the page.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use super::parameters::Parameters;
use crate::{
    clock::Timestamp,
    kv::{self, Store, Table},
    random,
    session::seal::{KeyRing, Purpose},
};

/// Those that wait for their users.
pub struct PushedRequests {
    waiting: Table<String>,
    /// How many were pushed lately by clients that nobody vouches for.
    strangers: Table<Count>,
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

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Count {
    count: u32,
    /// New at each change: two changes to the same value would be taken for one.
    change: [u8; 8],
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
            strangers: Table::new(store, "pushed-counts", 1),
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
        if !pusher.is_vouched_for {
            self.count(now).await?;
        }
        let name: RequestName = random::bytes();
        let query = parameters.encode();
        let pushed = Pushed {
            client: pusher.client,
            query: &query,
        };
        let plain = postcard::to_allocvec(&pushed).map_err(|error| kv::Error(error.to_string()))?;
        let keys = self.keys.load();
        let sealed = keys.seal(Purpose::PushedRequest, &name, &plain, random::bytes());
        self.waiting.put(&name, &sealed, now.after(LASTS)).await?;
        Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(name)))
    }

    /// Anybody may register, and push from many addresses: all of them together fill a part of the store, over all replicas.
    async fn count(&self, now: Timestamp) -> Result<(), kv::Error> {
        let window = (now.0 / LASTS.as_secs()).to_be_bytes();
        let end = now.after(LASTS * 2);
        let counted = self.strangers.update(&window, |known| {
            let count = known.map_or(0, |known| known.count);
            if count >= MOST_OF_STRANGERS {
                return (None, false);
            }
            let counted = Count {
                count: count + 1,
                change: random::bytes(),
            };
            (Some((counted, end)), true)
        });
        if counted.await? {
            return Ok(());
        }
        Err(kv::Error("too many requests were pushed ahead".to_owned()))
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
/// Requests that clients nobody vouches for push in ten minutes, all together and over all replicas.
const MOST_OF_STRANGERS: u32 = 4_000;

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

    #[tokio::test]
    async fn what_strangers_push_has_a_bound_and_others_have_room() {
        let waiting = requests(Arc::new(kv::Memory::default()), "one");
        let now = crate::clock::now();
        let full = Count {
            count: MOST_OF_STRANGERS,
            change: [0; 8],
        };
        let window = (now.0 / LASTS.as_secs()).to_be_bytes();
        let end = now.after(LASTS);
        waiting.strangers.put(&window, &full, end).await.unwrap();
        let parameters = Parameters::parse(b"state=a").unwrap();
        assert!(waiting.push(APP, &parameters, now).await.is_err());
        let known = Pusher {
            is_vouched_for: true,
            ..APP
        };
        assert!(waiting.push(known, &parameters, now).await.is_ok());
        assert!(
            waiting
                .push(APP, &parameters, now.after(LASTS))
                .await
                .is_ok()
        );
    }
}
