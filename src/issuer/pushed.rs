//! Authorization requests that clients push ahead (RFC 9126): what a browser would carry otherwise, under a short name.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use super::parameters::Parameters;
use crate::{
    clock::Timestamp,
    kv::{self, Store, Table},
    random,
};

/// Those that wait for their users.
pub struct PushedRequests(Table<Pushed>);

#[derive(Serialize, Deserialize)]
struct Pushed {
    /// The handle of the client that pushed it.
    client: String,
    query: String,
}

impl PushedRequests {
    /// Those in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self(Table::new(store, "pushed-requests", 1))
    }

    /// Keeps a request of `client`; its `request_uri`.
    ///
    /// # Errors
    /// When the store does not answer, or is full.
    pub async fn push(
        &self,
        client: &str,
        parameters: &Parameters,
        now: Timestamp,
    ) -> Result<String, kv::Error> {
        let name: [u8; 16] = random::bytes();
        let pushed = Pushed {
            client: client.to_owned(),
            query: parameters.encode(),
        };
        self.0.put(&name, &pushed, now.after(LASTS)).await?;
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
    ) -> Result<Option<Parameters>, kv::Error> {
        let Some(name) = name(request_uri) else {
            return Ok(None);
        };
        let found = self.0.get(&name).await?;
        let found = found.filter(|pushed| pushed.client == client);
        Ok(found.and_then(|pushed| Parameters::parse(pushed.query.as_bytes()).ok()))
    }
}

fn name(request_uri: &str) -> Option<[u8; 16]> {
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

    #[tokio::test]
    async fn a_request_is_its_clients_alone() {
        let requests = PushedRequests::new(Arc::new(kv::Memory::default()));
        let now = crate::clock::now();
        let asked = Parameters::parse(b"state=a%26b&nonce=n").unwrap();
        let uri = requests.push("app", &asked, now).await.unwrap();
        let found = requests.find("app", &uri).await.unwrap().unwrap();
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
            assert!(requests.find(client, uri).await.unwrap().is_none(), "{uri}");
        }
    }
}
