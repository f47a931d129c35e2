//! Programs that come with a token instead of a cookie.

use std::{
    error::Error,
    fmt::Write as _,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use serde_json::{Value, json};
use sidegate::clock;

use crate::{
    request::{HOST, Requests},
    session::{Mint, Size},
    setup::Workplace,
    upstream::signing_key,
};

/// Tokens, each sort as whole values of `Authorization`.
pub struct Tokens {
    /// Signed by the provider.
    jwts: Vec<String>,
    /// Made by a person for their programs.
    api_token: String,
    /// Given by the gate as an authorization server; opaque.
    access_token: String,
}

impl Tokens {
    /// Of the sidegate at `gate`, which `configuration` configures.
    pub fn of(gate: SocketAddr, configuration: &Path) -> Result<Self, Box<dyn Error>> {
        let key = signing_key();
        let now = clock::now().0;
        let jwt = |number: usize| {
            let claims = json!({
                "iss": ISSUER, "aud": AUDIENCE, "sub": format!("{number:08x}-6d0e-4f0b-9c55-0a2f4b1f7d11"),
                "client_id": "ci", "scope": "read write", "iat": now, "exp": now + 3_600, "jti": number,
                "email": "ada.lovelace@example.com", "email_verified": true, "name": "Ada Lovelace",
                "groups": ["engineering", "operations", "everyone"],
            });
            format!("Bearer {}", key.sign_as("at+jwt", &claims))
        };
        let cookies = Mint::new(configuration)?.cookies(Size::Usual)?;
        let cookie = cookies.first().ok_or("no cookie")?;
        let made = post(
            gate,
            "/oauth2/account/tokens",
            &[
                ("Content-Type", "application/json"),
                ("Accept", "application/json"),
                ("Sec-Fetch-Site", "same-origin"),
                ("Sec-Fetch-Mode", "cors"),
                ("Origin", &format!("https://{HOST}")),
                ("Cookie", cookie),
            ],
            "{\"name\":\"bench\"}",
        )?;
        let given = post(
            gate,
            "/oauth2/token",
            &[
                ("Content-Type", "application/x-www-form-urlencoded"),
                ("Authorization", CLIENT),
            ],
            &format!("grant_type=client_credentials&resource=https://{HOST}/tokens"),
        )?;
        let bearer = |answer: &Value, name: &str| match answer[name].as_str() {
            Some(token) => Ok(format!("Bearer {token}")),
            None => Err(format!("no {name}: {answer}")),
        };
        Ok(Self {
            jwts: (0..MANY).map(jwt).collect(),
            api_token: bearer(&made, "token")?,
            access_token: bearer(&given, "access_token")?,
        })
    }

    /// Of one program with a token of the provider.
    pub fn jwt(&self) -> Requests {
        Requests::of_programs(PATH, &self.jwts[..1])
    }

    /// Of ten thousand.
    pub fn jwts(&self) -> Requests {
        Requests::of_programs(PATH, &self.jwts)
    }

    /// Of a person's program.
    pub fn api_token(&self) -> Requests {
        Requests::of_programs(PATH, std::slice::from_ref(&self.api_token))
    }

    /// Of a client of the gate.
    pub fn access_token(&self) -> Requests {
        Requests::of_programs(TOKENS_PATH, std::slice::from_ref(&self.access_token))
    }
}

/// The first lines of a sidegate's file that takes all of these.
pub fn keys(workplace: &Workplace) -> String {
    format!(
        "state = \"file:{}\"",
        workplace.path("state.redb").display()
    )
}

/// The rest of its provider's table, whose keys are at `provider`, and further tables.
pub fn tables(provider: SocketAddr) -> String {
    // Cached for longer than a run lasts: what is compared is a token that is known.
    format!(
        "authorize_url = \"{ISSUER}authorize\"\ntoken_url = \"{ISSUER}token\"\njwks_url = \"http://{provider}/jwks\"\n\
         bearer = {{ audience = [\"{AUDIENCE}\"], token_cache = \"1h\" }}\n\
         [api_tokens]\n[issuer]\n[[issuer.clients]]\nid = \"bench\"\nsecret_hash = \"{SECRET_HASH}\"\n\
         [[routes]]\npath = \"/tokens/**\"\ntokens = true\n"
    )
}

fn post(
    gate: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Value, Box<dyn Error>> {
    let mut request = format!("POST {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n");
    for (name, value) in headers {
        write!(request, "{name}: {value}\r\n")?;
    }
    write!(request, "Content-Length: {}\r\n\r\n{body}", body.len())?;
    let mut stream = TcpStream::connect_timeout(&gate, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer
        .split_once("\r\n\r\n")
        .and_then(|(_, body)| serde_json::from_str(body).ok());
    body.ok_or_else(|| format!("{path} was answered with {answer}").into())
}

/// Distinct tokens.
const MANY: usize = 10_000;
/// As every sidegate here has its provider.
const ISSUER: &str = "http://127.0.0.1:9/";
const AUDIENCE: &str = "bench";
/// `bench` and its secret, which is `secret`.
const CLIENT: &str = "Basic YmVuY2g6c2VjcmV0";
const SECRET_HASH: &str = "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
const PATH: &str = "/projects/7?tab=open";
const TOKENS_PATH: &str = "/tokens/7?tab=open";
const LIMIT: Duration = Duration::from_secs(10);
