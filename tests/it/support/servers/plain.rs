//! A plain OAuth 2.0 server that nobody has heard of: what it says about a person stands where it likes.

use serde_json::json;

use super::{Script, standard_refusal};

/// It.
pub static SCRIPT: Script = Script {
    authorize: &["/authorize"],
    token: &["/token"],
    takes_basic: true,
    needs_user_agent: false,
    answers_form: false,
    scope_separator: " ",
    token_extras: || json!({ "expires_in": 3600 }),
    refusal: standard_refusal,
    spent: super::standard_spent,
    pages: || {
        let person = json!({
            "data": {
                "uid": 42, "nick": "ada", "full": "Ada Lovelace",
                "mails": [{ "address": "ada@example.com", "confirmed": true }],
                "teams": ["engineers", "writers"], "avatar": "https://id.example/ada.png",
                "office": { "city": "London", "floors": [3, 4] },
            },
        });
        vec![("/me", person)]
    },
    view: |_, page| Ok(page),
};
