//! Tokens of ours in requests that go to apps. Pure.

use super::{
    access_jwt::claims_to_be,
    token::{ACCESS, CODE, REFRESH},
};
use crate::credential::{Presented, withheld::begins_in};

/// Whether a part of a request's `Authorization` holds a token of ours, of the name `issuer` where it is a JWT.
pub(super) fn is_one(presented: &Presented<'_>, issuer: &str) -> bool {
    let Presented::Bearer(word) = presented else {
        return false;
    };
    let mut starts = [ACCESS, REFRESH, CODE].iter();
    starts.any(|start| begins_in(word, start)) || claims_to_be(word, issuer)
}

#[cfg(test)]
mod tests {
    use base64::{
        Engine as _,
        engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
    };
    use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

    use super::*;
    use crate::credential::withheld::holds;

    const NAME: &str = "https://app.example";

    fn is_withheld(text: &str) -> bool {
        let value = HeaderValue::from_str(text).unwrap();
        let headers: HeaderMap = [(AUTHORIZATION, value)].into_iter().collect();
        holds(&headers, |presented| is_one(presented, NAME))
    }

    #[test]
    fn m11_no_app_sees_a_token_of_ours() {
        for ours in [
            "Bearer sga_x",
            "bearer  sga_x",
            "Bearer\tsgr_x",
            "sga_x",
            "Token sgc_x",
            "Bearer \"sgr_x\"",
            "x,sgr_x",
            &format!("Basic {}", STANDARD.encode("me:sgr_x")),
        ] {
            assert!(is_withheld(ours), "{ours}");
        }
        for other in ["Bearer eyJ0", "Basic c2dhXw==", "Bearer xsga_"] {
            assert!(!is_withheld(other), "{other}");
        }
    }

    #[test]
    fn m11_no_app_sees_a_jwt_of_ours_and_others_go_by() {
        let jwt = |kind: &str, issuer: &str| {
            let part = |text: String| URL_SAFE_NO_PAD.encode(text);
            let header = part(format!(r#"{{"alg":"ES256","typ":"{kind}"}}"#));
            let payload = part(format!(r#"{{"iss":"{issuer}"}}"#));
            format!("{header}.{payload}.x")
        };
        let ours = jwt("at+jwt", NAME);
        for spelling in ["Bearer ", "Bearer=", "Token token=\"", "Digest x, Bearer "] {
            assert!(is_withheld(&format!("{spelling}{ours}")), "{spelling}");
        }
        for other in [jwt("at+jwt", "https://other.example"), jwt("JWT", NAME)] {
            assert!(!is_withheld(&format!("Bearer {other}")));
        }
    }
}
