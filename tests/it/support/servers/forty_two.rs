//! 42's intra: Doorkeeper's token endpoint, and everything about a person in one large `/v2/me`.

use http::StatusCode;
use serde_json::{Value, json};

use super::{Fault, Script, standard_refusal};
use crate::support::{
    provider::now,
    server::{self, Answer},
};

/// 42.
pub static SCRIPT: Script = Script {
    authorize: &["/oauth/authorize"],
    token: &["/oauth/token"],
    takes_basic: false,
    needs_user_agent: true,
    answers_form: false,
    scope_separator: " ",
    token_extras: || {
        // What is left of a token's life that another session of the person has already.
        json!({
            "expires_in": 5520, "refresh_token": "canary-refresh-token", "created_at": now(),
            "secret_valid_until": now() + 27 * 86_400,
        })
    },
    refusal: standard_refusal,
    spent,
    pages: || vec![("/v2/me", person())],
    view: |_, page| Ok(page),
};

/// A grant that is over is a 401 here, as a client that is not known.
fn spent() -> Answer {
    let body = json!({
        "error": "invalid_grant",
        "error_description": "The provided authorization grant is invalid, expired, revoked, does not match the \
                              redirection URI used in the authorization request, or was issued to another client.",
    });
    server::json(StatusCode::UNAUTHORIZED, &body)
}

/// What is said to whoever asks too often.
pub fn too_many() -> Fault {
    Fault::text(
        StatusCode::TOO_MANY_REQUESTS,
        "429 Too Many Requests (Spam Rate Limit Exceeded)",
    )
}

/// Ada, a student in Paris.
fn person() -> Value {
    let short = json!({ "id": 123_456, "login": "alovelac", "kind": "student" });
    let cursus = |id: u32, slug: &str, kind: &str, level: f64, end: Value| {
        json!({
            "id": id * 10, "begin_at": "2021-09-01T07:00:00.000Z", "end_at": end, "grade": "Learner",
            "level": level, "skills": [], "blackholed_at": null, "cursus_id": id, "has_coalition": true,
            "cursus": { "id": id, "name": slug, "slug": slug, "kind": kind }, "user": short,
        })
    };
    json!({
        "id": 123_456, "email": "alovelac@student.42.fr", "login": "alovelac", "first_name": "Ada",
        "last_name": "Lovelace", "usual_full_name": "Ada Lovelace", "usual_first_name": null,
        "url": "https://api.intra.42.fr/v2/users/alovelac", "phone": "hidden", "displayname": "Ada Lovelace",
        "kind": "student",
        "image": {
            "link": "https://cdn.intra.42.fr/users/1/alovelac.jpg",
            "versions": { "small": "https://cdn.intra.42.fr/users/1/small_alovelac.jpg" },
        },
        "staff?": false, "alumni?": false, "active?": true, "alumnized_at": null, "pool_month": "august",
        "pool_year": "2021", "location": null, "wallet": 1, "correction_point": 4,
        "anonymize_date": "2029-01-01T00:00:00.000+01:00", "groups": [{ "id": 1, "name": "tutors" }],
        "cursus_users": [
            cursus(9, "c-piscine", "piscine", 8.1, json!("2021-08-27T00:00:00.000Z")),
            cursus(21, "42cursus", "main", 9.23, Value::Null),
        ],
        "projects_users": [], "achievements": [], "titles": [], "partnerships": [], "roles": [],
        "campus": [
            { "id": 1, "name": "Paris", "time_zone": "Europe/Paris", "country": "France", "active": true },
            { "id": 9, "name": "Lyon", "time_zone": "Europe/Paris", "country": "France", "active": true },
        ],
        "campus_users": [
            { "id": 1, "user_id": 123_456, "campus_id": 1, "is_primary": true },
            { "id": 2, "user_id": 123_456, "campus_id": 9, "is_primary": false },
        ],
    })
}
