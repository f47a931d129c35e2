//! Every fuzz target over its corpus: seeds, and each input that ever broke something.

use std::{fs, panic, path::Path};

#[expect(
    clippy::missing_panics_doc,
    reason = "to panic is how a target says that something does not hold"
)]
#[path = "fuzz/src/lib.rs"]
pub mod targets;

fn run(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(name);
    let entries =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut count = 0;
    for entry in entries {
        let file = entry.expect("a readable folder").path();
        let data = fs::read(&file).expect("a readable seed");
        let outcome = panic::catch_unwind(|| target(&data));
        assert!(outcome.is_ok(), "{} breaks {name}", file.display());
        count += 1;
    }
    assert!(count > 0, "{} is empty", folder.display());
}

macro_rules! corpus {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                run(stringify!($name), targets::$name);
            }
        )*
    };
}

corpus!(return_to seal cookie identity_headers client_address path pattern upstream_answer ext_authz proxy_header forwarded api_token htpasswd certificate oauth_client tool_call introspection access_token app_handle token_exchange);
