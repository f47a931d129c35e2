//! Errors of Facebook's Graph API: objects with numbers, whatever the status. Pure.

use serde_json::{Map, Value};

/// What a number means to us; none of these can be told by the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GraphError {
    /// Too many calls: of the app, of the user, of the page, or of this kind.
    Throttled,
    /// Something at Facebook, which may pass.
    Transient,
    /// The code is spent, old, or another address's.
    Code,
    /// The app's secret is not its secret.
    Secret,
    /// The access token is no good, or no good any more.
    Token,
}

/// The meaning of the object below `error`; none where it has none beyond "no".
pub(super) fn meaning(error: &Map<String, Value>) -> Option<GraphError> {
    let number = |name: &str| error.get(name).and_then(Value::as_u64);
    let message = error.get("message").and_then(Value::as_str).unwrap_or("");
    match (number("code")?, number("error_subcode")) {
        (4 | 17 | 32 | 613, _) => Some(GraphError::Throttled),
        // The same number as a passing trouble; only the words tell them apart.
        (1, _) if message.contains("client secret") => Some(GraphError::Secret),
        (1 | 2, _) => Some(GraphError::Transient),
        (100, Some(36_007 | 36_009)) => Some(GraphError::Code),
        (190, _) => Some(GraphError::Token),
        _ if error.get("is_transient") == Some(&Value::Bool(true)) => Some(GraphError::Transient),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn of(error: &Value) -> Option<GraphError> {
        meaning(error.as_object().unwrap())
    }

    #[test]
    fn numbers_have_meanings() {
        for code in [4, 17, 32, 613] {
            assert_eq!(of(&json!({ "code": code })), Some(GraphError::Throttled));
        }
        for (error, expected) in [
            (json!({ "code": 1 }), Some(GraphError::Transient)),
            (json!({ "code": 2 }), Some(GraphError::Transient)),
            (
                json!({ "code": 1, "message": "Error validating client secret." }),
                Some(GraphError::Secret),
            ),
            (
                json!({ "code": 5, "is_transient": true }),
                Some(GraphError::Transient),
            ),
            (
                json!({ "code": 100, "error_subcode": 36007 }),
                Some(GraphError::Code),
            ),
            (json!({ "code": 100 }), None),
            (
                json!({ "code": 190, "error_subcode": 463 }),
                Some(GraphError::Token),
            ),
            (json!({ "code": "190" }), None),
            (json!({}), None),
        ] {
            assert_eq!(of(&error), expected, "{error}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_no_panic(code in any::<i64>(), subcode in any::<u64>(), message in ".*") {
            let _ = of(&json!({ "code": code, "error_subcode": subcode, "message": message }));
        }
    }
}
