//! Asks programs for a name and a password (RFC 7617 §2): git sends none unless it is asked.

use http::{HeaderValue, Response, header::WWW_AUTHENTICATE};

use crate::{response::Body, site::Site};

/// How it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordChallenge {
    /// Behind the token: clients take the first challenge that they know.
    Behind,
    /// Alone. To a client of a container registry `Bearer` means a service that gives tokens for passwords, at the address in
    /// `realm`. Where there is none, docker and podman give up and never send the password.
    Alone,
}

impl PasswordChallenge {
    /// For a request of `target`: a path, with or without its query, or a whole address. Who `has_token` wants no password in the place
    /// of a word about that token (RFC 6750 §3).
    pub fn of(target: &str, has_token: bool) -> Self {
        if !has_token && is_registrys(target) {
            Self::Alone
        } else {
            Self::Behind
        }
    }

    /// Puts it into a 401.
    pub fn write(self, response: &mut Response<Body>, site: &Site) {
        let challenge = format!("Basic realm=\"{}\"", site.public_url.authority());
        let Ok(challenge) = HeaderValue::try_from(challenge) else {
            return;
        };
        let headers = response.headers_mut();
        match self {
            Self::Behind => _ = headers.append(WWW_AUTHENTICATE, challenge),
            Self::Alone => _ = headers.insert(WWW_AUTHENTICATE, challenge),
        }
    }
}

/// Whether it is an address of the OCI Distribution Specification 1.1 (its table of endpoints), or of Docker's catalog. Registries have it
/// at the root of their host.
fn is_registrys(target: &str) -> bool {
    let path = match target.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |start| &rest[start..]),
        None => target,
    };
    let path = path.split('?').next().unwrap_or_default();
    let Some(rest) = path.strip_prefix("/v2") else {
        return false;
    };
    if matches!(rest, "" | "/" | "/_catalog") {
        return true;
    }
    // A name of one part or more, one of these, and what is asked for.
    let Some(rest) = rest.strip_prefix('/') else {
        return false;
    };
    let parts: Vec<&str> = rest.split('/').collect();
    matches!(
        parts.as_slice(),
        [_, .., "tags", "list"]
            | [_, .., "manifests" | "blobs" | "referrers", _]
            | [_, .., "blobs", "uploads", _]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_known_by_its_addresses() {
        for target in [
            "/v2",
            "/v2/",
            "/v2/?account=me",
            "/v2/_catalog?n=10",
            "/v2/app/manifests/latest",
            "/v2/team/app/blobs/sha256:00",
            "/v2/team/app/blobs/uploads/?mount=x",
            "/v2/team/app/blobs/uploads/7d1e",
            "/v2/app/tags/list",
            "/v2/app/referrers/sha256:00",
            "https://app.example.com/v2/",
        ] {
            assert_eq!(
                PasswordChallenge::of(target, false),
                PasswordChallenge::Alone,
                "{target}"
            );
            assert_eq!(
                PasswordChallenge::of(target, true),
                PasswordChallenge::Behind,
                "{target}"
            );
        }
        for target in [
            "/",
            "/v1/",
            "/v2x/",
            "/v2/users",
            "/v2/users/7",
            "/v2/blobs/7",
            "/v2/manifests",
            "/v2/app/manifests",
            "/v2/posts/5/tags",
            "/v2/posts/tags/7",
            "/v2/posts/blobs/7/comments",
            "/api/v2/",
            "/?x=/v2/",
            "https://app.example.com",
            "",
        ] {
            assert_eq!(
                PasswordChallenge::of(target, false),
                PasswordChallenge::Behind,
                "{target}"
            );
        }
    }
}
