//! What others wrote stays text.

use super::*;

#[test]
fn a_provider_is_quoted_as_text_and_to_people_only() {
    let reject = Reject::from(answered("access_denied"));
    let page = answer(&reject, Navigation).2;
    assert!(
        page.contains("The provider says") && page.contains("alert(1)"),
        "{page}"
    );
    assert!(!page.contains("<script"), "{page}");
    assert!(!answer(&reject, Program).2.contains("alert"));
}

#[test]
fn hostile_names_stay_text() {
    const HOSTILE: &str = "<script>alert(1)</script>\"'&";
    let choices = vec![Choice {
        label: HOSTILE,
        mark: "",
        href: site().start(HOSTILE, HOSTILE),
        is_last_used: false,
    }];
    let page = SignInPage {
        host: "app.example",
        choices,
    };
    let response: Response<Body> = reply::page(StatusCode::OK, &page);
    let chooser = text(response.into_body());
    for page in [chooser, answer(&barred(HOSTILE), Navigation).2] {
        assert!(!page.contains("<script"), "{page}");
        assert!(!page.contains("\"'&"), "{page}");
    }
}

proptest! {
    #[test]
    fn a_name_never_becomes_markup(name in "\\PC{0,40}") {
        let page = answer(&barred(&name), Navigation).2;
        let shown = page.split_once("signed in as <strong>").unwrap().1.split_once("</strong>").unwrap().0;
        prop_assert!(!shown.contains(['<', '>', '"', '\'']));
    }
}
