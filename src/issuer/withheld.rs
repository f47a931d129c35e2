//! Tokens of ours in requests that go to apps. Pure.

use http::{HeaderMap, header::AUTHORIZATION};

use super::{
    access_jwt::claims_to_be,
    token::{ACCESS, CODE, REFRESH},
};

/// Takes tokens of ours out of a request that goes to an app: they are for the gate, by a public route no less than by another.
pub fn withhold(headers: &mut HeaderMap, issuer: &str) {
    if is_in(headers, issuer) {
        headers.remove(AUTHORIZATION);
    }
}

/// Whether a token of ours is among the credentials of a request. Read with indulgence: an app may understand what the gate
/// does not.
pub fn is_in(headers: &HeaderMap, issuer: &str) -> bool {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    values.any(|value| {
        let mut words = value.as_bytes().split(u8::is_ascii_whitespace);
        words.any(|word| {
            let mut starts = [ACCESS, REFRESH, CODE].iter();
            starts.any(|start| word.starts_with(start.as_bytes()))
                || str::from_utf8(word).is_ok_and(|word| claims_to_be(word, issuer))
        })
    })
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use http::HeaderValue;

    use super::*;

    #[test]
    fn m11_no_app_sees_a_token_of_ours() {
        let left = |text: &str| {
            let mut headers: HeaderMap = [(AUTHORIZATION, HeaderValue::from_str(text).unwrap())]
                .into_iter()
                .collect();
            withhold(&mut headers, "https://app.example");
            headers.len()
        };
        for ours in [
            "Bearer sga_x",
            "bearer  sga_x",
            "Bearer\tsgr_x",
            "sga_x",
            "Token sgc_x",
        ] {
            assert_eq!(left(ours), 0, "{ours}");
        }
        for other in ["Bearer eyJ0", "Basic c2dhXw==", "Bearer xsga_"] {
            assert_eq!(left(other), 1, "{other}");
        }
    }

    #[test]
    fn m11_no_app_sees_a_jwt_of_ours_and_others_go_by() {
        let left = |kind: &str, issuer: &str| {
            let part = |text: String| URL_SAFE_NO_PAD.encode(text);
            let header = part(format!(r#"{{"alg":"ES256","typ":"{kind}"}}"#));
            let payload = part(format!(r#"{{"iss":"{issuer}"}}"#));
            let text = format!("Bearer {header}.{payload}.x");
            let value = HeaderValue::from_str(&text).unwrap();
            let mut headers: HeaderMap = [(AUTHORIZATION, value)].into_iter().collect();
            withhold(&mut headers, "https://app.example");
            headers.len()
        };
        assert_eq!(left("at+jwt", "https://app.example"), 0);
        assert_eq!(left("at+jwt", "https://other.example"), 1);
        assert_eq!(left("JWT", "https://app.example"), 1);
    }
}
