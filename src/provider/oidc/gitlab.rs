//! GitLab, at gitlab.com or self-managed. Only userinfo has the groups, by their full paths. A path belongs to whoever holds it now, so the
//! path of a renamed group can pass to others.

use super::{super::bearer::Nameless, vendor_profile::VendorProfile};

/// It knows how to ask for a password again, and not how to offer a choice of accounts.
pub(super) const PROFILE: VendorProfile = VendorProfile {
    switch_prompt: Some("login"),
    nameless: Nameless::Unsaid,
    ..VendorProfile::STANDARD
};

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{NOW, authorize_parameters, barred, moved, signed_in};
    use crate::{
        identity_headers::HeaderSource,
        jose::TestKey,
        provider::{
            catalog,
            scripted::{Answer, Scripted},
        },
    };

    async fn gitlab() -> (Scripted, String) {
        let server = Scripted::start().await;
        let key = TestKey::ec("a");
        server.publish(&[&key]);
        let token = key.sign(&json!({
            "iss": server.origin(), "sub": "42", "aud": "us", "nonce": "n", "exp": NOW + 120,
            "iat": NOW, "email": "jane@corp.example", "email_verified": true,
            "groups_direct": ["direct"],
        }));
        let userinfo = json!({
            "sub": "42", "preferred_username": "jane", "groups": ["acme", "acme/eng"],
        });
        server.answer("/userinfo", Answer::json(&userinfo.to_string()));
        (server, token)
    }

    #[tokio::test]
    async fn groups_are_full_paths_from_userinfo() {
        let (server, token) = gitlab().await;
        let config = moved(&catalog::GITLAB, &server, &[("groups", &["acme/eng"])]);
        assert_eq!(barred(&config, &server, &token).await, None);
        for other in ["eng", "direct", "acme/eng/x", "acme/"] {
            let config = moved(&catalog::GITLAB, &server, &[("groups", &[other])]);
            let barred = barred(&config, &server, &token).await;
            assert_eq!(barred.as_deref(), Some("groups"), "{other}");
        }
        server.answer("/userinfo", Answer::status(503));
        let failed = signed_in(&config, &[], &server, &token).await;
        assert!(failed.is_err_and(|error| error.is_outage()));
    }

    #[tokio::test]
    async fn userinfo_is_asked_only_for_what_is_used() {
        let (server, token) = gitlab().await;
        let config = moved(
            &catalog::GITLAB,
            &server,
            &[("emails", &["jane@corp.example"])],
        );
        assert_eq!(barred(&config, &server, &token).await, None);
        assert!(server.requests("/userinfo").is_empty());
        let headers = [HeaderSource::Groups];
        let identity = signed_in(&config, &headers, &server, &token).await.unwrap();
        assert_eq!(identity.groups.len(), 2);
        let config = moved(
            &catalog::GITLAB,
            &server,
            &[("emails", &["joe@corp.example"])],
        );
        assert_eq!(
            barred(&config, &server, &token).await.as_deref(),
            Some("emails")
        );
        assert_eq!(authorize_parameters(&config, true).await["prompt"], "login");
    }
}
